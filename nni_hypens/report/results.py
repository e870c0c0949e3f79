"""Section: every metric of the ensemble, its members, the other candidates and the baselines on test data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nni_hypens.report.content import RunContent
from nni_hypens.report.html import Row, Section, Table, make_section
from nni_hypens.report.text import METRIC_COLUMNS, MISSING, fixed, metric_cells, number

_NO_PLACE = [MISSING, MISSING]


def section(run: RunContent) -> Section | None:
    """One table with a row for each model."""
    caption = (
        "Accuracy: higher is better. NLL (nats), ECE, Brier (0 to 2) and AURC: lower is better. Members come first, "
        "then the other candidates by NLL"
    )
    if run.stopped:
        caption += ", then those that were stopped early on validation data and have no test metrics"
    columns = ("model", *METRIC_COLUMNS, "lam", "shared edges", "weight")
    rows = [*_ensemble_rows(run), *_candidate_rows(run), *_stopped_rows(run), *_baseline_rows(run)]
    return make_section("Results on test data", Table(f"{caption}.", columns, rows, look="results"))


def _place(candidate: Mapping[str, Any]) -> list[str]:
    """Where a candidate stands on the dial: lam and shared edges."""
    return [fixed(candidate.get("lam"), 2), fixed(candidate.get("shared_edges"), 0)]


def _ensemble_rows(run: RunContent) -> list[Row]:
    best = run.results["best_member"]
    rows = [Row("Ensemble", [*metric_cells(run.results["ensemble"]), *_NO_PLACE, ""], "top")]
    uncalibrated = run.part("ensemble_uncalibrated")
    if uncalibrated:
        rows.append(Row("Ensemble before temperature", [*metric_cells(uncalibrated), *_NO_PLACE, ""], "top"))
    candidate = next((row for row in run.trained if row["id"] == best.get("id")), {})
    name = f"Best member ({best.get('id', 'unnamed')})"
    return [*rows, Row(name, [*metric_cells(best), *_place(candidate), ""], "top")]


def _candidate_rows(run: RunContent) -> list[Row]:
    weights = {item["id"]: item.get("weight") for item in run.members}

    def order(row: Mapping[str, Any]) -> tuple[bool, float]:
        nll = number((row.get("test") or {}).get("nll"))
        return row["id"] not in weights, float("inf") if nll is None else nll

    return [
        Row(
            row["id"],
            [*metric_cells(row.get("test")), *_place(row), fixed(weights.get(row["id"]), 3)],
            "member" if row["id"] in weights else "",
        )
        for row in sorted(run.trained, key=order)
    ]


def _stopped_rows(run: RunContent) -> list[Row]:
    return [
        Row(
            f"{row['id']}, stopped after epoch {row.get('epoch')}: "
            f"validation NLL {fixed((row.get('validation') or {}).get('nll'))}",
            [*metric_cells(None), *_place(row), MISSING],
        )
        for row in run.stopped
    ]


def _baseline_rows(run: RunContent) -> list[Row]:
    return [
        Row(f"Baseline: {row.get('name', 'unnamed')}", [*metric_cells(row), *_NO_PLACE, ""]) for row in run.baselines
    ]
