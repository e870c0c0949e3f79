"""The command line; its bad inputs are in test_bad_inputs.py, its long work in tests/end_to_end/test_run.py."""

from __future__ import annotations

import subprocess

import pytest

from nni_hypens import __version__
from nni_hypens.cli import main as cli


def test_help_and_version(capsys) -> None:
    for arguments in (["--help"], ["run", "--help"], ["search", "--help"], ["select", "--help"]):
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
