"""What a worker process does with a request; real processes are in tests/end_to_end/test_run.py."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nni
import pytest
from nni.nas.space import SimplifiedModelSpace
from nni.runtime.trial_command_channel import get_default_trial_command_channel, set_default_trial_command_channel

from nni_hypens import ImageData, image_evaluator
from nni_hypens.data.checks import check_data
from nni_hypens.trials.training import CandidateEvaluator
from nni_hypens.trials.worker import Answers, train
from nni_hypens.utils.files import read_json
from tests.support.loaded import PATIENCE
from tests.support.trials import space, specs

EPOCHS = 2


def answers_to(folder: Path, checksum: str | None) -> list[dict[str, Any]]:
    """All answers of a worker that is asked to train one candidate in this process."""
    data, (spec,) = ImageData("digits", train_size=64, validation_size=64, test_size=64), specs(1)
    model = SimplifiedModelSpace.from_model(space()).freeze(spec.architecture)
    checksum = checksum or check_data(data)
    evaluator = image_evaluator(data, 10, EPOCHS)
    model.evaluator = CandidateEvaluator(evaluator, data, [asdict(spec)], str(folder), 1, checksum)
    stream, before = io.StringIO(), get_default_trial_command_channel()
    answers = Answers(stream)
    set_default_trial_command_channel(answers)
    try:
        train(nni.dump(model), answers)
    finally:
        set_default_trial_command_channel(before)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_each_epoch_is_told_then_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nni.trial._params", None)
    *epochs, last = answers_to(tmp_path, None)
    record = read_json(tmp_path / "c00" / "metrics.json")
    assert [row["accuracy"] for row in record["history"]] == [one["default"] for one in epochs]
    assert len(epochs) == EPOCHS and {one["candidate"] for one in epochs} == {"c00"}
    assert last["report"]["candidate"] == "c00" and last["report"]["default"] == record["default"]


def test_other_data_than_those_of_the_run_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nni.trial._params", None)
    (answer,) = answers_to(tmp_path, "of other images")
    assert "data: got other images or labels" in answer["error"]
    assert not (tmp_path / "c00" / "metrics.json").exists()


def test_a_worker_ends_when_the_process_that_started_it_does() -> None:
    command = [sys.executable, "-m", "nni_hypens.trials.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdin is not None
        worker.stdin.close()
        assert worker.wait(PATIENCE) == 0
