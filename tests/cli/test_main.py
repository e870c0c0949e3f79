"""The command line; its bad inputs are in test_bad_inputs.py, its long work in tests/end_to_end/test_run.py."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest

from nni_hypens import __version__
from nni_hypens.cli import main as cli
from nni_hypens.cli.settings import settings_of
from nni_hypens.run.settings import Settings


def test_help_and_version(capsys) -> None:
    for arguments in (["--help"], ["run", "--help"], ["search", "--help"], ["select", "--help"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 0
    assert "--lam-high" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert __version__ in capsys.readouterr().out


def test_flags_override_the_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("members: 2\nseed: 5\nspace_args: {channels: 4}\n")
    arguments = cli.build_parser().parse_args(["run", str(path), "--seed", "7", "--space-args", "nodes=3"])
    assert settings_of(arguments) == {"members": 2, "seed": "7", "space_args": {"nodes": 3}}


def test_a_flag_undoes_what_a_file_says(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("warm_start: true\nhalving: true\n")
    arguments = cli.build_parser().parse_args(["run", str(path), "--no-warm-start"])
    assert settings_of(arguments) == {"warm_start": False, "halving": True}


def test_printed_settings_are_a_file_of_them(tmp_path: Path, capsys) -> None:
    words = ["run", "--members", "5", "--space-args", "channels=4", "--objective", "brier", "--warm-start"]
    assert cli.main([*words, "--print-settings"]) == 0
    text = capsys.readouterr().out
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    parsed = [cli.build_parser().parse_args(line) for line in (words, ["run", str(path)])]
    given, read = (Settings.from_mapping(settings_of(arguments)) for arguments in parsed)
    assert given == read and given.members == 5
    assert all(f"# {entry.metadata['help']}" in text for entry in dataclasses.fields(Settings))
    assert cli.main(["run", "--members", "9", "--print-settings"]) == 2  # of eight candidates


def test_a_file_holds_settings_alone(tmp_path: Path, capsys) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("per_trial: 4\n")
    assert cli.main(["run", str(path), "--out", str(tmp_path / "new")]) == 2
    assert "config: per_trial: got 4; expected only settings; use --per-trial" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


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
