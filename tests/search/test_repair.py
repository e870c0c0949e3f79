from __future__ import annotations

import torch

from nni_hypens.search.repair import repair
from tests.support.samplers import sampler


def test_repair_reaches_any_number_it_can() -> None:
    source = sampler()
    generator = torch.Generator().manual_seed(0)
    rows = source._draw(torch.zeros(source.layout.n_labels, source.layout.n_options), 40, generator)
    drawn = [source.structure.table.to_sample(row) for row in rows]
    for one, other in zip(drawn[::2], drawn[1::2], strict=True):
        before = dict(one)
        for wanted in range(5):
            repaired = repair(source.structure, source.base, one, other, wanted, generator)
            stay = set.intersection(*(set(source.structure.edges(some)) for some in (one, other, source.base)))
            assert source.structure.shared_edges(source.base, repaired) == max(wanted, len(stay))
            assert source.structure.table.validate(repaired) == repaired and one == before
