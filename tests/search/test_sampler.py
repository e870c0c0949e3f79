from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from nni_hypens.errors import InputError
from nni_hypens.search.hypernetwork import Hypernetwork
from nni_hypens.search.sampler import ArchitectureSampler, Candidate
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.draws import ChoiceLayout
from nni_hypens.utils.tensors import write_tensors
from search_spaces import DartsSpace
from tests.support.samplers import sampler

GOOD = json.dumps({"low": -0.2, "high": 4.2, "n_edges": 4, "counts_edges": True})


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
    """One edge of three set to the base's: 458 architectures by counting; all of them are found, and not one more."""
    source = sampler(sharpness=sharpness, nodes=3)
    differing = [7 * inputs - 1 for inputs in (1, 2, 3)]
    there_are = sum(a * b for i, a in enumerate(differing) for b in differing[:i])
    found = source.sample(1, there_are)
    assert len({source.structure.key(one.architecture) for one in found}) == there_are == 458
    assert {one.shared_edges for one in found} == {1} and {one.source for one in found} <= {"mode", "draw", "repaired"}
    with pytest.raises(InputError, match="^n: got 459; expected at most 458 at lam=1"):
        source.sample(1, there_are + 1)


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


class _Asked(set[Any]):
    """Keys that may be looked up, but not copied."""

    def __iter__(self) -> Any:
        raise AssertionError("each draw of a pool copies the keys of all before")


def test_a_draw_does_not_copy_the_keys_of_a_pool() -> None:
    source = sampler()
    first = source.sample(2, 3)
    known = _Asked(source.structure.key(one.architecture) for one in first)
    more = source.sample(2, 3, exclude=known)
    assert all(source.structure.key(one.architecture) not in known for one in more)


def test_a_draw_ends_with_the_last_architecture_that_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    source, looked = sampler(), []
    thorough = source.sample(2, 60)
    own = source.candidate
    monkeypatch.setattr(source, "candidate", lambda *given: looked.append(given) or own(*given))
    assert source.sample(2, 60) == thorough
    assert looked[-1][2] == thorough[-1].architecture  # not at the other draws of the same round
