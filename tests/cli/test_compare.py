"""The command `nni-hypens compare`: its words reach the comparison, which is played, or are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nni_hypens.cli import main as cli
from nni_hypens.cli.compare import settings_and_data
from nni_hypens.errors import InputError
from tests.support.pools import made_up


def test_data_sets_are_listed_and_other_settings_are_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["compare", "--data", "digits, mine.npz", "--epochs", "3"]
    settings, data_sets = settings_and_data(cli.build_parser().parse_args(words))
    assert data_sets == ["digits", str(tmp_path / "mine.npz")]
    assert settings.epochs == 3 and settings.data == "digits"


def test_paths_hold_in_any_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["compare", "--data", "digits,mine.npz", "--root", "idx"]
    settings, data_sets = settings_and_data(cli.build_parser().parse_args(words))
    assert settings.root == str(tmp_path / "idx") and data_sets == ["digits", str(tmp_path / "mine.npz")]


@pytest.mark.parametrize(("setting", "instead"), [("seed", "--seeds"), ("budget", "--seconds")])
def test_settings_that_a_comparison_has_otherwise(setting: str, instead: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(f"{setting}: 3\n")
    with pytest.raises(InputError, match=f"^{setting}: got 3; expected {instead}"):
        settings_and_data(cli.build_parser().parse_args(["compare", str(path)]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--seeds 0,one", "seeds: got '0,one'; expected whole numbers"),
        ("--sizes 3;5", "sizes: got '3;5'; expected whole numbers"),
        ("--jobs 0", "jobs: got 0"),
        ("--seeds 5..3", "seeds: got '5..3'; expected whole numbers"),
        ("--networks 12", "networks: got 12; expected --pool"),
        ("--pool x.npz --networks 2", "networks: got 2"),
        ("--pool x.npz --seeds 0..4", "x.npz: got no file; expected a pool"),
        ("--pool x.npz --data digits", "data: got 'digits'; expected no such argument with --pool"),
        ("--pool x.npz --space MLP", "space: got 'MLP'; expected no such argument with --pool"),
        ("--pool x.npz --epochs 3", "epochs: got '3'; expected no such argument with --pool"),
        ("--pool x.npz --seconds 9", "seconds: got 9.0; expected no such argument with --pool"),
        ("--pool x.npz --reference darts", "reference: got 'darts'; expected no such argument with --pool"),
        ("--pool x.npz --nni-epochs 3", "nni_epochs: got 3; expected no such argument with --pool"),
        ("--pool x.npz --jobs 2", "jobs: got 2; expected no such argument with --pool"),
        ("settings.yaml --pool x.npz", "config: got 'settings.yaml'; expected no such argument with --pool"),
        (
            "--pool x.npz --methods darts",
            "methods: got darts, which needs a search (it has no `on_pool`); expected one that runs on a pool",
        ),
        ("--pool x.npz --methods random_pool --ours x", "ours: got 'x'; expected one of the methods: random_pool"),
        (
            "--methods random_pool --seconds 9 --ours x --quiet",
            "ours: got 'x'; expected one of the methods: random_pool",
        ),
    ],
)
def test_bad_words_are_refused(words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert cli.main(["compare", *words.split(), "--out", str(out)]) == 2
    assert message in capsys.readouterr().err and not out.exists()


def test_words_reach_the_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {}

    def play(comparison: Any, out: Path, jobs: int, progress: Any, command: str) -> pd.DataFrame:
        asked.update(comparison=comparison, out=out, jobs=jobs, quiet=progress.quiet)
        return pd.DataFrame({"method": ["evolution"], "nll": [0.5]})

    monkeypatch.setattr("nni_hypens.compare.comparison.run_comparison", play)
    monkeypatch.setattr("nni_hypens.compare.page.write_comparison_page", lambda out, ours: asked.update(ours=ours))
    words = "--methods evolution,random_pool --seeds 4,5 --sizes 2 --seconds 9 --ours evolution --jobs 2 --quiet --json"
    assert cli.main(["compare", *words.split(), "--out", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == [{"method": "evolution", "nll": 0.5}]
    comparison = asked["comparison"]
    assert list(comparison.methods) == ["evolution", "random_pool"] and list(comparison.seeds) == [4, 5]
    assert list(comparison.sizes) == [2] and comparison.budget == 9
    assert (asked["out"], asked["jobs"], asked["quiet"], asked["ours"]) == (tmp_path, 2, True, "evolution")


def test_words_reach_the_comparison_on_pools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {}

    def play(comparison: Any, out: Path, progress: Any, command: str) -> pd.DataFrame:
        asked.update(comparison=comparison, out=out)
        return pd.DataFrame({"method": [*comparison.methods], "nll": 0.5})

    monkeypatch.setattr("nni_hypens.compare.pool_comparison.run_pool_comparison", play)
    monkeypatch.setattr("nni_hypens.compare.page.write_comparison_page", lambda out, ours: asked.update(ours=ours))
    words = "--pool a.npz b/c.npz --networks 9 --seeds 3,5..7 --sizes 3 --quiet --json"
    assert cli.main(["compare", *words.split(), "--out", str(tmp_path)]) == 0
    comparison = asked["comparison"]
    assert comparison.files == [Path("a.npz"), Path("b/c.npz")] and comparison.networks == 9
    assert list(comparison.seeds) == [3, 5, 6, 7] and list(comparison.sizes) == [3]
    assert "random_pool" in comparison.methods and not {"adaptive", "snapshots"} & set(comparison.methods)
    assert cli.main(["compare", *words.split(), "--methods", "all", "--out", str(tmp_path)]) == 0
    assert "snapshots" in asked["comparison"].methods
    assert (asked["out"], asked["ours"]) == (tmp_path, "adaptive_random")
    assert cli.main(["compare", *words.split(), "--methods", "random_pool,evolution", "--out", str(tmp_path)]) == 0
    assert asked["ours"] == "random_pool", "the first, where ours was not run"


def test_a_comparison_on_a_pool_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_up((2,) * 6).save(tmp_path / "tiny.npz")
    words = ["compare", "--pool", str(tmp_path / "tiny.npz"), "--seeds", "0..1", "--sizes", "2", "--networks", "3"]
    words += ["--methods", "adaptive_random,random_pool", "--quiet", "--out", str(tmp_path / "out")]
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    assert "tiny, ensembles of 2, 2 seeds" in shown and "Random-NES" in shown
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"results.csv", "comparison.json", "comparison.html"}
