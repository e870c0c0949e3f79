"""Tables of the map's really trained part, from the rows that `tests.benchmarks.map_trained` collects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from nni_hypens.compare.blocks import title_of
from nni_hypens.compare.results import compared
from nni_hypens.selection.names import EVERY
from tests.benchmarks.map_trained import FIRST, METHODS
from tests.benchmarks.paper_figures import as_markdown
from tests.benchmarks.trained_bench import CLEAN

ENOUGH = 5
"""Seeds from which intervals are shown: of fewer, a bootstrap says next to nothing."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    return as_markdown(pd.DataFrame(rows, columns=list(head))).strip()


def clean_rows(rows: pd.DataFrame, members: int) -> pd.DataFrame:
    """Rows of clean test images and one number of members."""
    return rows[(rows["part"] == CLEAN) & (rows["members"] == members)]


def members_text(members: int) -> str:
    """`3`, `5`, `all`."""
    return "all" if members == EVERY else str(members)


def percent_text(difference: float, low: float, high: float) -> str:
    """``-5.1% [-7.0, -3.2]``; without the interval if it is not known.

    Examples:
        >>> percent_text(-0.051, -0.07, -0.032)
        '-5.1% [-7.0, -3.2]'
    """
    interval = f" [{100 * low:+.1f}, {100 * high:+.1f}]" if np.isfinite([low, high]).all() else ""
    return f"{100 * difference:+.1f}%{interval}"


def measured_difference(rows: pd.DataFrame, ours: str, other: str) -> tuple[float, float, float] | None:
    """Ours against another, paired by seed: mean relative difference of the NLL, and its interval; NaN of few seeds."""
    wide = rows.pivot_table(index="seed", columns="method", values="nll", aggfunc="mean").reindex(columns=[ours, other])
    pairs = wide.dropna()
    if pairs.empty:
        return None
    found = compared(pairs[ours].to_numpy(), pairs[other].to_numpy(), True, 0)
    low, high = (found[end] if len(pairs) >= ENOUGH else np.nan for end in ("low", "high"))
    return found["difference"], low, high


def difference(rows: pd.DataFrame, ours: str, other: str) -> str:
    """`measured_difference` in words."""
    found = measured_difference(rows, ours, other)
    return "-" if found is None else percent_text(*found)


def others(rows: pd.DataFrame, ours: str) -> list[str]:
    """The other methods that all cells have, in the order of the table; `tests.benchmarks.map_further` has the rest."""
    return [str(name) for name in rows["method"].unique() if name != ours and name in METHODS[:FIRST]]


def say_trained(rows: pd.DataFrame, names: Mapping[str, str]) -> str:
    """How many seeds of each cell are trained."""
    seeds = rows.groupby("data")["seed"].nunique()
    text = "Seeds: " + ", ".join(f"{names[cell]}: {seeds[cell]}" for cell in names if cell in seeds.index) + "."
    few = f" Fewer than {ENOUGH} say little: differences may be chance, and have no intervals."
    return text + few * bool(seeds.min() < ENOUGH)


def clean_table(rows: pd.DataFrame, names: Mapping[str, str], ours: str) -> str:
    """Clean test images: ours against every other method for each cell and size."""
    clean, methods = rows[rows["part"] == CLEAN], others(rows, ours)
    found = []
    for cell in (cell for cell in names if cell in set(clean["data"])):
        for members in sorted(clean["members"].unique(), key=lambda size: (size == EVERY, size)):
            part = clean[(clean["data"] == cell) & (clean["members"] == members)]
            own = part[part["method"] == ours]
            cells = [difference(part, ours, method) for method in methods]
            found.append(
                [names[cell], members_text(members), str(own["seed"].nunique()), f"{own['nll'].mean():.3f}", *cells]
            )
    head = ["networks", "members", "seeds", "NLL", *(f"against {title_of(method)}" for method in methods)]
    return table(head, found)


def by_severity(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the columns `corruption` and `severity` (0 if clean)."""
    split = rows["part"].str.rsplit(" ", n=1, expand=True)
    severity = np.where(rows["part"] == CLEAN, "0", split[1]) if 1 in split else "0"
    return rows.assign(corruption=split[0], severity=pd.Series(severity, index=rows.index).astype(int))


def severity_table(rows: pd.DataFrame, names: Mapping[str, str], ours: str) -> str:
    """Means over the corruptions at each severity: accuracy, ECE and NLL of ours, and ours against the others."""
    every, methods = by_severity(rows), others(rows, ours)
    sizes = every.loc[every["severity"] > 0, "members"].unique()
    found = []
    for cell in (cell for cell in names if cell in set(every["data"])):
        for severity in sorted(every["severity"].unique()):
            chosen = every["members"].isin(sizes) & (every["data"] == cell) & (every["severity"] == severity)
            part = every[chosen]
            own = part[part["method"] == ours][["accuracy", "ece", "nll"]].mean()
            cells = [difference(part, ours, method) for method in methods]
            measures = [f"{100 * own['accuracy']:.1f}", f"{100 * own['ece']:.1f}", f"{own['nll']:.3f}"]
            found.append([names[cell], "clean" if severity == 0 else str(severity), *measures, *cells])
    head = ["networks", "severity", "accuracy %", "ECE %", "NLL", *(f"against {title_of(one)}" for one in methods)]
    return table(head, found)


def corruption_table(rows: pd.DataFrame, names: Mapping[str, str], ours: str, hardest: str) -> str:
    """Means over severities of each corruption: NLL of ours, and ours against one other method, for each cell."""
    every = by_severity(rows)
    every = every[every["severity"] > 0]
    cells = [cell for cell in names if cell in set(every["data"])]
    found = []
    for corruption in every["corruption"].unique():
        row = [str(corruption).replace("_", " ")]
        for cell in cells:
            part = every[(every["corruption"] == corruption) & (every["data"] == cell)]
            row.append(f"{part.loc[part['method'] == ours, 'nll'].mean():.3f}; {difference(part, ours, hardest)}")
        found.append(row)
    return table(["corruption", *(names[cell] for cell in cells)], found)
