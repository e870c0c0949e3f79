"""The guide to ablations is generated from its results."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import bootstrap, ttest_rel

from tests.benchmarks import ablation_guide as guide

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return json.loads((ROOT / "tests" / "benchmarks" / "results" / "ablations.json").read_text())


def test_the_guide_matches_the_results(results: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert guide.written(results) == guide.GUIDE.read_text(encoding="utf-8")


def test_every_variant_has_five_seeds_and_the_summary_matches_the_rows(results: dict[str, Any]) -> None:
    rows = {(row["variant"], row["members"], row["seed"]): row for row in results["rows"]}
    assert len(results["seeds"]) >= 5
    for members in (3, 5):
        assert {row["variant"] for row in results["summary"] if row["members"] == members} == set(guide.WHAT)
    for row in results["summary"]:
        own, other = (
            np.array([rows[name, row["members"], seed]["nll"] for seed in results["seeds"]])
            for name in (row["variant"], guide.REFERENCE)
        )
        assert row["nll"] == pytest.approx(own.mean()) and row["seeds"] == len(own)
        if row["variant"] != guide.REFERENCE:
            relative = (own - other) / other
            found = bootstrap((relative,), np.mean, n_resamples=10_000, method="percentile", rng=0).confidence_interval
            assert row["difference"] == pytest.approx(relative.mean())
            assert (row["low"], row["high"]) == pytest.approx((found.low, found.high))
            assert row["wins"] == (own < other).sum() and row["p"] == pytest.approx(ttest_rel(own, other).pvalue)


def test_a_verdict_needs_both_sizes(results: dict[str, Any]) -> None:
    results = copy.deepcopy(results)
    levels = {"adaptive": (-0.1, -0.1), "random": (0.1, 0.1), "ema": (-0.1, 0.1)}
    for row in results["summary"]:
        if row["variant"] in levels:
            row["difference"], row["p"] = levels[row["variant"]][row["members"] == 5], 0.01
        elif row["variant"] != guide.REFERENCE:
            row["difference"], row["p"] = -0.01, 0.2
    lower, higher, neither = guide.verdicts(results).splitlines()
    assert re.findall(r"`(\w+)`", lower) == ["adaptive"] and re.findall(r"`(\w+)`", higher) == ["random"]
    assert "`ema`" in neither and "`drawn`" not in neither and "`base`" in neither
