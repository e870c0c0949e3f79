"""Section: every metric of the ensemble, its members, the other candidates and the baselines on test data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nni_hypens.report.calibration import combination_name
from nni_hypens.report.content import RunContent
from nni_hypens.report.html import Row, Section, Table, make_section
from nni_hypens.report.intervals import BASE_ALONE, interval_name, repeats_base, value_text
from nni_hypens.report.text import METRIC_COLUMNS, MISSING, fixed, metric_cells, number

MOST_ROWS = 500
"""Most candidates in the table."""
_NO_PLACE = [MISSING, MISSING]


def section(run: RunContent) -> Section | None:
    """One table with a row for each model."""
    caption = (
        "Accuracy: higher is better. NLL (nats), ECE, Brier (0 to 2) and AURC: lower is better. Members come first, "
        "then the other candidates by NLL"
    )
    columns = ("model", *METRIC_COLUMNS, "lam", "shared edges", "weight")
    measured = _Measured(run)
    candidates = _candidate_rows(run, measured)
    if len(candidates) > MOST_ROWS:
        caption += f" (the first {MOST_ROWS} of {len(candidates)} are shown; results.json has all)"
        candidates = candidates[:MOST_ROWS]
    caption += ". Candidates have no temperature; the baselines are calibrated like the ensemble"
    if run.rows("intervals"):
        caption += f". In brackets: {interval_name(run.part('intervals'))} over the choice of test {run.noun}s"
    rows = [*_ensemble_rows(run, measured), *candidates, *_baseline_rows(run, measured)]
    return make_section("Results on test data", Table(f"{caption}.", columns, rows, look="results"))


class _Measured:
    """The intervals of a run by the name of the model."""

    def __init__(self, run: RunContent) -> None:
        self._by_name: dict[object, tuple[int, Mapping[str, Any]]] = {}
        for place, row in enumerate(run.rows("intervals")):
            self._by_name.setdefault(str(row.get("name")), (place, row))

    def cells(self, metrics: Mapping[str, Any] | None, *names: str) -> list[str]:
        """The metrics of a model, with intervals if a row of `intervals` has one of its names."""
        accuracy, nll, *others = metric_cells(metrics)
        rows = [self._by_name[name] for name in names if name in self._by_name]
        _, found = min(rows, key=lambda pair: pair[0], default=(0, {}))
        return [value_text(found, "accuracy", accuracy), value_text(found, "nll", nll), *others]


def _place(candidate: Mapping[str, Any]) -> list[str]:
    """Where a candidate stands on the dial: lam and shared edges."""
    return [fixed(candidate.get("lam"), 2), fixed(candidate.get("shared_edges"), 0)]


def _ensemble_rows(run: RunContent, measured: _Measured) -> list[Row]:
    """The ensemble, the same combined in other ways, and its best member if no candidate's row has it."""
    rows = [Row("Ensemble", [*measured.cells(run.results["ensemble"], "ensemble"), *_NO_PLACE, ""], "top")]
    plain = measured.cells(run.part("ensemble_uncalibrated"), "ensemble before temperature")
    used = run.part("calibration")
    others = {
        combination_name(item): measured.cells(item)
        for item in run.rows("calibration")
        if combination_name(item) != combination_name(used) and item.get("method") != "none"
    }
    if run.part("ensemble_uncalibrated") and used.get("method") != "none":
        others[combination_name({**used, "method": "none"})] = plain
    rows += [Row(f"Ensemble, {name}", [*cells, *_NO_PLACE, ""], "top") for name, cells in others.items()]
    best = run.results["best_member"]
    if not any(row["id"] == best.get("id") for row in run.trained):
        rows.append(Row(f"Best member ({best.get('id', 'unnamed')})", [*measured.cells(best), *_NO_PLACE, ""], "top"))
    return rows


def _candidate_rows(run: RunContent, measured: _Measured) -> list[Row]:
    weights = {item["id"]: item.get("weight") for item in run.members}

    def order(row: Mapping[str, Any]) -> tuple[bool, float]:
        nll = number((row.get("test") or {}).get("nll"))
        return row["id"] not in weights, float("inf") if nll is None else nll

    best, base = run.results["best_member"].get("id"), (run.base_candidate or {}).get("id")
    alone = [BASE_ALONE] if any(_repeats(run, row) for row in run.baselines) else []
    rows = []
    for row in sorted(run.trained, key=order):
        name = row["id"]
        names = [f"best member ({name})", f"member {name}", *(alone if name == base else [])]
        cells = measured.cells(row.get("test"), *names)
        notes = [note for note, one in (("best member", best), ("base architecture", base)) if one == name]
        title = f"{name} ({', '.join(notes)})" if notes else name
        look = "member" if name in weights else ""
        rows.append(Row(title, [*cells, *_place(row), fixed(weights.get(name), 3)], look))
    return rows


def _baseline_rows(run: RunContent, measured: _Measured) -> list[Row]:
    return [
        Row(f"Baseline: {row.get('name', 'unnamed')}", [*measured.cells(row, str(row.get("name"))), *_NO_PLACE, ""])
        for row in run.baselines
        if not _repeats(run, row)
    ]


def _repeats(run: RunContent, baseline: Mapping[str, Any]) -> bool:
    return repeats_base(run, baseline.get("name"), baseline.get("nll"), run.trained)
