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


def test_data_sets_are_listed_and_other_settings_are_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["compare", "--data", "digits, mine.npz", "--epochs", "3"]
    settings, data_sets = settings_and_data(cli.build_parser().parse_args(words))
    assert data_sets == ["digits", str(tmp_path / "mine.npz")]
    assert settings.epochs == 3 and settings.data == "digits"


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
        ("--methods random_pool --seconds 9 --quiet", "ours: got 'adaptive'; expected one of the methods: random_pool"),
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
