"""The page of a comparison: figures and tables, from ``results.csv`` alone."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from nni_hypens.compare import page as plots
from nni_hypens.compare.comparison import COLUMNS, cell_name
from nni_hypens.compare.results import SPEARMAN, Block, MethodCost, comparison_blocks, spearman_text, title_of
from nni_hypens.errors import InputError
from nni_hypens.report import html as page
from nni_hypens.report.html import short
from nni_hypens.report.svg import FIRST, INK, LIGHT, MUTED, SECOND, drawing, inline_svg
from nni_hypens.utils.files import read_json, write_bytes, write_text

PAGE = "comparison.html"
FIGURES = "figures"
FEW_PAIRS = 10
"""Pairs below which the page warns that intervals are rough."""
_SCORES = ("method", "##", "#test NLL", "#accuracy", "#ECE", "#difference", "#95% interval", "#p", "#wins")
_COSTS = (
    "method", "##", "#networks", "#architectures", "#search s", "#training s", "#of the budget", f"#{SPEARMAN}"
)  # fmt: skip
_CSS = """
.pairs { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); }
.pairs + .scroll { margin-top: 1.4rem; }
"""


def write_comparison_page(folder: Path, ours: str = "adaptive") -> Path:
    """Write ``comparison.html``, which needs no other file, and its figures as PNG in ``figures``.

    Args:
        folder: Of a comparison, with ``results.csv``.
        ours: The main method, held against each other. Where it is not among the results, no method is.

    Returns:
        The path of the page.

    Raises:
        InputError: ``results.csv`` is missing, empty, or not that of a comparison.
    """
    folder = Path(folder)
    results = read_results(folder / "results.csv")
    blocks = comparison_blocks(results, ours)
    settings = read_json(folder / "comparison.json") if (folder / "comparison.json").exists() else {}
    for block in blocks:
        for kind, content in _figures(block, ours):
            name = f"{cell_name(block.data, block.members)}-{kind}.png"
            write_bytes(folder / FIGURES / name, plots.as_png(content))
    write_text(folder / PAGE, _page(blocks, ours, settings))
    return folder / PAGE


def read_results(path: Path) -> pd.DataFrame:
    """The table of a comparison.

    Raises:
        InputError: It is missing, empty, or another table.
    """
    try:
        results = pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise InputError("results", str(path), f"the results of a comparison ({error})") from None
    missing = [name for name in COLUMNS if name not in (*results, "ranked_architectures")]  # older ones did not count
    if missing or results.empty:
        found = f"{path} without {', '.join(missing) or 'a row'}"
        raise InputError("results", found, "the results of a comparison")
    return results


def _figures(block: Block, ours: str) -> list[tuple[str, plots.Content]]:
    found = [("nll", plots.scores_figure(block, ours))]
    if block.differences:
        found.append(("difference", plots.differences_figure(block, title_of(ours))))
    return [*found, ("cost", plots.cost_figure(block, ours)), ("split", plots.split_figure(block))]


_CAPTIONS = {
    "nll": "Test NLL: a circle for each seed, a diamond for the mean, a line for its 95% t interval. The number after "
    "a name is its place.",
    "difference": "The main method against each other, in percent of the other's NLL, paired by seed, with 95% "
    "bootstrap intervals. Left of zero the main method is better.",
    "cost": "Mean test NLL against mean cost; numbers are those of the first figure. Squares have a cost of their own, "
    "circles fill the budget.",
    "split": "What was spent on search and on training, mean over seeds.",
}


def _page(blocks: Sequence[Block], ours: str, settings: dict[str, Any]) -> str:
    sections = [_block(number, block, ours) for number, block in enumerate(blocks)]
    folded = page.pairs("Settings", settings) if settings else ""
    details = f"<details><summary>Settings</summary>{folded}</details>" if folded else ""
    sections.append(page.section("How to read this", _notes(), details))
    return page.document("Comparison of methods", _summary(blocks, ours), sections, _CSS)


def _summary(blocks: Sequence[Block], ours: str) -> str:
    title = title_of(ours)
    held = [block for block in blocks if block.differences]
    if not held:
        return f'<p class="note">{page.esc(title)} is held against no other method here.</p>'
    first = sum(block.scores[0].method == ours for block in held)
    pairs = [one for block in held for one in block.differences]
    better = sum(one.interval is not None and one.interval[1] < 0 for one in pairs)
    worse = sum(one.interval is not None and one.interval[0] > 0 for one in pairs)
    said = (
        f"{title} has the lowest mean test NLL in {first} of {len(held)} comparisons, each a data set and a number of "
        f"members. Held against each other method in turn, {len(pairs)} times in all, its 95% interval is below zero "
        f"(better) {better} times and above zero (worse) {worse} times."
    )
    fewest = min(one.pairs for one in pairs)
    note = ""
    if fewest < FEW_PAIRS:
        note = (
            f"<p>Some differences rest on {fewest} pair{'s' if fewest > 1 else ''}: the bootstrap of so few is too "
            "narrow, and with many methods some intervals miss zero by chance.</p>"
        )
    return f'<div class="verdict"><p>{page.esc(said)}</p>{note}</div>'


def _block(number: int, block: Block, ours: str) -> str:
    figures = [
        page.figure(plots.as_svg(content, f"c{number}-{kind}"), _CAPTIONS[kind])
        for kind, content in _figures(block, ours)
    ]
    seeds = f"{block.seeds} seed{'s' if block.seeds > 1 else ''}"
    return page.section(
        f"{block.data}, ensembles of {block.members}, {seeds}",
        f'<div class="pairs">{"".join(figures)}</div>',
        _score_table(block, ours),
        _cost_table(block, ours),
    )


def _score_table(block: Block, ours: str) -> str:
    against = {one.method: one for one in block.differences}
    rows = []
    for score, cost in zip(block.scores, block.costs, strict=True):
        one = against.get(score.method)
        cells = [str(score.rank), f"{score.mean:.4f}" + ("" if score.sd is None else f" ± {score.sd:.4f}")]
        cells += [f"{cost.accuracy:.2%}", f"{cost.ece:.4f}"]
        if one is None:
            cells += [""] * 4
        else:
            interval = "" if one.interval is None else f"{one.interval[0]:+.1%} to {one.interval[1]:+.1%}"
            cells += [f"{one.difference:+.1%}", interval, _p(one.p), f"{one.wins} of {one.pairs}"]
        rows.append(_row(score.title, cells, score.method == ours))
    caption = f"{block.data}, ensembles of {block.members}: means over seeds, ± standard deviation"
    return page.table(caption, _SCORES, rows, "results")


def _cost_table(block: Block, ours: str) -> str:
    rows = []
    for cost in block.costs:
        cells = [str(cost.rank), f"{cost.networks:.1f}", f"{cost.architectures:.1f}"]
        cells += [f"{cost.search_s:.0f}", f"{cost.training_s:.0f}", f"{cost.total_s / cost.budget_s:.0%}"]
        cells.append(spearman_text(cost.spearman, cost.ranked))
        rows.append(_row(cost.title, cells, cost.method == ours))
    caption = f"{block.data}, ensembles of {block.members}: what was trained and what it cost, means over seeds"
    return page.table(caption, _COSTS, rows, "results")


def _row(title: str, cells: Sequence[str], is_ours: bool) -> str:
    return page.row(title, [(cell, True) for cell in cells], "member" if is_ours else "")


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _notes() -> str:
    text = {
        "difference, 95% interval, p, wins": "of the main method against the one in the row: (ours - other) / other, "
        "paired by seed; percentile bootstrap of 10,000 resamples; two-sided paired t-test of the NLLs; pairs in which "
        "ours is lower.",
        "networks, architectures": "trained by the method, whether or not they became members.",
        "2x, 3x, ...": "networks are trained for so many times the epochs.",
        "of the budget": "search and training in percent of the budget. A method that does not fill the budget has a "
        "cost of its own, which may be above it.",
        SPEARMAN: "rank correlation of the supernet's NLL with the validation NLL after training, over the "
        "architectures that any method of the comparison has trained for as long, and how many these are; means over "
        "seeds. Empty where a method has no one supernet for several architectures; a dash for fewer than four.",
    }
    listed = "".join(f"<dt>{page.esc(name)}</dt><dd>{page.esc(what)}</dd>" for name, what in text.items())
    chosen = "Members and temperatures are chosen on validation images; everything here is measured on test images."
    return f"<p>{chosen}</p><dl>{listed}</dl>"


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
