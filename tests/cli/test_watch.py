"""The command `nni-hypens watch`: its words, and bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nni_hypens.cli import main as cli
from nni_hypens.trials.names import TRIAL_COMMAND


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    parser = cli.build_parser()
    assert parser.parse_args(["run", "--live"]).live and not parser.parse_args(["search"]).live
    arguments = parser.parse_args(["watch", "--port", "8100", "--", "python", "s.py", "--port", "3", "-x"])
    assert arguments.port == 8100 and arguments.program[-5:] == ["python", "s.py", "--port", "3", "-x"]
    assert cli.main(["watch"]) == 2 and cli.main(["watch", "--", "no-such-program-here"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and all("command" in line for line in errors)
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    assert TRIAL_COMMAND not in capsys.readouterr().out


@pytest.mark.parametrize("separator", [[], ["--"]])
def test_the_program_is_watched_as_it_was_given(separator: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def watch(command: list[str], **options: Any) -> int:
        asked.append((command, options))
        return 5

    monkeypatch.setattr("nni_hypens.trials.live.watch_search", watch)
    words = ["watch", "--name", "mine", "--directory", "there", *separator, "python", "s.py", "--name", "x"]
    assert cli.main(words) == 5  # the exit code of the program
    options = {"port": None, "name": "mine", "directory": Path("there")}
    assert asked == [(["python", "s.py", "--name", "x"], options)]
