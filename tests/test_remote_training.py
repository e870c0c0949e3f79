"""Remote trials as the strategy sees them: files that come late, not at all, or from a run that was killed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nni.nas.space import SimplifiedModelSpace

from nni_hypens import ImageData, InputError, image_evaluator, remote_training
from nni_hypens.remote import Expected, FetchError
from nni_hypens.remote_training import RemoteTraining
from nni_hypens.utils.files import read_json, write_json
from tests import test_candidate_training as played
from tests import test_training as local


@pytest.fixture(scope="module")
def data() -> ImageData:
    return ImageData("digits", train_size=128, validation_size=64, test_size=32)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_training, "PAUSE_SECONDS", 0.0)


class FakeMachines:
    """What trials wrote, and how often a fetch of it is cut off."""

    def __init__(self, cuts: dict[str, int] | None = None) -> None:
        self.cuts, self.asked = dict(cuts or {}), []

    def bring(self, place: str, expected: Expected, folder: Path) -> dict[str, Any]:
        name = expected.spec["id"]
        self.asked.append((name, place))
        assert expected.classes == 10 and expected.rows == {"val": 64, "test": 32}
        assert sum(value.numel() for value in expected.network.parameters()) > 0
        if self.cuts.get(name, 0) > 0:
            self.cuts[name] -= 1
            raise FetchError("cut off")
        record = {"id": name, "status": "trained", "default": 0.9}
        write_json(folder / "metrics.json", record)
        return record

    def last_error(self, experiment: str) -> str | None:
        return f"burnt in {experiment}"


class Engine(played.Engine):
    """Trials of another machine: their files are elsewhere, and reports say where."""

    id = "abc"
    nodejs_binding = property(lambda self: self)

    def dispatch_model_event(self, event: Any) -> None:
        metric = getattr(event, "metric", None)
        if isinstance(metric, dict):
            metric["place"] = f"/there/{metric['candidate']}"
        super().dispatch_model_event(event)


def train(
    data: ImageData, tmp_path: Path, machines: FakeMachines, fates: dict[str, str], n: int = 3, **options: Any
) -> tuple[RemoteTraining, Engine]:
    strategy = RemoteTraining(
        local.specs(n), image_evaluator(data, 10, 1), data, tmp_path / "run", machines=machines, **options
    )
    engine = Engine(tmp_path / "there", fates)
    strategy(SimplifiedModelSpace.from_model(local.space()), engine)
    return strategy, engine


@pytest.mark.parametrize("per_trial", [1, 3])
def test_files_are_fetched_when_a_candidate_has_finished(data: ImageData, tmp_path: Path, per_trial: int) -> None:
    told: list[Any] = []
    machines = FakeMachines({"c01": 2})
    strategy, engine = train(
        data, tmp_path, machines, {}, per_trial=per_trial, concurrency=2, on_progress=lambda *what: told.append(what)
    )
    assert set(strategy.results) == {"c00", "c01", "c02"} and not strategy.failed
    assert machines.asked.count(("c01", "/there/c01")) == 3 and len(machines.asked) == 5
    assert sorted(name for name, _, done in told if done) == ["c00", "c01", "c02"]
    assert strategy.trial_directory is None and not list(tmp_path.glob("run/*/remote.json"))
    assert all((tmp_path / "run" / f"c{index:02d}" / "metrics.json").exists() for index in range(3))


def test_what_cannot_be_fetched_has_failed(data: ImageData, tmp_path: Path) -> None:
    strategy, _ = train(data, tmp_path, FakeMachines({"c01": 99}), {})
    assert set(strategy.results) == {"c00", "c02"} and strategy.failed == {"c01": "cut off"}
    assert not (tmp_path / "run" / "c01" / "metrics.json").exists()
    assert read_json(tmp_path / "run" / "c01" / "remote.json") == {"place": "/there/c01"}


def test_trials_that_end_without_a_word(data: ImageData, tmp_path: Path) -> None:
    """One had written everything, one nothing, and one said why it failed."""
    fates = {"c00": "silent", "c01": "killed", "c02": "fails"}
    strategy, _ = train(data, tmp_path, FakeMachines({"c01": 99, "c02": 99}), fates)
    assert set(strategy.results) == {"c00"}
    assert strategy.failed == {"c01": "burnt in abc", "c02": "c02 burns"}


def test_a_run_that_was_killed_fetches_what_has_finished_since(data: ImageData, tmp_path: Path) -> None:
    for name in ("c00", "c01"):
        write_json(tmp_path / "run" / name / "remote.json", {"place": f"/before/{name}"})
    (tmp_path / "run" / "c01" / ".fetch-x").mkdir()
    machines = FakeMachines({"c01": 1})
    strategy, engine = train(data, tmp_path, machines, {})
    assert engine.order == [["c01"], ["c02"]] and set(strategy.results) == {"c00", "c01", "c02"}
    assert machines.asked[:2] == [("c00", "/before/c00"), ("c01", "/before/c01")]
    assert not list(tmp_path.glob("run/*/remote.json")) and not list(tmp_path.glob("run/*/.fetch-*"))


def test_initial_weights_stay_here(data: ImageData, tmp_path: Path) -> None:
    warm = [replace(spec, warm_start=True) for spec in local.specs(1)]
    with pytest.raises(InputError, match="^warm_start"):
        RemoteTraining(warm, image_evaluator(data, 10, 1), data, tmp_path, machines=FakeMachines())
