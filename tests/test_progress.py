from __future__ import annotations

import pytest

from nni_hypens.progress import Progress


def test_shows_stage_numbers_and_nothing_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.say("hello")
    progress.start("train", 3, "candidate", done=1)
    progress.step(2, accuracy=0.91234, candidate="c01")
    progress.stop()
    shown = capsys.readouterr().err
    assert "hello" in shown and "train" in shown and "3/3" in shown and "accuracy=0.912" in shown
    quiet = Progress(quiet=True)
    quiet.say("hello")
    quiet.start("train", 3, "candidate")
    quiet.step()
    quiet.stop()
    quiet.step()  # no stage: nothing to do
    assert capsys.readouterr().err == ""
