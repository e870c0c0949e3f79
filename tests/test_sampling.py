from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from nni_hypens.architecture import EdgeStructure
from nni_hypens.diversity import ChoiceLayout
from nni_hypens.errors import InputError
from nni_hypens.hypernetwork import Hypernetwork
from nni_hypens.sampling import ArchitectureSampler, Candidate, best_by_loss, choose_pool
from search_spaces import DartsSpace, OneCell


def sampler(seed: int = 0, sharpness: float = 1.0) -> ArchitectureSampler:
    """A hypernetwork that prefers the base's choices more and more with lam."""
    structure = EdgeStructure.from_space(OneCell(channels=1))
    layout = ChoiceLayout(structure.table)
    generator = torch.Generator().manual_seed(seed)
    base = structure.table.to_sample(
        [[int(torch.randint(len(o), (1,), generator=generator))] for o in structure.table.options.values()]
    )
    network = Hypernetwork(layout.n_labels, layout.n_options, -0.2, 4.2, 2, generator=generator)
    with torch.no_grad():
        network.values.copy_(sharpness * torch.stack([-3 * layout.one_hot(base), 3 * layout.one_hot(base)]))
    return ArchitectureSampler(structure, network, base)


@pytest.mark.parametrize("sharpness", [1.0, 20.0])
def test_samples_are_different_and_share_what_was_asked_for(sharpness: float) -> None:
    source = sampler(sharpness=sharpness)
    for lam in (0, 0.5, 1, 2.5, 3):
        found = source.sample(lam, 6)
        assert len({source.structure.key(one.architecture) for one in found}) == 6
        assert all(abs(one.shared_edges - lam) <= 0.5 and one.lam == lam for one in found)
        assert found == source.sample(lam, 6) and found != source.sample(lam, 6, seed=1)


def test_asking_for_more_than_there_are_ends_with_an_error() -> None:
    start = time.process_time()
    with pytest.raises(InputError, match="at most 1 at lam=4"):
        sampler().sample(4, 2)
    assert time.process_time() - start < 20
    for lam in (-0.1, 4.1, "2", float("nan"), True):
        with pytest.raises(InputError, match="^lam"):
            sampler().sample(lam)
    with pytest.raises(InputError, match="^n: got 0"):
        sampler().sample(1, 0)


def test_pool_holds_the_base_and_spreads_over_the_dial() -> None:
    source = sampler()
    pool = source.pool(12, (1.0, 3.5))
    assert len({source.structure.key(one.architecture) for one in pool}) == 12
    assert pool[0] == Candidate(None, 4, "base", source.base)
    lams = [one.lam for one in pool[1:]]
    assert max(lams) == pytest.approx(3.5) and min(lams) == pytest.approx(1.0) and lams == sorted(lams, reverse=True)
    with pytest.raises(InputError, match="^candidates"):
        source.pool(3, (4.0, 4.0))
    assert len(source.pool(3, (4.0, 4.0), at_least=1)) == 1
    with pytest.raises(InputError, match="^lam_range"):
        source.pool(3, (3.0, 2.0))


def test_files_round_trip_and_strangers_are_refused(tmp_path: Path) -> None:
    source = sampler()
    source.save(tmp_path)
    again = ArchitectureSampler.load(tmp_path, source.structure)
    assert again.base == source.base and again.pool(5) == source.pool(5) and again.counts_edges
    other = EdgeStructure.from_space(DartsSpace(width=2, num_cells=3))
    with pytest.raises(InputError, match="another space"):
        ArchitectureSampler.load(tmp_path, other)
    (tmp_path / "hypernetwork.safetensors").write_bytes(b"\x80\x04N.")  # a pickle
    with pytest.raises(InputError, match="hypernetwork.safetensors"):
        ArchitectureSampler.load(tmp_path, source.structure)
    (tmp_path / "hypernetwork.safetensors").unlink()
    with pytest.raises(InputError, match="hypernetwork.safetensors"):
        ArchitectureSampler.load(tmp_path, source.structure)


def test_choose_pool_keeps_the_most_helpful_of_each_part_of_the_dial() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 20)
    probabilities = generator.dirichlet(np.ones(3), (9, 20))
    pool = [Candidate(None, 4, "base", {})] + [Candidate(float(lam), 1, "draw", {}) for lam in (4, 4, 3, 3, 2, 2, 1, 1)]
    kept = choose_pool(pool, probabilities, labels, 5)
    expected = [0]
    for group in ((1, 2), (3, 4), (5, 6), (7, 8)):

        def nll(index: int) -> float:
            mean = probabilities[[*expected, index]].mean(0)
            return -np.log(mean[np.arange(20), labels]).mean()

        expected.append(min(group, key=nll))
    assert kept == expected
    assert choose_pool(pool, probabilities, labels, 1) == [0]
    assert sorted(choose_pool(pool, probabilities, labels, 9)) == list(range(9))


def test_best_by_loss() -> None:
    losses = {"a": float("nan"), "b": 2.0, "c": 1.0, "d": 1.0}
    assert best_by_loss([{"x": name} for name in losses], lambda sample: losses[sample["x"]]) == ({"x": "c"}, 1.0)
    with pytest.raises(InputError, match="NaN"):
        best_by_loss([{"x": "a"}], lambda sample: float("nan"))
