"""The command line; its bad inputs are in test_bad_inputs.py, its long work in test_end_to_end.py."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nni_hypens import __version__, cli


def test_help_and_version(capsys) -> None:
    for arguments in (["--help"], ["run", "--help"], ["search", "--help"], ["select", "--help"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 0
    assert "--lam-high" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert __version__ in capsys.readouterr().out


def test_flags_come_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("members: 2\nseed: 5\nspace_args: {channels: 4}\n")
    arguments = cli.build_parser().parse_args(["run", str(path), "--seed", "7", "--space-args", "nodes=3"])
    assert cli.settings_of(arguments) == {"members": 2, "seed": "7", "space_args": {"nodes": 3}}


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
