"""The map's section on going on: what ours is worth without it, and how deep ensembles do that train longer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from nni_hypens.compare.blocks import comparison_blocks, title_of
from tests.benchmarks.map_targets import CELLS, ORACLE, OURS, RANDOM, against, percent
from tests.benchmarks.map_trained import FIRST, METHODS, SHORT
from tests.benchmarks.map_trained_text import clean_rows, difference, measured_difference, percent_text, table

WITHOUT, LONGER = SHORT
MEMBERS = 5


def is_short(cell: str) -> bool:
    """Whether a cell's trainings are short."""
    return cell.endswith("short")


def without_table(results: pd.DataFrame) -> str:
    """Simulated: what going on gains, and ours without it against two methods."""
    with_it, without = (
        {block.data: block for block in comparison_blocks(results, ours) if block.members == MEMBERS}
        for ours in (OURS, WITHOUT)
    )
    rows = [
        [CELLS[cell], percent(against(with_it[cell], WITHOUT))]
        + [percent(against(without[cell], other)) for other in (ORACLE, RANDOM)]
        for cell in CELLS
        if cell in without
    ]
    title = title_of(WITHOUT)
    head = ["networks", f"ours against {title}", *(f"{title}, against {title_of(other)}" for other in (ORACLE, RANDOM))]
    return table(head, rows)


def short_rows(trained: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows with five members on clean images of each cell with short trainings, if there are any."""
    rows = clean_rows(trained, MEMBERS)
    return {cell: part for cell in filter(is_short, CELLS) if not (part := rows[rows["data"] == cell]).empty}


def longer_table(trained: pd.DataFrame) -> str:
    """Trained anew: the short cells against methods that train longer or other networks, and ours without going on."""
    pairs = [*((OURS, other) for other in (ORACLE, LONGER, *METHODS[FIRST:])), (WITHOUT, ORACLE), (WITHOUT, RANDOM)]
    cells = {CELLS[cell]: part for cell, part in short_rows(trained).items()}
    rows = []
    for ours, other in pairs:
        shares = [cost_share(part, other) for part in cells.values()]
        name = title_of(other) + (f" ({_listed([f'{share:.2f}' for share in shares])} of our cost)" if shares else "")
        rows.append([title_of(ours), name, *(difference(part, ours, other) for part in cells.values())])
    return table(["method", "against", *cells], rows)


def cost_share(rows: pd.DataFrame, method: str) -> float:
    """Mean cost of a method as a share of that of ours."""
    cost = rows.groupby("method")["total_s"].mean()
    return float(cost.get(method, np.nan) / cost[OURS])


def _listed(texts: Sequence[str]) -> str:
    return " and ".join(texts)


def say_further(results: pd.DataFrame, trained: pd.DataFrame | None) -> str:
    """For the README: where the lead in the short rows comes from; empty where it was not measured."""
    blocks = {block.data: block for block in comparison_blocks(results, WITHOUT) if block.members == MEMBERS}
    found = [percent(against(blocks[cell], ORACLE)) for cell in filter(is_short, CELLS) if cell in blocks]
    if not found or "-" in found:
        return ""
    text = f"After short trainings that lead comes from going on: without it, ours is {_listed(found)}."
    parts = {} if trained is None else short_rows(trained)
    pairs = [pair for part in parts.values() if (pair := measured_difference(part, OURS, LONGER)) is not None]
    if pairs:
        numbers = _listed([percent_text(*pair) for pair in pairs])
        text += f" With it, ours is {numbers} against seeds that train twice the epochs from the start (trained anew)."
    return text
