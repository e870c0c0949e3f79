"""What the figure of accuracy against cost shows, as a NamedTuple."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from matplotlib.ticker import EngFormatter, MaxNLocator

from nni_hypens.report import html as page
from nni_hypens.report.content import RunContent
from nni_hypens.report.html import mappings, number
from nni_hypens.report.svg import FIRST, MUTED, SECOND, drawing, inline_svg


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


_STAGES = {
    "base_search_s": "search of the base", "search_s": "search of the hypernetwork", "training_s": "training",
    "selection_s": "selection and calibration", "robustness_s": "corrupted images and images from elsewhere",
}  # fmt: skip


def _cost(run: RunContent) -> str:
    cost = run.results.get("cost") or {}
    clocks = [key for key in cost if key.endswith("wall_s")]  # the same work seen by the clock: in no sum
    seconds = {key: number(value) for key, value in cost.items() if key.endswith("_s") and key not in clocks}
    stages = {key: value for key, value in seconds.items() if value is not None}
    total = sum(stages.values())
    rows = []
    for key, value in stages.items():
        name = _STAGES.get(key, key.removesuffix("_s").replace("_", " "))
        rows.append(page.row(name, [(f"{value:.1f}", True), (f"{value / total:.1%}" if total else "–", True)]))
    if rows:
        rows.append(page.row("all stages", [(f"{total:.1f}", True), ("100.0%" if total else "–", True)], "top"))
    for key in clocks:
        if number(cost[key]) is not None:
            name = f"{key.removesuffix('wall_s').replace('_', ' ')}by the clock"
            rows.append(page.row(name, [(page.fixed(cost[key], 1), True), ("", True)]))
    others = {key: value for key, value in cost.items() if not key.endswith("_s")}
    caption, head = "Seconds by stage, and the share of all stages", ("stage", "#seconds", "#share")
    return page.section(
        "Cost", page.table(caption, head, rows) if rows else "", page.pairs("Further figures", others) if others else ""
    )


_COSTS = {"parameters": "by parameters", "flops": "by FLOPs"}


def _engineering(value: Any) -> str:
    """A count in a few digits: 12,345, or 12.3 M from a million on."""
    found = number(value)
    return "–" if found is None else f"{found:,.0f}" if found < 1e6 else f"{found / 1e6:,.4g} M"


def cost_front(run: RunContent) -> str:
    """The section on accuracy against cost; empty for an older folder."""
    found = run.results.get("cost_front") or {}
    drawings, rows = [], []
    for cost, said in (("parameters", "parameters"), ("flops", "FLOPs")):
        front = cost_front_data(found, cost)
        if not front.points:
            continue
        text = f"Averages of 1 to {len(run.members)} candidates by {said}; the numbers are those of their members."
        drawings.append(page.figure(draw_cost_front(front, f"front-{cost}"), text))
    picked = found.get("chosen")
    chosen = [("the chosen ensemble", picked)] if isinstance(picked, Mapping) else []
    points = [(_COSTS.get(str(item.get("by")), "–"), item) for item in mappings(found.get("rows"))]
    for name, item in [*chosen, *points]:
        listed = item.get("members")
        members = ", ".join(str(member) for member in listed) if isinstance(listed, list) else "–"
        mark = " (chosen)" if item.get("chosen") is True else ""
        cells = [
            (members + mark, False), *((_engineering(item.get(cost)), True) for cost in _COSTS),
            (page.fixed(item.get("latency_ms"), 2), True), (page.fixed(item.get("validation_nll")), True),
            (page.fixed(item.get("test_nll")), True), (page.fixed(item.get("test_accuracy"), percent=True), True),
        ]  # fmt: skip
        rows.append(page.row(name, cells, "top" if name == "the chosen ensemble" else ""))
    caption = (
        "Ensembles of the trained candidates that no other beats in both validation NLL and a total cost, before any "
        "temperature. FLOPs and latency are those of all members for one image; latency by one thread."
    )
    head = ("front", "members", "#parameters", "#FLOPs", "#ms", "#validation NLL", "#test NLL", "#test accuracy")
    body = f'<div class="figures">{"".join(drawings)}</div>' if drawings else ""
    return page.section("Accuracy and cost", body, page.table(caption, head, rows, "results") if rows else "")


def draw_cost_front(front: CostFront, name: str) -> str:
    """Draw validation NLL against a total cost: the front as steps, its points with their numbers of members."""
    what = {"parameters": "parameters of all members", "flops": "FLOPs of all members for one image"}[front.cost]
    with drawing(3.5) as figure:
        axes = figure.add_subplot(xlabel=what, ylabel="validation NLL")
        costs, losses = [point.cost for point in front.points], [point.nll for point in front.points]
        axes.step(costs, losses, where="post", color=MUTED, linewidth=1, linestyle="--")
        axes.scatter(costs, losses, color=FIRST, s=26, zorder=3, label="no other ensemble is as good for less")
        for point in front.points:
            axes.annotate(str(point.members), (point.cost, point.nll), (6, 6), textcoords="offset points")
        if front.chosen is not None:
            look: dict[str, Any] = {"facecolors": "none", "edgecolors": SECOND, "s": 110, "linewidths": 1.6}
            axes.scatter([front.chosen.cost], [front.chosen.nll], label="the chosen ensemble", zorder=4, **look)
        axes.margins(0.12)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        figure.legend(loc="outside lower center", ncols=1)
        said = [f"{p.members} with {p.cost:.0f}: {p.nll:.4f}." for p in front.points]
        return inline_svg(figure, name, f"Validation NLL by {what}. Number of members, cost, NLL: " + " ".join(said))
