"""What the figure of accuracy against cost shows, as a NamedTuple."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from nni_hypens.plot_data import mappings, number


class CostPoint(NamedTuple):
    """An ensemble: its total cost, its validation NLL (nats) and its number of members."""

    cost: float
    nll: float
    members: int


class CostFront(NamedTuple):
    """The ensembles that no other beats in cost and NLL, by increasing cost, and the chosen one if it is known.

    `cost` is "parameters" or "flops"; `chosen_on_front` says whether the chosen one is among the points.
    """

    cost: str
    points: tuple[CostPoint, ...]
    chosen: CostPoint | None
    chosen_on_front: bool


def cost_front_data(found: Mapping[str, Any], cost: str) -> CostFront:
    """Collect one front from `cost_front` of results.json; rows without numbers are left out.

    Args:
        found: `chosen`, and `rows` with `by`, `members`, `validation_nll` and the costs.
        cost: "parameters" or "flops".
    """
    rows = [row for row in mappings(found.get("rows")) if row.get("by") == cost]
    points = [point for row in rows if (point := _point(row, cost)) is not None]
    chosen = found.get("chosen")
    return CostFront(
        cost,
        tuple(sorted(points)),
        _point(chosen, cost) if isinstance(chosen, Mapping) else None,
        any(row.get("chosen") is True for row in rows),
    )


def _point(row: Mapping[str, Any], cost: str) -> CostPoint | None:
    spent, nll, members = number(row.get(cost)), number(row.get("validation_nll")), row.get("members")
    if spent is None or nll is None or not isinstance(members, list):
        return None
    return CostPoint(spent, nll, len(members))
