from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nni_hypens.errors import InputError
from nni_hypens.proposals.ranking import choose_ensemble, choose_pool
from nni_hypens.search.base_choice import best_by_loss
from nni_hypens.search.hypernetwork import Hypernetwork
from nni_hypens.search.sampler import ArchitectureSampler, Candidate
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.draws import ChoiceLayout
from nni_hypens.utils.tensors import write_tensors
from search_spaces import DartsSpace, OneCell

GOOD = json.dumps({"low": -0.2, "high": 4.2, "n_edges": 4, "counts_edges": True})


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


@pytest.mark.parametrize("sharpness", [0.2, 20.0])
def test_all_there_are_can_be_had(sharpness: float) -> None:
    """Two edges of four set to the base's: 1,511 architectures by counting; all of them are found, and not one more."""
    source = sampler(sharpness=sharpness)
    differing = [7 * inputs - 1 for inputs in (1, 2, 3, 4)]
    there_are = sum(a * b for i, a in enumerate(differing) for b in differing[:i])
    found = source.sample(2, there_are)
    assert len({source.structure.key(one.architecture) for one in found}) == there_are == 1511
    assert {one.shared_edges for one in found} == {2} and {one.source for one in found} <= {"mode", "draw", "repaired"}
    with pytest.raises(InputError, match="^n: got 1512; expected at most 1511 at lam=2"):
        source.sample(2, there_are + 1)


def test_thousands_of_a_large_space() -> None:
    """Also where the hypernetwork gives the same architecture again and again, and at both ends of the dial."""
    structure = EdgeStructure.from_space(DartsSpace(width=1, num_cells=3))
    layout = ChoiceLayout(structure.table)
    base = structure.table.to_sample([[0]] * layout.n_labels)
    network = Hypernetwork(layout.n_labels, layout.n_options, -0.2, 16.2, 2)
    with torch.no_grad():
        network.values.copy_(60 * torch.stack([-layout.one_hot(base), layout.one_hot(base)]))
    source = ArchitectureSampler(structure, network, base)
    for lam, n in ((8, 3000), (0, 1000), (15, 100)):
        found = source.sample(lam, n)
        assert len({structure.key(one.architecture) for one in found}) == n
        assert {one.shared_edges for one in found} == {lam}
        assert all(one.shared_edges == structure.shared_edges(base, one.architecture) for one in found)


def test_repair_reaches_any_number_it_can() -> None:
    source = sampler()
    generator = torch.Generator().manual_seed(0)
    drawn = source._draw(torch.zeros(source.layout.n_labels, source.layout.n_options), 40, generator)
    for one, other in zip(drawn[::2], drawn[1::2], strict=True):
        before = dict(one)
        for wanted in range(5):
            repaired = source._repair(one, other, wanted, generator)
            stay = set.intersection(*(set(source.structure.edges(some)) for some in (one, other, source.base)))
            assert source.structure.shared_edges(source.base, repaired) == max(wanted, len(stay))
            assert source.structure.table.validate(repaired) == repaired and one == before


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


def test_pool_goes_round_what_is_used_up() -> None:
    """Only the base shares all 4 edges; few share 3.6 or more. What such lam cannot give, the others do, and fast."""
    source = sampler()
    start = time.process_time()
    pool = source.pool(9, (3.0, 4.0))
    assert len({source.structure.key(one.architecture) for one in pool}) == 9
    assert all(abs(one.shared_edges - one.lam) <= 0.5 for one in pool[1:])
    with pytest.raises(InputError, match="^candidates: got 30; expected at most 1"):
        source.pool(30, (4.0, 4.0))
    assert len(source.pool(30, (4.0, 4.0), at_least=1)) == 1
    with pytest.raises(InputError, match="^candidates: got 30; expected at most 1"):
        source.pool(30, (4.0, 4.0), at_least=2)
    assert time.process_time() - start < 20
    assert source.pool(9, (3.0, 4.0)) == pool != source.pool(9, (3.0, 4.0), seed=1)
    assert [one.source for one in source.pool(1)] == ["base"]


def test_a_pool_of_all_there_are() -> None:
    """Two nodes, 98 architectures: the pool finds them all, and asking for far more costs no more."""
    structure = EdgeStructure.from_space(OneCell(channels=1, nodes=2))
    layout = ChoiceLayout(structure.table)
    base = structure.table.to_sample([[0]] * layout.n_labels)
    network = Hypernetwork(layout.n_labels, layout.n_options, -0.2, 2.2, 2)
    source = ArchitectureSampler(structure, network, base)
    pool = source.pool(5000, at_least=90)
    assert len({structure.key(one.architecture) for one in pool}) == len(pool) == 98
    with pytest.raises(InputError, match="^candidates: got 99; expected at most 98"):
        source.pool(99)


def test_pool_of_two() -> None:
    """The only lam asked for is the high end, where the base is alone: what lies below is looked at."""
    pool = sampler().pool(2)
    assert [one.source for one in pool][0] == "base" and pool[1].shared_edges == 2
    assert [one.source for one in sampler().pool(2, at_least=1)] == ["base"]


def test_a_dial_that_is_no_count_takes_any_draw() -> None:
    source = sampler()
    source.counts_edges = False
    assert len(source.sample(4, 30)) == 30
    excluded = {source.structure.key(source.base)}
    assert source.sample(4, 1)[0] == source.mode(4)
    assert all(source.structure.key(one.architecture) not in excluded for one in source.sample(4, 5, exclude=excluded))


