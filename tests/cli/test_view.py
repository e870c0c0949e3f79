"""The command `nni-hypens view`: its words, and bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nni_hypens.cli import main as cli


def test_the_words_reach_the_function(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Any] = []

    def view(run: Path, experiment: str | None, port: int | None, say: Any) -> None:
        asked.append((run, experiment, port))
        say("here")

    monkeypatch.setattr("nni_hypens.trials.view.view_experiment", view)
    assert cli.main(["view", "runs/my"]) == 0
    assert cli.main(["view", "runs/my", "--port", "8090", "--experiment", "abcd1234"]) == 0
    assert asked == [(Path("runs/my"), None, None), (Path("runs/my"), "abcd1234", 8090)]
    assert capsys.readouterr().err == "here\nhere\n"


def test_a_folder_without_experiments_is_an_error_of_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["view", str(tmp_path)]) == 2
    line = capsys.readouterr().err
    assert line.startswith("nni-hypens: DIR: got") and line.count("\n") == 1 and "report" in line
