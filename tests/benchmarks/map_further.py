"""The map's section on going on: what ours is worth without it, and how deep ensembles do that train longer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from nni_hypens.compare.blocks import comparison_blocks, title_of
from tests.benchmarks.map_targets import CELLS, ORACLE, OURS, RANDOM, against, percent
from tests.benchmarks.map_trained import SHORT
from tests.benchmarks.map_trained_text import difference, measured_difference, percent_text, table
from tests.benchmarks.trained_bench import CLEAN

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


def clean(trained: pd.DataFrame, cell: str) -> pd.DataFrame:
    """Rows of a cell on clean images with five members."""
    return trained[(trained["part"] == CLEAN) & (trained["members"] == MEMBERS) & (trained["data"] == cell)]


def longer_table(trained: pd.DataFrame) -> str:
    """Trained anew: the short cells against methods that train longer, and ours without going on."""
    rows = []
    for cell in filter(is_short, CELLS):
        part = clean(trained, cell)
        if part.empty:
            continue
        cost = part.groupby("method")["total_s"].mean()
        rows.append(
            [
                CELLS[cell],
                *(difference(part, OURS, other) for other in (ORACLE, LONGER)),
                f"{cost.get(LONGER, np.nan) / cost[OURS]:.2f}",
                *(difference(part, WITHOUT, other) for other in (ORACLE, RANDOM)),
            ]
        )
    head = [
        "networks", f"ours against {title_of(ORACLE)}", f"ours against {title_of(LONGER)}", "its cost, ours 1",
        *(f"{title_of(WITHOUT)}, against {title_of(other)}" for other in (ORACLE, RANDOM)),
    ]  # fmt: skip
    return table(head, rows)


def _listed(texts: Sequence[str]) -> str:
    return " and ".join(texts)


def say_further(results: pd.DataFrame, trained: pd.DataFrame | None) -> str:
    """For the README: where the lead in the short rows comes from; empty where it was not measured."""
    blocks = {block.data: block for block in comparison_blocks(results, WITHOUT) if block.members == MEMBERS}
    found = [percent(against(blocks[cell], ORACLE)) for cell in filter(is_short, CELLS) if cell in blocks]
    if not found or "-" in found:
        return ""
    text = f"After short trainings that lead comes from going on: without it, ours is {_listed(found)} against them."
    parts = [] if trained is None else [clean(trained, cell) for cell in filter(is_short, CELLS)]
    pairs = [pair for part in parts if (pair := measured_difference(part, OURS, LONGER)) is not None]
    if pairs:
        numbers = _listed([percent_text(*pair) for pair in pairs])
        text += f" Against seeds that are trained for twice the epochs from the start, it is {numbers} (trained anew)."
    return text