def test_mode_and_dial() -> None:
    source = sampler()
    assert source.mode(4) == Candidate(4, 4, "mode", source.structure.table.validate(source.base))
    assert source.dial([0, 4]) == [0, 4]


@pytest.mark.parametrize(
    ("tensors", "about"),
    [
        ({}, None),
        ({}, "{}"),
        ({}, "[1]"),
        ({}, "{"),
        ({}, json.dumps({"low": "x", "high": 4.2, "n_edges": 4, "counts_edges": True})),
        ({}, json.dumps({"low": 5, "high": 4.2, "n_edges": 4, "counts_edges": True})),
        ({}, json.dumps({"low": -0.2, "high": 4.2, "n_edges": 16, "counts_edges": True})),
        ({"values": None}, GOOD),
        ({"gaps": None}, GOOD),
        ({"gaps": torch.zeros(7)}, GOOD),
        ({"values": torch.zeros(2, 3, 4)}, GOOD),
        ({"values": torch.zeros(1, 14, 7)}, GOOD),
        ({"other": torch.zeros(1)}, GOOD),
    ],
)
def test_hostile_files_are_refused_by_name(tmp_path: Path, tensors: dict[str, Any], about: str | None) -> None:
    source = sampler()
    source.save(tmp_path)
    path = tmp_path / "hypernetwork.safetensors"
    content = {**source.hypernetwork.state_dict(), **tensors}
    content = {name: value.detach() for name, value in content.items() if value is not None}
    write_tensors(path, content, None if about is None else {"nni_hypens": about})
    with pytest.raises(InputError, match="hypernetwork.safetensors|^pivots|^lam range"):
        ArchitectureSampler.load(tmp_path, source.structure)


def test_the_good_file_is_good(tmp_path: Path) -> None:
    """The hostile ones differ from a file that is taken in what they say they do."""
    source = sampler()
    source.save(tmp_path)
    write_tensors(tmp_path / "hypernetwork.safetensors", source.hypernetwork.state_dict(), {"nni_hypens": GOOD})
    assert ArchitectureSampler.load(tmp_path, source.structure).dial([0, 4]) == [0, 4]
    (tmp_path / "base.json").write_text("[]")
    with pytest.raises(InputError, match="^search/base.json"):
        ArchitectureSampler.load(tmp_path, source.structure)


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


def test_choose_pool_looks_at_all_that_is_kept() -> None:
    """Alone with the base, the second expert on images 1 wins; beside the first of them, the one on images 2 does."""
    experts = {"base": (0.9, 0.1, 0.1), "one": (0.1, 0.9, 0.1), "poor": (0.2, 0.2, 0.2)}
    experts |= {"also_one": (0.1, 0.95, 0.1), "two": (0.1, 0.1, 0.9)}
    right = np.repeat(np.array(list(experts.values())), 10, axis=1)
    probabilities = np.stack([right, 1 - right], axis=-1)  # P x N x 2, the true class first
    pool = [Candidate(None, 4, "base", {})] + [Candidate(float(lam), 1, "draw", {}) for lam in (4, 3, 2, 1)]
    assert choose_pool(pool, probabilities, np.zeros(30, dtype=int), 3) == [0, 1, 4]


@pytest.mark.parametrize("seed", range(3))
def test_choose_pool_keeps_the_most_helpful_of_each_part_of_the_dial(seed: int) -> None:
    generator = np.random.default_rng(seed)
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


@pytest.mark.parametrize("seed", range(3))
def test_choose_ensemble_looks_at_the_whole_pool(seed: int) -> None:
    """Each step against every architecture, one average at a time; lam does not matter."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, 20)
    probabilities = generator.dirichlet(np.ones(3), (9, 20))
    pool = [Candidate(None, 4, "base", {})] + [Candidate(float(i % 4), 1, "draw", {}) for i in range(8)]
    kept = choose_ensemble(pool, probabilities, labels, 4)
    expected = [0]
    for _ in range(3):

        def nll(index: int) -> float:
            mean = probabilities[[*expected, index]].mean(0)
            return -np.log(mean[np.arange(20), labels]).mean()

        expected.append(min(set(range(9)) - set(expected), key=nll))
    assert kept == expected
    assert choose_ensemble(pool, probabilities, labels, 1) == [0]
    assert sorted(choose_ensemble(pool, probabilities, labels, 9)) == list(range(9))


def test_choose_ensemble_may_stay_in_one_part_of_the_dial() -> None:
    experts = [(0.9, 0.1, 0.1), (0.2, 0.2, 0.2), (0.2, 0.2, 0.2), (0.1, 0.9, 0.1), (0.1, 0.1, 0.9)]
    right = np.repeat(np.array(experts), 10, axis=1)
    probabilities = np.stack([right, 1 - right], axis=-1)
    pool = [Candidate(None, 4, "base", {}), *(Candidate(lam, 1, "draw", {}) for lam in (4.0, 4.0, 1.0, 1.0))]
    labels = np.zeros(30, dtype=int)
    assert sorted(choose_ensemble(pool, probabilities, labels, 3)) == [0, 3, 4]
    assert 1 in choose_pool(pool, probabilities, labels, 3)


def test_best_by_loss() -> None:
    losses = {"a": float("nan"), "b": 2.0, "c": 1.0, "d": 1.0}
    assert best_by_loss([{"x": name} for name in losses], lambda sample: losses[sample["x"]]) == ({"x": "c"}, 1.0)
    with pytest.raises(InputError, match="NaN"):
        best_by_loss([{"x": "a"}], lambda sample: float("nan"))
