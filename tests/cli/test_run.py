"""The commands of a run; their long work is in tests/end_to_end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nni_hypens.cli import main as cli
from nni_hypens.cli.run import default_folder
from nni_hypens.run.folder import RunFolder
from nni_hypens.run.settings import Settings
from nni_hypens.utils.files import write_json, write_text
from tests.cli.test_output import RESULTS


def test_the_default_folder_names_data_space_and_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_folder(Settings()) == Path("runs/digits-one_cell-0")
    mine = Settings(data="/there/my.npz", space="spaces:Mine", seed=3)
    assert default_folder(mine) == Path("runs/my-Mine-3")


def test_a_finished_run_is_shown_and_not_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(data=str(tmp_path / "gone.npz"))  # not needed any more
    write_text(tmp_path / "config.yaml", json.dumps(settings.to_mapping()))
    write_json(tmp_path / "results.json", RESULTS)
    write_text(tmp_path / "report.html", "")
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert cli.main(["run", "--out", str(tmp_path), "--resume", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"out": str(tmp_path), **RESULTS} and "nothing was changed" in shown.err
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_files_of_the_search_are_missed_only_by_a_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = {name: str(tmp_path / f"gone.{name}") for name in ("supernet", "base", "known_results")}
    out = tmp_path / "run"
    RunFolder(out).claim(Settings(**gone, ood=str(tmp_path / "gone.npz")).to_mapping(), "")
    write_json(out / "results.json", RESULTS)
    write_text(out / "report.html", "")
    assert cli.main(["run", "--out", str(out), "--resume"]) == 2
    assert "supernet: got " in capsys.readouterr().err
    write_json(out / "search" / "base.json", {})
    assert cli.main(["run", "--out", str(out), "--resume"]) == 0
    assert cli.main(["report", str(out)]) == 0


def test_a_folder_of_an_earlier_version_keeps_its_relative_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Earlier versions stored `root` and `known_results` as given; the folder is still that very run."""
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "run"
    RunFolder(out).claim(Settings(data="fashion_mnist", root="files", known_results="known.csv").to_mapping(), "")
    for path in (out / "search" / "base.json", out / "results.json"):
        write_json(path, RESULTS)
    write_text(out / "report.html", "")
    assert cli.main(["run", "--out", str(out), "--resume"]) == 0, capsys.readouterr().err
    assert cli.main(["report", str(out)]) == 0, capsys.readouterr().err


def test_other_settings_get_the_next_folder_and_the_same_find_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    every = [Settings(), Settings(epochs=3), Settings(epochs=4)]
    for number, settings in enumerate(every, 1):
        folder = default_folder(settings)
        assert folder == Path("runs", "digits-one_cell-0" + f"-{number}" * (number > 1))
        shown = capsys.readouterr().err
        assert (str(folder) in shown and f"epochs: {Settings().epochs} there, {settings.epochs} here" in shown) == (
            number > 1
        )
        RunFolder(folder).claim(settings.to_mapping(), "")
    assert [default_folder(settings).name for settings in every] == [
        "digits-one_cell-0",
        "digits-one_cell-0-2",
        "digits-one_cell-0-3",
    ]
    capsys.readouterr()
    default_folder(Settings(epochs=5), quiet=True)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("select", "out: got no run folder"),
        ("select runs/a --out runs/b", "out: got runs/a and --out runs/b"),
        ("select runs/a --members 3..1", "members: got '3..1'"),
        ("select runs/a --members 2 --ids c1", "ids: got --ids c1 with --members 2"),
        ("evaluate runs/a", "out: got runs/a without config.yaml"),
        ("report --out runs/a", "out: got runs/a without config.yaml"),
    ],
)
def test_a_stage_takes_its_folder_as_argument_or_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(words.split()) == 2
    assert capsys.readouterr().err.startswith(f"nni-hypens: {says}")
