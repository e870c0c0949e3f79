"""The strategy that submits candidates as trials, with NNI's engine played."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from nni.nas.execution.event import ModelEventType
from nni.nas.space import SimplifiedModelSpace

from nni_hypens import ImageData, InputError, image_evaluator
from nni_hypens.trials import strategy as strategy_module
from nni_hypens.trials.strategy import CandidateTraining
from tests.support.trials import Engine, space, specs


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


def test_an_error_in_an_event_ends_the_strategy(data: ImageData, tmp_path: Path) -> None:
    """It would end NNI's thread of events with a traceback, and the strategy would wait for ever."""

    def full(candidate: str, accuracy: float | None, done: bool) -> None:
        raise OSError(28, "No space left on device")

    strategy = CandidateTraining(specs(2), image_evaluator(data, 10, 1), data, tmp_path, on_progress=full)
    with pytest.raises(OSError, match="No space left"):
        strategy(SimplifiedModelSpace.from_model(space()), Engine(tmp_path.resolve(), {}))


def test_a_run_folder_that_is_gone_ends_the_strategy(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial that cannot write may never be told of as ended."""
    monkeypatch.setattr(strategy_module, "LOOK_SECONDS", 0.1)
    folder = tmp_path / "run"
    strategy = CandidateTraining(specs(1), image_evaluator(data, 10, 1), data, folder)

    class Silent(Engine):
        def submit_models(self, *models: Any) -> None:
            shutil.rmtree(folder)

    with pytest.raises(FileNotFoundError, match=str(folder)):
        strategy(SimplifiedModelSpace.from_model(space()), Silent(folder, {}))


def test_what_trials_cannot_rebuild_is_refused(data: ImageData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^data: .*nni.trace"):
        CandidateTraining([], image_evaluator(data, 10, 1), object(), tmp_path)
    with pytest.raises(InputError, match="^concurrency"):
        CandidateTraining([], image_evaluator(data, 10, 1), data, tmp_path, concurrency=0)
    with pytest.raises(InputError, match="^per_trial"):
        CandidateTraining([], image_evaluator(data, 10, 1), data, tmp_path, per_trial=0)
