"""Fetching candidates: the protocol through a shell of this machine in the place of ssh."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nni.nas.space import SimplifiedModelSpace

from nni_hypens import ImageData, InputError, image_evaluator
from nni_hypens.trials import remote as remote_training
from nni_hypens.trials.machine import FetchError, Machine
from nni_hypens.trials.received import FILES, Expected
from nni_hypens.trials.remote import Machines, RemoteTraining
from nni_hypens.utils.files import read_json, write_json
from tests.support.far_candidate import bring, metrics
from tests.support.trials import Engine as LocalEngine, space, specs


def test_a_candidate_comes_whole(machines: Machines, place: Path, tmp_path: Path) -> None:
    target = tmp_path / "candidates"
    record = bring(machines, place, target)
    assert sorted(path.name for path in (target / "c00").iterdir()) == sorted(FILES)
    for name in FILES[:2]:
        assert (target / "c00" / name).read_bytes() == (place / "c00" / name).read_bytes()
    assert json.loads((target / "c00" / "metrics.json").read_text()) == record == metrics()


@pytest.mark.parametrize("wrong", ["/etc", "relative", "/x/../nni-experiments/a/environments/b/trials/c", "/a'b\n"])
def test_only_output_folders_of_trials_are_read(machines: Machines, tmp_path: Path, wrong: str) -> None:
    with pytest.raises(FetchError, match="not an output folder"):
        bring(machines, Path(wrong), tmp_path / "candidates")


def test_the_machine_of_the_worker_is_asked_first(
    machines: Machines, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def command(machine: Machine, script: str) -> list[str]:
        asked.append(machine.host)
        return ["sh", "-c", "exit 1" if machine.host == "m2" else script]

    monkeypatch.setattr(Machine, "command", command)
    bring(machines, place, tmp_path / "candidates")
    assert asked == ["m2", "m1"]


def test_versions_are_compared(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"nni": "3.0", "nni_hypens": "0.1.0"}
    monkeypatch.setattr(Machine, "run", lambda self, script: f"greeting\n{json.dumps(here)}\n")
    machines.check(here)
    with pytest.raises(InputError, match=r"machineList\[0\]: got m1 with nni_hypens 0.1.0; expected nni_hypens 9"):
        machines.check({**here, "nni_hypens": "9"})
    monkeypatch.setattr(Machine, "run", lambda self, script: "")
    with pytest.raises(InputError, match="an unreadable answer"):
        machines.check(here)


def test_the_last_words_of_a_trial(machines: Machines, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(place.parents[4].parent))
    assert machines.last_error("abc") is None
    (place / "trial.stderr").write_text("Traceback\nValueError: too hot\n\n")
    (place.with_name("T2")).mkdir()
    (place.with_name("T2") / "trial.stderr").touch()
    assert machines.last_error("abc") == "ValueError: too hot"


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


class Engine(LocalEngine):
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
        specs(n), image_evaluator(data, 10, 1), data, tmp_path / "run", machines=machines, **options
    )
    engine = Engine(tmp_path / "there", fates)
    strategy(SimplifiedModelSpace.from_model(space()), engine)
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
    warm = [replace(spec, warm_start=True) for spec in specs(1)]
    with pytest.raises(InputError, match="^warm_start"):
        RemoteTraining(warm, image_evaluator(data, 10, 1), data, tmp_path, machines=FakeMachines())
