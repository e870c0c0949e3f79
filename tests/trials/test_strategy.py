"""The strategy that submits candidates as trials, with NNI's engine played."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from nni.nas.execution.engine import ExecutionEngine
from nni.nas.execution.event import FinalMetricEvent, IntermediateMetricEvent, ModelEventType, TrainingEndEvent
from nni.nas.space import ModelStatus, SimplifiedModelSpace

from nni_hypens import ImageData, InputError, image_evaluator
from nni_hypens.trials.strategy import CandidateTraining
from nni_hypens.utils.files import write_json
from tests.trials.test_training import space, specs


@pytest.fixture(scope="module")
def data() -> ImageData:
    return ImageData("digits", train_size=128, validation_size=64, test_size=32)


class Engine(ExecutionEngine):
    """Plays NNI's engine: each submitted candidate succeeds, fails, or ends without a word, on a thread of its own."""

    def __init__(self, folder: Path, fates: dict[str, str], swap_ends: bool = False) -> None:
        super().__init__()
        self.folder, self.fates, self.order, self.active, self.most = folder, fates, [], 0, 0

    def submit_models(self, *models: Any) -> None:
        for model in models:
            self.active += 1
            self.most = max(self.most, self.active)
            self.order.append([spec["id"] for spec in model.evaluator.candidates])
            threading.Thread(target=self._play, args=(model,), daemon=True).start()

    def _play(self, model: Any) -> None:
        names = [spec["id"] for spec in model.evaluator.candidates]
        last, failed = None, False
        for name in names:
            fate = self.fates.get(name, "succeeds")
            self.dispatch_model_event(IntermediateMetricEvent(model, {"default": 0.1, "candidate": name}))
            threading.Event().wait(0.05)
            if fate in ("succeeds", "silent"):
                write_json(self.folder / name / "metrics.json", {"id": name, "status": "trained"})
            if fate == "killed":
                break
            if last is not None:
                self.dispatch_model_event(IntermediateMetricEvent(model, {**last, "finished": 1}))
            last = {"default": 0.9, "candidate": name} if fate == "succeeds" else None
            if fate == "fails":
                failed = True
                report = {"default": 0.0, "candidate": name, "error": f"{name} burns"}
                self.dispatch_model_event(IntermediateMetricEvent(model, report))
        self.active -= 1
        killed = "killed" in map(self.fates.get, names)
        if last is not None and not killed:
            self.dispatch_model_event(FinalMetricEvent(model, last))
        done = last is not None and not failed and not killed
        self.dispatch_model_event(TrainingEndEvent(model, ModelStatus.Trained if done else ModelStatus.Failed))

    def default_callback(self, event: Any) -> None:
        pass

    def budget_available(self) -> bool:
        return True


@pytest.mark.parametrize("concurrency", [1, 2, 4])
def test_failures_are_marked_and_the_rest_goes_on(data: ImageData, tmp_path: Path, concurrency: int) -> None:
    told: list[tuple[str, float | None, bool]] = []
    strategy = CandidateTraining(
        specs(5), image_evaluator(data, 10, 1), data, tmp_path, concurrency, on_progress=lambda *what: told.append(what)
    )
    engine = Engine(tmp_path.resolve(), {"c01": "fails", "c03": "silent"})
    strategy(SimplifiedModelSpace.from_model(space()), engine)
    assert engine.order == [["c00"], ["c01"], ["c02"], ["c03"], ["c04"]] and engine.most <= concurrency
    assert set(strategy.results) == {"c00", "c02", "c03", "c04"} and set(strategy.failed) == {"c01"}
    assert all(strategy.results[name].get("candidate", name) == name for name in strategy.results)
    assert sorted(name for name, _, done in told if done) == ["c00", "c01", "c02", "c03", "c04"]
    assert not engine._callbacks[ModelEventType.FinalMetric]
    assert json.loads((tmp_path / "c00" / "architecture.json").read_text()) == specs(1)[0].architecture


@pytest.mark.parametrize("concurrency", [1, 2])
def test_packs_lose_only_what_failed_in_them(data: ImageData, tmp_path: Path, concurrency: int) -> None:
    """One raises, one ends in silence, and one trial is killed between its candidates."""
    strategy = CandidateTraining(specs(7), image_evaluator(data, 10, 1), data, tmp_path, concurrency, per_trial=3)
    engine = Engine(tmp_path.resolve(), {"c01": "fails", "c02": "silent", "c04": "killed"})
    strategy(SimplifiedModelSpace.from_model(space()), engine)
    assert engine.order == [["c00", "c01", "c02"], ["c03", "c04", "c05"], ["c06"]] and engine.most <= concurrency
    assert set(strategy.results) == {"c00", "c02", "c03", "c06"}
    assert set(strategy.failed) == {"c01", "c04", "c05"} and strategy.failed["c01"] == "c01 burns"


def test_what_trials_cannot_rebuild_is_refused(data: ImageData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^data: .*nni.trace"):
        CandidateTraining([], image_evaluator(data, 10, 1), object(), tmp_path)
    with pytest.raises(InputError, match="^concurrency"):
        CandidateTraining([], image_evaluator(data, 10, 1), data, tmp_path, concurrency=0)
    with pytest.raises(InputError, match="^per_trial"):
        CandidateTraining([], image_evaluator(data, 10, 1), data, tmp_path, per_trial=0)
