"""Seeds of a comparison share their searches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nni_hypens import InputError
from tests.benchmarks.share_searches import share


def search(folder: Path, seed: int, index: int) -> Path:
    return folder / f"data-{seed}" / "searches" / f"darts-{index}.json"


def test_searches_are_copied_around_and_existing_ones_stay(tmp_path: Path) -> None:
    for seed in range(3):
        search(tmp_path, seed, 0).parent.mkdir(parents=True)
        search(tmp_path, seed, 0).write_text(json.dumps({"result": {"op": seed}, "cost": 10.0 + seed}))
    search(tmp_path, 1, 1).write_text(json.dumps({"result": {"op": 9}, "cost": 9.0}))
    written = share(tmp_path, "darts", 3)
    assert len(written) == 5 and all(path.exists() for path in written)
    assert json.loads(search(tmp_path, 0, 1).read_text()) == {"result": {"op": 1}, "cost": 11.0, "from": 1}
    assert json.loads(search(tmp_path, 2, 2).read_text())["from"] == 1  # around
    assert json.loads(search(tmp_path, 1, 1).read_text())["result"] == {"op": 9}
    assert share(tmp_path, "darts", 3) == []


def test_more_searches_than_seeds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^strategy"):
        share(tmp_path, "darts", 2)
    search(tmp_path, 0, 0).parent.mkdir(parents=True)
    search(tmp_path, 0, 0).write_text("{}")
    with pytest.raises(InputError, match="^searches"):
        share(tmp_path, "darts", 2)
