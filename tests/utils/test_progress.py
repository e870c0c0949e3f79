from __future__ import annotations

import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from nni_hypens.utils.progress import Progress, SearchProgress, logs_beside_progress


def test_shows_stage_numbers_and_nothing_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.say("hello")
    progress.start("train", 3, "candidate", done=1)
    progress.step(2, accuracy=0.91234, candidate="c01")
    progress.stop()
    shown = capsys.readouterr().err
    assert "hello" in shown and "train     accuracy 0.912 candidate c01" in shown and "3/3" in shown
    assert all(len(line) <= 80 for line in shown.replace("\r", "\n").splitlines())
    quiet = Progress(quiet=True)
    quiet.say("hello")
    quiet.start("train", 3, "candidate")
    quiet.step()
    quiet.stop()
    quiet.step()  # no stage: nothing to do
    assert capsys.readouterr().err == ""


class Recorder(Progress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.calls: list[tuple] = []

    def start(self, stage: str, total: int, unit: str, done: int = 0) -> None:
        self.calls.append(("start", stage, total, unit, done))

    def step(self, n: int = 1, **numbers: Any) -> None:
        self.calls.append(("step", n, numbers))

    def stop(self) -> None:
        self.calls.append(("stop",))


def test_search_progress_counts_epochs_and_ends_with_the_search() -> None:
    recorder = Recorder()
    callback = SearchProgress(recorder)
    trainer, module = SimpleNamespace(max_epochs=7, current_epoch=2), SimpleNamespace(history=[])
    callback.on_train_start(trainer, module)
    callback.on_train_epoch_end(trainer, module)
    module.history = [{"phase": "warmup", "loss": 2.0, "accuracy": None, "seconds": 9.0}]
    callback.on_train_epoch_end(trainer, module)
    callback.on_fit_end(trainer, module)
    callback.on_exception(trainer, module, RuntimeError())
    assert recorder.calls == [
        ("start", "search", 7, "epoch", 2),
        ("step", 1, {}),
        ("step", 1, {"phase": "warmup", "loss": 2.0}),
        ("stop",),
        ("stop",),
    ]


def test_a_new_stage_ends_the_one_before(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.start("one", 2, "step")
    progress.start("two", 2, "step")
    progress.stop()
    progress.stop()
    shown = capsys.readouterr().err
    assert "one" in shown and "two" in shown


def test_what_nni_logs_is_plain_and_leaves_standard_output_to_results(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("nni")
    before, level = logger.handlers[:], logger.level
    logger.setLevel(logging.WARNING)  # another test may have made it quieter
    try:
        logs_beside_progress()
        logs_beside_progress()
        logging.getLogger("nni.tools.example").warning("Timeout, ${CYAN}retry %d...", 2)
    finally:
        logger.handlers[:] = before
        logger.setLevel(level)
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err == "warning: Timeout, retry 2...\n"
    assert not any(getattr(handler, "stream", None) is sys.stdout for handler in logger.handlers)
