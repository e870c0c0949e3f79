"""Figures of a comparison, drawn from :mod:`nni_hypens.comparison_data`, as inline SVG or as PNG of a light page."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from nni_hypens.comparison_data import Block, MethodCost
from nni_hypens.report.html import short
from nni_hypens.report.svg import FIRST, INK, LIGHT, MUTED, SECOND, drawing, inline_svg

_ROW = 0.27  # inches for a method
DPI = 200
Paint = Callable[[str], str]
Content = tuple[float, Callable[[Figure, Paint], None], str]


def as_svg(content: Content, name: str) -> str:
    """An inline SVG in the page's colours; ``name`` is the prefix of its ids."""
    height, draw, label = content
    with drawing(height) as figure:
        draw(figure, lambda colour: colour)
        return inline_svg(figure, name, label)


def as_png(content: Content) -> bytes:
    """The same figure in pixels, 200 for an inch, on white."""
    height, draw, label = content
    buffer = io.BytesIO()
    with drawing(height, light=True) as figure:
        draw(figure, lambda colour: LIGHT.get(colour, colour))
        figure.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Description": label})
    return buffer.getvalue()


def scores_figure(block: Block, ours: str) -> Content:
    """Test NLL of each method: a dot for each seed, mean and interval, the lowest mean on top."""

    def draw(figure: Figure, paint: Paint) -> None:
        axes = figure.add_subplot(xlabel="test NLL (lower is better)")
        for place, score in enumerate(block.scores):
            colour = paint(SECOND if score.method == ours else FIRST)
            values = [value for _, value in score.seeds]
            axes.scatter(values, [place] * len(values), s=16, facecolors="none", edgecolors=colour, linewidths=0.9)
            if score.interval is not None:
                axes.plot(score.interval, [place, place], color=colour, linewidth=1.4)
            axes.scatter([score.mean], [place], marker="D", s=24, color=colour, zorder=3)
        _name_rows(axes, [(score.rank, score.title) for score in block.scores])

    said = [
        f"{score.rank} {score.title}: {score.mean:.4f}"
        + (f" ({score.interval[0]:.4f} to {score.interval[1]:.4f})." if score.interval else ".")
        for score in block.scores
    ]
    return _height(len(block.scores)), draw, f"Test NLL on {block.data}, {block.members} members. " + " ".join(said)


def differences_figure(block: Block, ours_title: str) -> Content:
    """The main method against each other in percent of the other's NLL, with its interval."""

    def draw(figure: Figure, paint: Paint) -> None:
        axes = figure.add_subplot(xlabel="difference of test NLL")
        axes.axvline(0, color=paint(MUTED), linewidth=1)
        for place, one in enumerate(block.differences):
            colour = paint(INK)
            if one.interval is not None:
                low, high = one.interval
                colour = paint(INK if low <= 0 <= high else FIRST if high < 0 else SECOND)
                axes.plot([low, high], [place, place], color=colour, linewidth=1.4)
            axes.scatter([one.difference], [place], marker="D", s=24, color=colour, zorder=3)
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
        axes.xaxis.set_major_locator(MaxNLocator(4))
        _name_rows(axes, [(one.rank, one.title) for one in block.differences])

    said = [
        f"{one.rank} {one.title}: {one.difference:+.1%}"
        + (f" ({one.interval[0]:+.1%} to {one.interval[1]:+.1%})." if one.interval else ".")
        for one in block.differences
    ]
    label = f"NLL of {ours_title} against each other method on {block.data}, {block.members} members. "
    return _height(len(block.differences)), draw, label + " ".join(said)


def cost_figure(block: Block, ours: str) -> Content:
    """Mean test NLL against mean cost; a number stands for a method, as in the first figure."""

    def draw(figure: Figure, paint: Paint) -> None:
        axes = figure.add_subplot(xlabel="search and training (seconds of computing)", ylabel="test NLL")
        for cost in block.costs:
            colour, marker = paint(SECOND if cost.method == ours else FIRST), "o" if cost.fills else "s"
            axes.scatter([cost.total_s], [cost.nll], s=26, marker=marker, color=colour, zorder=3)
        places = _beside(block.costs)
        for cost in block.costs:
            axes.annotate(
                str(cost.rank), (cost.total_s, cost.nll), places[cost.method], textcoords="offset points", fontsize=8
            )
        axes.margins(0.12)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_major_locator(MaxNLocator(5))

    said = [f"{cost.rank} {cost.title}: {cost.total_s:.0f} s, {cost.nll:.4f}." for cost in block.costs]
    return 3.2, draw, f"Test NLL against cost on {block.data}, {block.members} members. " + " ".join(said)


def split_figure(block: Block) -> Content:
    """Seconds of search and of training, one bar for each method."""

    def draw(figure: Figure, paint: Paint) -> None:
        axes = figure.add_subplot(xlabel="seconds of computing")
        places = range(len(block.costs))
        search, training = [cost.search_s for cost in block.costs], [cost.training_s for cost in block.costs]
        axes.barh(places, search, color=paint(SECOND), height=0.6, label="search and ranking")
        axes.barh(places, training, left=search, color=paint(FIRST), height=0.6, label="training")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        _name_rows(axes, [(cost.rank, cost.title) for cost in block.costs])
        figure.legend(loc="outside lower center", ncols=2)

    said = [f"{one.title}: search {one.search_s:.0f} s, training {one.training_s:.0f} s." for one in block.costs]
    label = f"Cost on {block.data}, {block.members} members. " + " ".join(said)
    return _height(len(block.costs)) + 0.3, draw, label


def _height(rows: int) -> float:
    return 0.8 + _ROW * rows


def _name_rows(axes: Axes, names: Sequence[tuple[int, str]]) -> None:
    axes.set_yticks(range(len(names)), [f"{short(title, 26)} {rank:>2}" for rank, title in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")


def _beside(costs: Sequence[MethodCost]) -> dict[str, tuple[float, float]]:
    """Where each number stands, in points from its dot: neighbours in the order of NLL on alternate sides, since
    methods of one budget are one above the other."""
    spread = max((cost.nll for cost in costs), default=0.0) - min((cost.nll for cost in costs), default=0.0)
    found: dict[str, Any] = {}
    side, before = 1, None
    for cost in costs:
        near = before is not None and cost.nll - before < 0.06 * spread
        side = -side if near else 1
        found[cost.method] = (6, -3) if side > 0 else (-14 if cost.rank > 9 else -10, -3)
        before = cost.nll
    return found
