"""Which architectures promise most before any is trained: by supernet and by size together.

A supernet of single paths that is trained for a short time prefers operations without parameters, and size alone knows
nothing of the data. In our comparisons the sum of both ranks was better than either, and than the supernet among those
that are not small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from nni_hypens.search.sampler import ArchitectureSampler, Candidate
from nni_hypens.space.cost import NetworkSize
from nni_hypens.space.draws import by_size, random_architectures

LOOKED_AT = 16
"""Fewest candidates of the hypernetwork that are looked at; half as many large architectures join them."""
DRAWN = 60
"""Fewest random architectures of which the largest join."""


def n_drawn(wanted: int) -> int:
    """How many random architectures are measured where so many candidates are wanted."""
    return max(DRAWN, 3 * wanted)


def promising_pool(
    sampler: ArchitectureSampler,
    size: NetworkSize,
    wanted: int,
    lam_range: tuple[float, float] | None,
    seed: int,
    on_step: Callable[[], None] = lambda: None,
) -> list[Candidate]:
    """The base, candidates of the hypernetwork, and the largest of many random architectures that fit the budget.

    Args:
        sampler: Of the hypernetwork; its ``accepts`` holds for all.
        size: Measures networks.
        wanted: Base and candidates of the hypernetwork, :data:`LOOKED_AT` at least, and twice as many as large ones.
        lam_range: Of the candidates; large ones are anywhere on the dial, their ``source`` is ``large``.
        seed: Of all draws.
        on_step: Called for each of :func:`n_drawn` networks that are measured.
    """
    structure = sampler.structure
    looked_at = max(LOOKED_AT, wanted)
    pool = sampler.pool(looked_at, lam_range, seed, at_least=1)
    found = {structure.key(one.architecture): one for one in pool}
    drawn, large = random_architectures(structure, n_drawn(wanted), seed), 0
    for sample in drawn:
        size(sample)  # it remembers
        on_step()
    for sample in by_size(drawn, size):
        if large == looked_at // 2:
            break
        if sampler.accepts is None or sampler.accepts(sample):
            shared = structure.shared_edges(sampler.base, sample)
            found.setdefault(structure.key(sample), Candidate(None, shared, "large", sample))
            large += 1
    return list(found.values())


def choose_promising(nll: Sequence[float] | NDArray[np.floating], volumes: Sequence[float], n: int) -> list[int]:
    """The ``n`` whose rank by supernet NLL (low is good) and rank by size (large is good) are best together.

    Args:
        nll: ``P``, of each architecture on the supernet.
        volumes: ``P``, parameters times FLOPs, see :meth:`nni_hypens.space.cost.NetworkSize.volume`.
        n: How many, at most P.

    Returns:
        Indices, the most promising first; of equals the first.
    """
    order = np.argsort(rankdata(nll) - rankdata(volumes), kind="stable")
    chosen: list[int] = order[:n].tolist()
    return chosen
