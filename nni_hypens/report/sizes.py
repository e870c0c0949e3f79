"""The first table of the report: what more members gain, and what they cost when the ensemble is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nni_hypens.report.content import RunContent, mappings
from nni_hypens.report.html import Row, Table
from nni_hypens.report.intervals import interval_name, value_text
from nni_hypens.report.text import MISSING, fixed, number, percent

_ALL = "all"  # the method by which every candidate is a member
_COLUMNS = ("members", "test NLL", "accuracy", "ECE", "parameters", "FLOPs", "latency (ms)")


def sizes_table(run: RunContent) -> Table | None:
    """Ensembles of 1, 2, 3, 5 and all candidates, and the chosen one; None where a run has measured none.

    Every row was chosen and calibrated on validation data in the same way.
    """
    found = mappings(run.results.get("sizes"))
    if not found:
        return None
    selection = run.part("selection")
    chosen = {
        **run.results["ensemble"],
        "name": "ensemble",
        "members": [member["id"] for member in run.members],
        "method": selection.get("method"),
        "costs": selection.get("costs"),
    }
    rows = sorted([*found, chosen], key=lambda row: (row.get("method") == _ALL, len(row.get("members") or ())))
    caption = (
        "What members gain and cost. Each row was chosen among the trained candidates and calibrated on validation "
        "data in the same way; test data only measure. Costs are sums over the members, for one example; latency is "
        "that of one thread, one member after the other, each the fastest of its passes."
    )
    if run.rows("intervals"):
        caption += f" In brackets: {interval_name(run.part('intervals'))} over the choice of test {run.noun}s."
    return Table(caption, _COLUMNS, [_row(run, row, row is chosen) for row in rows], look="results")


def _row(run: RunContent, row: Mapping[str, Any], is_chosen: bool) -> Row:
    count = len(row.get("members") or ())
    title = f"all, weighted: {count}" if row.get("method") == _ALL else str(count)
    measured = next((one for one in run.rows("intervals") if one.get("name") == row.get("name")), {})
    costs = row.get("costs")
    costs = costs if isinstance(costs, Mapping) else {}
    cells = [
        value_text(measured, "nll", fixed(row.get("nll"))),
        value_text(measured, "accuracy", percent(row.get("accuracy"))),
        fixed(row.get("ece")),
        _count(costs.get("parameters")),
        _count(costs.get("flops")),
        fixed(costs.get("latency_ms"), 2),
    ]
    return Row(f"{title} (this ensemble)", cells, "top") if is_chosen else Row(title, cells)


def _count(value: object) -> str:
    known = number(value)
    return MISSING if known is None else f"{known:,.0f}"
