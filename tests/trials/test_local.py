"""Local workers, with a stand-in that speaks their protocol; real ones are in tests/end_to_end/test_run.py."""

from __future__ import annotations

import sys
from collections.abc import Set
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nni_hypens import ImageData, InputError, image_evaluator
from nni_hypens.run.runtime import Runtime
from nni_hypens.trials import local
from nni_hypens.trials.local import LocalTraining
from nni_hypens.trials.training import TrialSpec
from tests.support.trials import space, specs

STAND_IN = r"""
import json, os, re, sys
for line in sys.stdin:
    name = re.search(r'"id": "(c\d+)"', line).group(1)
    print(name, file=sys.stderr)
    if name == "c01":
        print(json.dumps({"error": "RuntimeError: too hot"}), flush=True)
    elif name == "c02":
        os._exit(7)
    else:
        print(json.dumps({"candidate": name, "default": 0.25}), flush=True)
        print(json.dumps({"report": {"default": 0.5, "candidate": name}}), flush=True)
"""


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "COMMAND", (sys.executable, "-c", STAND_IN))


def training(folder: Path, candidates: list[TrialSpec], **options: Any) -> LocalTraining:
    data = ImageData("digits")
    evaluator = image_evaluator(data, 10, 1)
    return LocalTraining(space(), candidates, evaluator, data, folder / "candidates", folder / "workers", **options)


@pytest.mark.parametrize("concurrency", [1, 2, 5])
def test_each_candidate_is_trained_or_has_failed_with_its_error(concurrency: int, tmp_path: Path) -> None:
    told: list[tuple[str, float | None, bool]] = []
    trainer = training(tmp_path, specs(4), concurrency=concurrency, on_progress=lambda *call: told.append(call))
    trainer.run()
    assert set(trainer.results) == {"c00", "c03"}
    assert trainer.failed["c01"] == "RuntimeError: too hot"
    assert "exit code 7" in trainer.failed["c02"]
    assert str(tmp_path / "workers") in trainer.failed["c02"]
    assert {("c00", 0.25, False), ("c00", 0.5, True), ("c01", None, True), ("c02", None, True)} <= set(told)
    assert sum(done for _, _, done in told) == 4
    logs = sorted((tmp_path / "workers").iterdir())
    assert sorted("".join(log.read_text() for log in logs).split()) == ["c00", "c01", "c02", "c03"]
    if concurrency == 1:
        assert len(logs) == 1, "one worker at a time writes one log"


def test_workers_share_the_gpus_evenly_also_after_one_has_ended(tmp_path: Path, monkeypatch: Any) -> None:
    started: list[tuple[str, str]] = []

    def worker(log: Path, answers: Any, environment: dict[str, str], number: int) -> Any:
        started.append((log.name, environment["CUDA_VISIBLE_DEVICES"]))
        return SimpleNamespace(number=number, train=lambda candidate, request: None)

    monkeypatch.setattr(local, "Worker", worker)
    trainer = training(tmp_path, [], concurrency=5, gpus=[4, 7])
    for spec in specs(5):
        trainer._submit(spec)
    assert [gpu for _, gpu in started] == ["4", "7", "4", "7", "4"]
    trainer._workers.pop(1)
    trainer._submit(specs(1)[0])
    assert started[-1] == ("worker-1.log", "7")


def test_candidates_are_chosen_when_the_results_that_they_need_are_there(tmp_path: Path) -> None:
    every = specs(5)

    class More:
        """Two more candidates: the first needs two results, the second needs three."""

        def __init__(self) -> None:
            self.left, self.known = 2, list[set[str]]()

        def ready(self, done: Set[str]) -> bool:
            return len(done) >= 4 - self.left

        def propose(self) -> TrialSpec:
            self.known.append(set(trainer.results) | set(trainer.failed))
            self.left -= 1
            return every[4 - self.left]

    more = More()
    trainer = training(tmp_path, every[:3], concurrency=2, proposals=more)
    trainer.run()
    assert set(trainer.results) | set(trainer.failed) == {one.id for one in every}
    assert [one.id for one in trainer.candidates] == ["c00", "c01", "c02", "c03", "c04"]
    assert len(more.known[0]) >= 2
    assert len(more.known[1]) >= 3


def test_an_idle_worker_that_dies_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = STAND_IN.replace("    else:\n", '    else:\n        time.sleep(2 if name == "c03" else 0)\n', 1)
    monkeypatch.setattr(local, "COMMAND", (sys.executable, "-c", slow.replace("import json", "import time, json", 1)))
    killed: list[int] = []

    def kill_idle(name: str, accuracy: float | None, done: bool) -> None:
        if name == "c00" and done:  # nothing is left for its worker
            (worker,) = trainer._idle
            killed.append(worker.end())

    first, *_, last = specs(4)
    trainer = training(tmp_path, [first, last], concurrency=2, on_progress=kill_idle)
    trainer.run()
    assert killed == [-9] and set(trainer.results) == {"c00", "c03"} and not trainer.failed


def test_workers_end_when_training_is_interrupted(tmp_path: Path) -> None:
    found: list[local.Worker] = []

    def interrupt(*call: Any) -> None:
        found.extend(trainer._workers)
        raise KeyboardInterrupt

    trainer = training(tmp_path, specs(1), on_progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert [worker._process.poll() for worker in found] == [-9]


def test_what_cannot_be_rebuilt_is_refused(tmp_path: Path) -> None:
    evaluator, unfit = image_evaluator(ImageData("digits"), 10, 1), SimpleNamespace(stream=(x for x in ()))
    with pytest.raises(InputError, match="^evaluator or data: .*can be pickled"):
        LocalTraining(space(), specs(1), evaluator, unfit, tmp_path, tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("option", [{"port": 8080}, {"per_trial": 2}, {"service": "a.yaml"}, {"live": True}])
def test_options_of_the_manager_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"^{next(iter(option))}: .*runner=nni"):
        Runtime(runner="local", **option).check()
    Runtime(**option).check()
