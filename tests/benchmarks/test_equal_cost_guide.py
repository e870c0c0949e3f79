"""The guide to methods at equal cost is generated from its results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import bootstrap

from nni_hypens.compare.comparison import COLUMNS
from tests.benchmarks import equal_cost_guide

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "tests" / "benchmarks" / "results" / "equal_cost"
SETTINGS = {
    "train_size": 6000, "validation_size": 2000, "test_size": 5000, "epochs": 3, "search_epochs": 6, "nni_epochs": 1,
    "space": "one_cell", "space_args": {"channels": 8}, "command": "nni-hypens compare --out /tmp/x --jobs 1",
}  # fmt: skip


def made_up(levels: dict[str, float], seeds: int = 5, spread: float = 0.005) -> pd.DataFrame:
    generator, rows = np.random.default_rng(0), []
    for members in (3, 5):
        for seed in range(seeds):
            for method, level in levels.items():
                nll = level + generator.normal(0, spread)
                row: dict[str, Any] = dict.fromkeys(COLUMNS, 1.0)
                row |= {"data": "examples.small_data:cifar10_16", "seed": seed, "members": members, "method": method}
                row |= {"nll": nll, "accuracy": 1 - nll / 3, "search_s": 300.0 if "darts" in method else 30.0}
                rows.append(row | {"training_s": 70.0, "total_s": 100.0, "budget_s": 200.0, "supernet_spearman": None})
    return pd.DataFrame(rows).astype({"supernet_spearman": float})


def test_the_verdict_is_on_the_better_of_the_darts_ensembles() -> None:
    levels = {"adaptive@3": 0.90, "darts_ensemble": 1.05, "darts_deep_ensemble": 1.00, "best_architecture@3": 0.90}
    results = made_up(levels)
    said = equal_cost_guide.say_bar([equal_cost_guide.Measured("cifar10_16", results, SETTINGS)]).splitlines()
    assert len(said) == 2 and all("against DeepEns of DARTS" in line and "reached" in line for line in said)
    for members, line in zip((3, 5), said, strict=True):
        wide = results[results["members"] == members].pivot(index="seed", columns="method", values="nll")
        relative = 100 * (wide["adaptive@3"] / wide["darts_deep_ensemble"] - 1).to_numpy()
        mean, low, high = map(float, re.search(r"members: (\S+)% \[(\S+), (\S+)\]", line).groups())
        assert mean == pytest.approx(relative.mean(), abs=0.051)
        expected = bootstrap((relative,), np.mean, method="percentile", rng=1).confidence_interval
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.15)


@pytest.mark.parametrize(
    ("ours", "spread", "expected"),
    [(0.96, 0.001, "missed"), (0.94, 0.001, "reached"), (0.93, 0.3, "missed"), (1.2, 0.001, "missed")],
)
def test_a_missed_target_is_reported(ours: float, spread: float, expected: str) -> None:
    results = made_up({"adaptive@3": ours, "darts_ensemble": 1.1, "darts_deep_ensemble": 1.0}, spread=spread)
    said = equal_cost_guide.say_bar([equal_cost_guide.Measured("cifar10_16", results, SETTINGS)])
    assert expected in said and ("missed" in said) != ("reached" in said)


def test_sentences_about_the_others_and_the_search() -> None:
    levels = {"adaptive@3": 0.9, "darts_deep_ensemble": 1.0, "random_pool@3": 0.95, "best_architecture@3": 0.8}
    one = equal_cost_guide.Measured("cifar10_16", made_up(levels), SETTINGS)
    said = equal_cost_guide.say_others([one])
    assert re.search(r"3 members, against Random-NES, 3x: -\d.* lower\.$", said, re.MULTILINE)
    assert re.search(r"3 members, against DeepEns of our best, 3x: \+\d.* \*\*higher\*\*\.$", said, re.MULTILINE)
    # 30 s for 6 epochs against three times 300 s for 1 epoch
    cost = equal_cost_guide.say_search([one])
    assert "30 s" in cost and "900 s" in cost and "0.03 times" in cost and "0.006 times" in cost


def test_darts_trained_as_long_is_reported_separately() -> None:
    levels = {"adaptive@3": 0.9, "darts_deep_ensemble": 1.0, "darts_deep_ensemble@3": 0.8}
    one = equal_cost_guide.Measured("cifar10_16", made_up(levels), SETTINGS)
    said = equal_cost_guide.say_longer([one]).splitlines()
    assert len(said) == 2 and all("**higher**" in line and "1.85 times" in line for line in said)
    assert "DARTS" not in equal_cost_guide.say_others([one])


def test_tables_list_every_method_best_first() -> None:
    levels = {"adaptive@3": 0.9, "darts_deep_ensemble": 1.0, "random_pool@3": 0.95}
    one = equal_cost_guide.Measured("cifar10_16", made_up(levels), SETTINGS)
    rows = [line.split(" | ")[0] for line in equal_cost_guide.result_table(one.blocks[0]).splitlines()[2:]]
    assert rows == ["| EdgeNES, adaptive, 3x", "| Random-NES, 3x", "| DeepEns of DARTS"]
    assert equal_cost_guide.readme_table([one]).count("\n") == 3  # two sizes below the head


def test_results_are_copied_with_their_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equal_cost_guide, "RESULTS", tmp_path / "results")
    run = tmp_path / "run"
    run.mkdir()
    made_up({"adaptive@3": 0.9, "darts_deep_ensemble": 1.0}).to_csv(run / "results.csv", index=False)
    (run / "comparison.json").write_text(json.dumps(SETTINGS))
    equal_cost_guide.collect([run])
    (one,) = equal_cost_guide.measured()
    command = "nni-hypens compare --out runs/cifar10_16 --jobs 1"
    assert one.name == "cifar10_16" and one.settings == SETTINGS | {"command": command} and len(one.results) == 20
    figures = equal_cost_guide.draw([one], tmp_path / "figures")
    assert [path.name for path in figures] == ["cifar10_16_3.png", "cifar10_16_5.png"]


def test_guide_and_readme_match_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    made = equal_cost_guide.parts(equal_cost_guide.measured())
    for path in ("docs/guides/equal_cost.md", "README.md"):
        text = Path(path).read_text(encoding="utf-8")
        assert equal_cost_guide.PART.search(text), path
        assert equal_cost_guide.filled(text, made) == text, "python -m tests.benchmarks.equal_cost_guide"


def test_figures_match_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compares text alternatives, because pixels depend on the version of matplotlib."""
    monkeypatch.chdir(ROOT)
    for new in equal_cost_guide.draw(equal_cost_guide.measured(), tmp_path):
        old = ROOT / "docs" / "equal_cost" / new.name
        assert Image.open(old).text["Description"] == Image.open(new).text["Description"]


def test_results_were_measured_on_five_seeds_with_one_version() -> None:
    for folder in RESULTS.iterdir():
        table = pd.read_csv(folder / "results.csv")
        assert (table.groupby(["members", "method"])["seed"].nunique() == 5).all()
        about = json.loads((folder / "comparison.json").read_text())
        assert about["versions"]["nni"] and about["command"].startswith("nni-hypens compare ")
