"""The page of a comparison: figures and tables, made from `results.csv` alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from nni_hypens.compare.blocks import Block, comparison_blocks, title_of
from nni_hypens.compare.comparison import COLUMNS, cell_name
from nni_hypens.compare.figures import (
    Drawing,
    as_png,
    as_svg,
    cost_figure,
    differences_figure,
    scores_figure,
    split_figure,
)
from nni_hypens.compare.method import ensembles_of
from nni_hypens.compare.pool_comparison import POOLS_FILE
from nni_hypens.compare.results import SPEARMAN, spearman_text
from nni_hypens.errors import InputError
from nni_hypens.report.html import (
    Callout,
    Definitions,
    Figure,
    Figures,
    Folded,
    Note,
    Paragraph,
    Row,
    Section,
    Table,
    make_section,
    pairs_table,
    render_page,
)
from nni_hypens.report.text import plural
from nni_hypens.utils.files import MAX_TEXT_BYTES, open_file, read_object, write_bytes, write_text

PAGE = "comparison.html"
FIGURES = "figures"
FEW_PAIRS = 10
"""Number of pairs below which the page warns that intervals are rough."""
_CAPTIONS = {
    "nll": "Test NLL: a circle for each seed, a diamond for the mean, a line for its 95% t interval. The number after "
    "a name is its rank.",
    "difference": "The main method compared with each other method, in percent of the other's NLL, paired by seed, "
    "with 95% bootstrap intervals. Left of zero the main method is better.",
    "cost": "Mean test NLL against mean cost. Numbers are ranks, as in the first figure. Circles: methods that fill "
    "the budget. Squares: methods with a fixed cost.",
    "split": "Cost of search and of training, mean over seeds.",
}


def write_comparison_page(folder: Path, ours: str = "adaptive") -> Path:
    """Write `comparison.html`, which needs no other file, and its figures as PNG in `figures`.

    Args:
        folder: The folder of a comparison, with `results.csv`.
        ours: The main method, which is compared with each other. If it has no results, no method is.

    Returns:
        The path of the page.

    Raises:
        InputError: `results.csv` is missing, empty, or not that of a comparison.
    """
    folder = Path(folder)
    results = read_results(folder / "results.csv")
    blocks = comparison_blocks(results, ours)
    settings, pools = (
        read_object(folder / name) if (folder / name).exists() else {} for name in ("comparison.json", POOLS_FILE)
    )
    for block in blocks:
        for kind, drawn in _figures(block, ours):
            name = f"{cell_name(block.data, block.members)}-{kind}.png"
            write_bytes(folder / FIGURES / name, as_png(drawn))
    write_text(folder / PAGE, _page(blocks, ours, settings, pools))
    return folder / PAGE


def read_results(path: Path) -> pd.DataFrame:
    """The table of a comparison.

    Raises:
        InputError: It is missing, empty, or another table.
    """
    expected = "the results of a comparison"
    try:
        with open_file(path, at_most=MAX_TEXT_BYTES) as file:
            results = pd.read_csv(file)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise InputError("results", str(path), f"{expected} ({error})") from None
    missing = [name for name in COLUMNS if name not in (*results, "ranked_architectures")]  # older ones did not count
    if missing or results.empty:
        raise InputError("results", f"{path} without {', '.join(missing) or 'a row'}", expected)
    return results


def _figures(block: Block, ours: str) -> list[tuple[str, Drawing]]:
    figures = [("nll", scores_figure(block, ours))]
    if block.differences:
        figures.append(("difference", differences_figure(block, title_of(ours))))
    return [*figures, ("cost", cost_figure(block, ours)), ("split", split_figure(block))]


def _page(blocks: Sequence[Block], ours: str, settings: dict[str, Any], pools: dict[str, Any]) -> str:
    sections = [_section(number, block, ours) for number, block in enumerate(blocks)]
    notes = [_pool_section(pools), _notes(settings)]
    return render_page("Comparison of methods", [_summary(blocks, ours)], [*sections, *notes])


def _pool_section(pools: dict[str, Any]) -> Section | None:
    """What the pools of a comparison are and what it cannot say; none where networks were trained for it."""
    if not pools:
        return None
    text = (
        "No network was trained for this comparison: methods take trained networks from pools, and are charged what "
        "their training cost. Architectures are those of the pool, and an architecture gets as many seeds as the pool "
        "has networks of it. Seeds differ in which architectures are drawn and in which of their networks come first. "
        "All seeds have the same images, so intervals do not cover the draw of images."
    )
    tables = [Folded(f"Pool {name}", pairs_table(f"Pool {name}", about)) for name, about in pools.items()]
    return make_section("Pools of trained networks", Paragraph(text), *tables)


def _summary(blocks: Sequence[Block], ours: str) -> Callout | Note:
    title = title_of(ours)
    compared = [block for block in blocks if block.differences]
    if not compared:
        return Note(f"{title} is compared with no other method here.")
    ranked = [block for block in compared if block.ranks_are_fair]
    first = sum(block.scores[0].method == ours for block in ranked)
    pairs = [pair for block in compared for pair in block.differences]
    better = sum(pair.interval is not None and pair.interval[1] < 0 for pair in pairs)
    worse = sum(pair.interval is not None and pair.interval[0] > 0 for pair in pairs)
    lowest = (
        f"{title} has the lowest mean test NLL in {first} of {plural(len(ranked), 'comparison')} (each is one data "
        "set and one number of members). "
    )
    text = (lowest if ranked else "") + (
        f"In {len(pairs)} pairwise comparisons with other methods, {'its' if ranked else f'for {title}, the'} 95% "
        f"interval is below zero (better) {better} times and above zero (worse) {worse} times."
    )
    fewest = min(pair.pairs for pair in pairs)
    notes = []
    if fewest < FEW_PAIRS:
        notes.append(
            f"Some differences are measured on only {plural(fewest, 'pair')} of runs. Bootstrap intervals of so few "
            "pairs are too narrow, and with many methods some intervals exclude zero by chance."
        )
    uneven = sum(bool(block.note) for block in compared)
    if uneven:
        notes.append(
            f"In {plural(uneven, 'comparison')}, methods have different seeds; the sections say what means are over."
        )
    return Callout(text, notes=notes)


def _section(number: int, block: Block, ours: str) -> Section | None:
    figures = [Figure(as_svg(drawn, f"c{number}-{kind}"), _CAPTIONS[kind]) for kind, drawn in _figures(block, ours)]
    return make_section(
        f"{block.data}, {ensembles_of(block.members)}, {block.seeds}",
        Note(block.note) if block.note else None,
        Figures(figures, wide=True),
        _score_table(block, ours),
        _cost_table(block, ours),
    )


def _score_table(block: Block, ours: str) -> Table:
    differences = {pair.method: pair for pair in block.differences}
    uneven = len({len(score.seeds) for score in block.scores}) > 1
    rows = []
    for score, cost in zip(block.scores, block.costs, strict=True):
        cells = [str(score.rank), f"{score.mean:.4f}" + ("" if score.sd is None else f" ± {score.sd:.4f}")]
        cells += [f"{cost.accuracy:.2%}", f"{cost.ece:.4f}"]
        pair = differences.get(score.method)
        if uneven:
            cells.insert(1, str(len(score.seeds)))
        if pair is None:
            cells += [""] * 4
        else:
            interval = "" if pair.interval is None else f"{pair.interval[0]:+.1%} to {pair.interval[1]:+.1%}"
            cells += [f"{pair.difference:+.1%}", interval, _p_value(pair.p), f"{pair.wins} of {pair.pairs}"]
        rows.append(Row(score.title, cells, "member" if score.method == ours else ""))
    columns = ["method", "#", "test NLL", "accuracy", "ECE", "difference", "95% interval", "p", "wins"]
    if uneven:
        columns.insert(2, "seeds")
    caption = f"{block.data}, {ensembles_of(block.members)}: mean over seeds ± standard deviation"
    return Table(caption, columns, rows, look="results")


def _cost_table(block: Block, ours: str) -> Table:
    rows = []
    for cost in block.costs:
        cells = [str(cost.rank), f"{cost.networks:.1f}", f"{cost.architectures:.1f}"]
        cells += [f"{cost.search_s:.0f}", f"{cost.training_s:.0f}", f"{cost.total_s / cost.budget_s:.0%}"]
        cells.append(spearman_text(cost.spearman, cost.ranked))
        rows.append(Row(cost.title, cells, "member" if cost.method == ours else ""))
    columns = ("method", "#", "networks", "architectures", "search s", "training s", "of the budget", SPEARMAN)
    caption = f"{block.data}, {ensembles_of(block.members)}: what was trained and what it cost, mean over seeds"
    return Table(caption, columns, rows, look="results")


def _p_value(value: float | None) -> str:
    if value is None:
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _notes(settings: dict[str, Any]) -> Section | None:
    terms = {
        "difference, 95% interval, p, wins": "Main method compared with the method in the row: (main - other) / other, "
        "paired by seed; percentile bootstrap with 10,000 resamples; two-sided paired t-test of the NLLs; number of "
        "pairs in which the main method is lower.",
        "networks, architectures": "Number trained by the method, whether or not they became members.",
        "2x, 3x, ...": "Networks are trained for 2, 3, ... times as many epochs.",
        "of the budget": "Cost of search and training in percent of the budget. A method with a fixed cost does not "
        "fill the budget, and may exceed it.",
        SPEARMAN: "Rank correlation between the supernet's NLL and the validation NLL after training, mean over seeds, "
        "and in brackets the number of architectures it was measured on: those that any method of the comparison "
        "trained for the same number of epochs. Empty: the method has no single supernet for several architectures. "
        "Dash: fewer than four architectures.",
    }
    text = "Members and temperatures are chosen on validation images; everything shown here is measured on test images."
    folded = Folded("Settings", pairs_table("Settings", settings))
    return make_section("How to read this page", Paragraph(text), Definitions(terms), folded)
