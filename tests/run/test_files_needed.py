"""A file that settings name is read until the run has what it needs of it, and a run goes on without it afterwards."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nni_hypens.errors import InputError
from nni_hypens.run.candidate import Candidate, KnownBefore
from nni_hypens.run.files_needed import files_needed
from nni_hypens.run.folder import RunFolder
from nni_hypens.run.plan import Plan, make_plan
from nni_hypens.run.settings import FILES, Settings
from nni_hypens.space import random_architectures
from nni_hypens.space.architecture import EdgeStructure

SMALL: dict[str, Any] = {"train_size": 64, "validation_size": 64, "test_size": 20, "space_args": {"channels": 2}}


def candidates(n: int, adaptive: int = 0) -> list[Candidate]:
    found = [Candidate(f"c{i}", None, i, "draw", 0.5, {"a": i}, (), "") for i in range(n)]
    return [replace(one, adaptive=i >= n - adaptive) for i, one in enumerate(found)]


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_each_file_is_needed_until_its_stage_is_done(tmp_path: Path) -> None:
    settings, folder = Settings(candidates=4, adaptive=2), RunFolder(tmp_path / "new")
    assert files_needed(settings, folder) == set(FILES)
    touch(folder.search.base)
    assert files_needed(settings, folder) == {"known_results", "ood"}
    folder.write_candidates(candidates(3, adaptive=1))
    assert files_needed(settings, folder) == {"known_results", "ood"}  # one more is decided on during training
    assert files_needed(Settings(candidates=3, adaptive=0), folder) == {"ood"}
    folder.write_candidates(candidates(4, adaptive=2))
    assert files_needed(settings, folder) == {"ood"}
    touch(folder.ensemble_index)
    touch(folder.results)
    assert files_needed(settings, folder) == set()
    assert files_needed(settings, folder, "sample") == {"known_results", "ood"}
    assert files_needed(settings, folder, "select") == {"ood"}


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_while_it_is_needed_and_not_afterwards(tmp_path: Path, name: str) -> None:
    settings = Settings(**SMALL, **{name: str(tmp_path / "gone.npz")})
    with pytest.raises(InputError, match=f"^{name}|gone.npz"):
        make_plan(settings)
    with pytest.raises(InputError, match=f"^{name}|gone.npz"):
        make_plan(settings, needed={name, *(("supernet",) if name == "base" else ())})
    made = make_plan(settings, needed=set(FILES) - {name} - {"supernet"})
    assert made.identity == settings.to_mapping()  # it is the same run without the file


def test_known_results_are_never_left_out_in_silence(tmp_path: Path) -> None:
    """Even where nobody expected another candidate, it gets what the table says, or the table is missed."""
    known = tmp_path / "known.json"
    settings = Settings(**SMALL, known_results=str(known))
    plan: Plan = make_plan(settings, needed=())
    with pytest.raises(InputError, match="known.json"):
        KnownBefore(plan)
    (first,) = random_architectures(EdgeStructure.from_space(plan.space), 1, seed=0)
    known.write_text(json.dumps([{"architecture": first, "accuracy": 0.5}]))
    assert KnownBefore(plan)(first) == {"known": {"accuracy": 0.5}}
