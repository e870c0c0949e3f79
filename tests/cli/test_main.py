"""The command line; its bad inputs are in test_bad_inputs.py, its long work in tests/end_to_end/test_run.py."""

from __future__ import annotations

import argparse
import io
import subprocess
import sys

import pytest

from nni_hypens import __version__
from nni_hypens.cli import main as cli
from nni_hypens.errors import TRACEBACK, InputError
from tests.test_errors import SpeechlessError


def test_help_and_version(capsys) -> None:
    for arguments in (["--help"], ["run", "--help"], ["search", "--help-all"], ["select", "--help"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 0
    assert "--lam-high" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert __version__ in capsys.readouterr().out


def test_every_command_has_examples() -> None:
    parser = cli.build_parser()
    for name, command in parser.commands.items():
        if name not in parser.hidden:
            assert "examples:\n  nni-hypens " + name in (command.epilog or ""), name


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_commands_and_flags(capsys, shell: str) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--print-completion", shell])
    assert stop.value.code == 0
    script = capsys.readouterr().out
    for word in ("run", "compare", "doctor", "--max-total-params", "--adaptive"):
        assert word in script
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (RuntimeError("\n\nthe manager\nis gone"), 1, "the manager is gone"),
        (ValueError("\nshapes do not fit"), 1, "ValueError: shapes do not fit"),
        (KeyError("\x1b[2Jtable"), 1, "KeyError: '\\x1b[2Jtable'"),
        (AssertionError(), 1, "AssertionError"),
        (SpeechlessError(), 1, "SpeechlessError"),
        (SystemExit(0), 1, "SystemExit: 0"),  # a script of the user that ends itself has not done what was asked
        (InputError("data", "a\nb", "one"), 2, "data: got a b; expected one"),
        (OSError(28, "No space left on device", "a\x1b[m"), 1, "a\\x1b[m: No space left on device; free some space"),
    ],
)
def test_any_error_of_a_command_is_one_line(monkeypatch, capsys, error: BaseException, code: int, says: str) -> None:
    def fail(arguments: argparse.Namespace) -> None:
        raise error

    monkeypatch.delenv(TRACEBACK, raising=False)
    monkeypatch.setattr(cli.doctor, "examine_machine", fail)
    assert cli.main(["doctor"]) == code
    line = capsys.readouterr().err
    assert line.startswith(f"nni-hypens: {says}") and line.count("\n") == 1 and line[:-1].isprintable()
    monkeypatch.setenv(TRACEBACK, "1")
    assert cli.main(["doctor"]) == code
    shown = capsys.readouterr().err
    assert f"nni-hypens: {says}" in shown and "Traceback" in shown and "in fail" in shown


def test_a_mistyped_word_cannot_command_the_terminal(capsys) -> None:
    for words in (["\x1b[2J"], ["doctor", "\x1b[2J"], ["doctor", "--\x1b[2J"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(words)
        assert stop.value.code == 2 and "\x1b" not in capsys.readouterr().err


def test_what_the_terminal_cannot_write_does_not_end_the_command(monkeypatch) -> None:
    screen = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(screen, encoding="ascii"))
    monkeypatch.setattr(cli.doctor, "examine_machine", lambda arguments: print("猫 \udcff", flush=True))
    assert cli.main(["doctor"]) == 0 and screen.getvalue() == b"\\u732b \\udcff\n"
