"""The guide to what each part is worth follows from its results."""

from __future__ import annotations

import copy
import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.stats import bootstrap

ROOT = Path(__file__).parent.parent
RESULTS: dict[str, Any] = json.loads((ROOT / "tests" / "benchmarks" / "results" / "ablations.json").read_text())


@pytest.fixture(scope="module")
def guide() -> ModuleType:
    sys.path.insert(0, str(ROOT))  # as for who runs it from the top of the repository
    try:
        return importlib.import_module("tests.benchmarks.ablation_guide")
    finally:
        sys.path.remove(str(ROOT))


def test_the_guide_is_as_the_results_are(guide: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert guide.written(RESULTS) == guide.GUIDE.read_text(encoding="utf-8")


def test_every_variant_has_five_seeds_and_the_summary_is_that_of_the_rows(guide: ModuleType) -> None:
    rows = {(row["variant"], row["members"], row["seed"]): row for row in RESULTS["rows"]}
    assert len(RESULTS["seeds"]) >= 5
    for members in (3, 5):
        assert {row["variant"] for row in RESULTS["summary"] if row["members"] == members} == set(guide.VARIANTS)
    for row in RESULTS["summary"]:
        own, other = (
            np.array([rows[name, row["members"], seed]["nll"] for seed in RESULTS["seeds"]])
            for name in (row["variant"], guide.REFERENCE)
        )
        assert row["nll"] == pytest.approx(own.mean()) and row["seeds"] == len(own)
        if row["variant"] != guide.REFERENCE:
            relative = (own - other) / other
            found = bootstrap((relative,), np.mean, n_resamples=10_000, method="percentile", rng=0).confidence_interval
            assert row["difference"] == pytest.approx(relative.mean())
            assert (row["low"], row["high"]) == pytest.approx((found.low, found.high))
            assert row["wins"] == (own < other).sum()


def test_a_verdict_needs_both_sizes(guide: ModuleType) -> None:
    results = copy.deepcopy(RESULTS)
    levels = {"adaptive": (-0.1, -0.1), "random": (0.1, 0.1), "ema": (-0.1, 0.1)}
    for row in results["summary"]:
        if row["variant"] in levels:
            middle = levels[row["variant"]][row["members"] == 5]
            row["low"], row["high"] = middle - 0.05, middle + 0.05
        elif row["variant"] != guide.REFERENCE:
            row["low"], row["high"] = -0.01, 0.01
    lower, higher, neither = guide.verdicts(results).splitlines()
    assert lower.endswith("without 0: `adaptive`.") and higher.endswith(": `random`.")
    assert "`ema`" in neither and "`drawn`" not in neither and "`base`" in neither
