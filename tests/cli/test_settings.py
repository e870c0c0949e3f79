"""Settings from flags, files and run folders."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from nni_hypens.cli import main as cli
from nni_hypens.cli.settings import runtime_of, settings_of, with_absolute_paths
from nni_hypens.errors import InputError
from nni_hypens.run.runtime import Runtime
from nni_hypens.run.settings import Settings


def test_flags_override_the_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("members: 2\nseed: 5\nspace_args: {channels: 4}\n")
    arguments = cli.build_parser().parse_args(["run", str(path), "--seed", "7", "--space-args", "nodes=3"])
    assert settings_of(arguments) == {"members": 2, "seed": "7", "space_args": {"nodes": 3}}


def test_a_flag_undoes_what_a_file_says(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("warm_start: true\ncompile: true\n")
    arguments = cli.build_parser().parse_args(["run", str(path), "--no-warm-start"])
    assert settings_of(arguments) == {"warm_start": False, "compile": True}


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


def test_help_shows_ten_flags_and_help_all_every_setting_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    command = cli.build_parser().commands["run"]
    shown = command.format_help()
    assert sum(f"  {flag}" in shown for action in command._actions for flag in action.option_strings[:1]) <= 12
    with pytest.raises(SystemExit):
        command.parse_all(["--help-all"])
    text = capsys.readouterr().out
    for entry in (*dataclasses.fields(Settings), *dataclasses.fields(Runtime)):
        assert f"--{entry.name.replace('_', '-')}" in text, entry.name


def test_options_of_the_command_line_are_checked() -> None:
    parser = cli.build_parser()
    assert runtime_of(parser.parse_args(["run"])) == Runtime()
    given = runtime_of(parser.parse_args(["train", "--out", "x", "--port", "8090", "--quiet", "--concurrency", "3"]))
    assert given == Runtime(port=8090, quiet=True, concurrency=3)
    for words, field in (
        (["--port", "high"], "port"),
        (["--per-trial", "0"], "per_trial"),
        (["--logger", "x"], "logger"),
    ):
        with pytest.raises(InputError) as error:
            runtime_of(parser.parse_args(["run", *words]))
        assert error.value.field == field


def test_paths_of_files_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"base": "b.json", "supernet": "s.safetensors", "known_results": "known.csv", "root": "cifar"}
    settings = with_absolute_paths(Settings(data="my.npz", ood="noise, far.npz", **files))
    assert settings.data == str(tmp_path / "my.npz")
    for name, file in files.items():
        assert getattr(settings, name) == str(tmp_path / file)
    assert settings.ood == f"noise,{tmp_path / 'far.npz'}"
    assert with_absolute_paths(Settings()) == Settings()
    for name in ("pictures", "digits"):  # a data set has precedence over a folder of its name
        (tmp_path / name).mkdir()
    assert with_absolute_paths(Settings(data="pictures")).data == str(tmp_path / "pictures")
    assert with_absolute_paths(Settings()).data == "digits"


def test_commands_say_how_a_run_from_python_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    content = {**Settings().to_mapping(), "train_space": None, "evaluator": "{}", "search_evaluator": "{}"}
    config.write_text(yaml.safe_dump({**content, "strategy": {}, "versions": {}}))
    out, before = str(tmp_path), config.read_text()
    stages = [[stage, "--out", out] for stage in ("sample", "train", "select", "evaluate", "report")]
    for words in (*stages, ["run", "--out", out, "--resume"], ["run", str(config), "--out", f"{out}-new"]):
        assert cli.main([*words, "--quiet"]) == 2
        said = capsys.readouterr().err
        assert "made by search_ensemble; expected" in said and "call search_ensemble again" in said, (words, said)
        assert len(said.strip().splitlines()) == 1 and "--resume" not in said
    assert cli.main(["run", "--out", out, "--seed", "1", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "another run, made by search_ensemble (seed: 0 there, 1 here)" in said and "--resume" not in said
    assert config.read_text() == before


def test_the_home_folder_is_meant_by_a_tilde_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "settings.yaml"
    path.write_text(
        "data: ~/d.npz\nood: noise, ~/far.npz\nknown_results: ~/k.csv\nroot: ~/cifar\nbase: ~nobody-here/b\n"
    )
    given = settings_of(cli.build_parser().parse_args(["run", str(path)]))
    settings = with_absolute_paths(Settings.from_mapping(given))
    assert settings.data == str(tmp_path / "d.npz") and settings.ood == f"noise,{tmp_path / 'far.npz'}"
    assert (settings.known_results, settings.root) == (str(tmp_path / "k.csv"), str(tmp_path / "cifar"))
    assert settings.base == str(Path.cwd() / "~nobody-here/b")  # named as missing later, not an error here
