"""The figures of a comparison, for the page (SVG) and as files (PNG)."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from nni_hypens.compare.blocks import Block, MethodCost
from nni_hypens.compare.method import ensembles_of
from nni_hypens.report.svg import FIRST, INK, LIGHT, MUTED, SECOND, drawing, inline_svg
from nni_hypens.report.text import short

_ROW = 0.27  # inches for a method
DPI = 200
Paint = Callable[[str], str]


class Drawing(NamedTuple):
    """A figure that can be drawn in the page's colours and in those of a light page.

    `height` is in inches; `draw` gets the figure and a function that turns a placeholder into a colour; `label` is
    the text alternative.
    """

    height: float
    draw: Callable[[Figure, Paint], None]
    label: str


def as_svg(drawn: Drawing, name: str) -> Markup:
    """An inline SVG in the page's colours; `name` is the prefix of its ids."""
    height, draw, label = drawn
    with drawing(height) as figure:
        draw(figure, lambda colour: colour)
        return inline_svg(figure, name, label)


def as_png(drawn: Drawing) -> bytes:
    """The same figure as a PNG on white, 200 pixels for each inch."""
    height, draw, label = drawn
    buffer = io.BytesIO()
    with drawing(height, light=True) as figure:
        draw(figure, lambda colour: LIGHT.get(colour, colour))
        figure.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Description": label})
    return buffer.getvalue()


def scores_figure(block: Block, ours: str) -> Drawing:
    """Test NLL of each method: a circle for each seed, the mean and its interval; the lowest mean is on top."""

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

    texts = [
        f"{score.rank} {score.title}: {score.mean:.4f}"
        + (f" ({score.interval[0]:.4f} to {score.interval[1]:.4f})." if score.interval else ".")
        for score in block.scores
    ]
    label = f"Test NLL on {block.data}, {ensembles_of(block.members)}. "
    return Drawing(_height(len(block.scores)), draw, label + " ".join(texts))


def differences_figure(block: Block, ours_title: str) -> Drawing:
    """The main method compared with each other, in percent of the other's NLL, with intervals."""

    def draw(figure: Figure, paint: Paint) -> None:
        axes = figure.add_subplot(xlabel="difference of test NLL")
        axes.axvline(0, color=paint(MUTED), linewidth=1)
        for place, pair in enumerate(block.differences):
            colour = paint(INK)
            if pair.interval is not None:
                low, high = pair.interval
                colour = paint(INK if low <= 0 <= high else FIRST if high < 0 else SECOND)
                axes.plot([low, high], [place, place], color=colour, linewidth=1.4)
            axes.scatter([pair.difference], [place], marker="D", s=24, color=colour, zorder=3)
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
        axes.xaxis.set_major_locator(MaxNLocator(4))
        _name_rows(axes, [(pair.rank, pair.title) for pair in block.differences])

    texts = [
        f"{pair.rank} {pair.title}: {pair.difference:+.1%}"
        + (f" ({pair.interval[0]:+.1%} to {pair.interval[1]:+.1%})." if pair.interval else ".")
        for pair in block.differences
    ]
    label = f"NLL of {ours_title} compared with each other method on {block.data}, {ensembles_of(block.members)}. "
    return Drawing(_height(len(block.differences)), draw, label + " ".join(texts))


def cost_figure(block: Block, ours: str) -> Drawing:
    """Mean test NLL against mean cost; methods have the numbers of the first figure."""

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

    texts = [f"{cost.rank} {cost.title}: {cost.total_s:.0f} s, {cost.nll:.4f}." for cost in block.costs]
    label = f"Test NLL against cost on {block.data}, {ensembles_of(block.members)}. "
    return Drawing(3.2, draw, label + " ".join(texts))


def split_figure(block: Block) -> Drawing:
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

    texts = [f"{cost.title}: search {cost.search_s:.0f} s, training {cost.training_s:.0f} s." for cost in block.costs]
    label = f"Cost on {block.data}, {ensembles_of(block.members)}. " + " ".join(texts)
    return Drawing(_height(len(block.costs)) + 0.3, draw, label)


def _height(rows: int) -> float:
    return 0.8 + _ROW * rows


def _name_rows(axes: Axes, names: Sequence[tuple[int, str]]) -> None:
    axes.set_yticks(range(len(names)), [f"{short(title, 26)} {rank:>2}" for rank, title in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")


def _beside(costs: Sequence[MethodCost]) -> dict[str, tuple[float, float]]:
    """Offset of each number from its dot, in points. Methods that fill one budget stand above each other, so the
    numbers of close neighbours go on alternate sides."""
    spread = max((cost.nll for cost in costs), default=0.0) - min((cost.nll for cost in costs), default=0.0)
    offsets: dict[str, tuple[float, float]] = {}
    side, before = 1, None
    for cost in costs:
        near = before is not None and cost.nll - before < 0.06 * spread
        side = -side if near else 1
        offsets[cost.method] = (6, -3) if side > 0 else (-14 if cost.rank > 9 else -10, -3)
        before = cost.nll
    return offsets
