"""The page of a comparison: figures and tables, from ``results.csv`` alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from nni_hypens import comparison_plots as plots
from nni_hypens.comparison import COLUMNS, cell_name
from nni_hypens.comparison_data import Block, comparison_blocks, title_of
from nni_hypens.comparison_tables import SPEARMAN, spearman_text
from nni_hypens.errors import InputError
from nni_hypens.report import html as page
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
