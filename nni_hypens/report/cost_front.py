"""Section: accuracy against cost, for ensembles of fewer or other candidates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib.ticker import EngFormatter, MaxNLocator

from nni_hypens.report.calibration import compared
from nni_hypens.report.content import RunContent, mappings
from nni_hypens.report.html import Figure, Figures, Row, Section, Table, make_section
from nni_hypens.report.svg import FIRST, MUTED, SECOND, AnyFigure, drawing, inline_svg
from nni_hypens.report.text import MISSING, fixed, number, percent

COSTS = {"parameters": "parameters", "flops": "FLOPs"}
_AXES = {"parameters": "parameters of all members", "flops": "FLOPs of all members for one example"}
_CHOSEN = "the chosen ensemble"


class CostPoint(NamedTuple):
    """An ensemble: its total cost, its validation NLL (nats) and its number of members."""

    cost: float
    nll: float
    members: int


class CostFront(NamedTuple):
    """The ensembles that no other beats in both cost and NLL, by increasing cost, and the chosen one if known.

    `cost` is "parameters" or "flops"; `chosen_on_front` says whether the chosen ensemble is among the points.
    """

    cost: str
    points: tuple[CostPoint, ...]
    chosen: CostPoint | None
    chosen_on_front: bool


def cost_front_data(found: Mapping[str, Any], cost: str) -> CostFront:
    """Collect one front from `cost_front` of results.json; rows without numbers are left out.

    Args:
        found: The mapping, with `chosen`, and `rows` with `by`, `members`, `validation_nll` and the costs.
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


def section(run: RunContent) -> Section | None:
    """A figure for each cost, and the ensembles as a table."""
    most = number(run.part("cost_front").get("max_size"))
    size = "the trained candidates"  # earlier versions did not write of how many
    if most is not None:
        size = "1 candidate" if most == 1 else f"1 to {most:.0f} candidates"
    figures = []
    for cost, name in COSTS.items():
        front = cost_front_data(run.part("cost_front"), cost)
        if front.points:
            caption = f"Ensembles of {size}: validation NLL by {name}. The number at a point is its number of members."
            figures.append(Figure(draw_cost_front(front, f"front-{cost}"), caption))
    return make_section("Accuracy and cost", Figures(figures), _table(run))


def _table(run: RunContent) -> Table:
    chosen, items = run.part("cost_front").get("chosen"), run.rows("cost_front")
    is_on_a_front = any(item.get("chosen") is True for item in items)
    rows = [_row(_CHOSEN, chosen, "top")] if isinstance(chosen, Mapping) and not is_on_a_front else []
    fronts: dict[str, list[Mapping[str, Any]]] = {}
    for item in items:
        fronts.setdefault(str(item.get("members")), []).append(item)
    for same in fronts.values():  # an ensemble may be on both fronts
        costs = [cost for item in same if (cost := COSTS.get(str(item.get("by"))))]
        rows.append(_row(f"by {' and '.join(costs)}" if costs else MISSING, same[0]))
    caption = (
        "Ensembles of the trained candidates that no other beats in both validation NLL and total cost: "
        f"{compared(run)}. FLOPs and latency: sum over the members, for one example. Latency: on one thread."
    )
    columns = (
        "front", "members", *COSTS.values(), "latency (ms)", "validation NLL", "test NLL", "test accuracy"
    )  # fmt: skip
    return Table(caption, columns, rows, text_columns=("members",), look="results")


def _row(name: str, item: Mapping[str, Any], look: str = "") -> Row:
    listed = item.get("members")
    members = ", ".join(map(str, listed)) if isinstance(listed, list) else MISSING
    if item.get("chosen") is True:
        members += " (chosen)"
    cells = [
        members, *(_large(item.get(cost)) for cost in COSTS), fixed(item.get("latency_ms"), 2),
        fixed(item.get("validation_nll")), fixed(item.get("test_nll")), percent(item.get("test_accuracy")),
    ]  # fmt: skip
    return Row(name, cells, look)


def _large(value: Any) -> str:
    """Write a count in a few digits: 12,345, or 12.3 M from a million on."""
    known = number(value)
    return MISSING if known is None else f"{known:,.0f}" if known < 1e6 else f"{known / 1e6:,.4g} M"


def draw_cost_front(front: CostFront, name: str) -> Markup:
    """Draw validation NLL against a total cost: the front as steps, its points with their numbers of members."""
    what = _AXES[front.cost]
    with drawing(3.5) as figure:
        plot_cost_front(figure, front)
        texts = [f"{p.members} with {p.cost:.0f}: {p.nll:.4f}." for p in front.points]
        return inline_svg(figure, name, f"Validation NLL by {what}. Number of members, cost, NLL: " + " ".join(texts))


def plot_cost_front(figure: AnyFigure, front: CostFront) -> None:
    """Draw validation NLL against a total cost on a figure."""
    axes = figure.add_subplot(xlabel=_AXES[front.cost], ylabel="validation NLL")
    costs, losses = [point.cost for point in front.points], [point.nll for point in front.points]
    axes.step(costs, losses, where="post", color=MUTED, linewidth=1, linestyle="--")
    axes.scatter(costs, losses, color=FIRST, s=26, zorder=3, label="no ensemble is both better and cheaper")
    for point in front.points:
        axes.annotate(str(point.members), (point.cost, point.nll), (6, 6), textcoords="offset points")
    if front.chosen is not None:
        look: dict[str, Any] = {"facecolors": "none", "edgecolors": SECOND, "s": 110, "linewidths": 1.6}
        axes.scatter([front.chosen.cost], [front.chosen.nll], label=_CHOSEN, zorder=4, **look)
    axes.margins(0.12)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    figure.legend(loc="outside lower center", ncols=1)
