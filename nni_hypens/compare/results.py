"""Tables of a comparison: means, paired differences with intervals, and tests."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import bootstrap, ttest_rel

from nni_hypens.compare.method import ensembles_of
from nni_hypens.compare.methods import method_of, method_order
from nni_hypens.errors import InputError
from nni_hypens.report.text import plural

LEVEL = 0.95
RESAMPLES = 10_000
SPEARMAN = "Spearman (of)"
"""Heading of the rank correlation of the supernet, with the number of architectures it was computed from."""
MEASURES = ("nll", "accuracy", "ece", "brier")


class EvenSeeds(NamedTuple):
    """Results of one data set and size whose means can be compared, because all are over the same seeds.

    Attributes:
        rows: Those on seeds that every method has; all of them if no seed is one of every method.
        seeds: How many seeds, for a heading.
        note: What a reader must know of the seeds, where methods have different ones; otherwise empty.
    """

    rows: pd.DataFrame
    seeds: str
    note: str


def even_seeds(rows: pd.DataFrame) -> EvenSeeds:
    """Keep the seeds that every method has: some seeds are harder, so means over other seeds say nothing of a method.

    Methods have different seeds when a method or a seed was added later, or while a comparison runs.

    Args:
        rows: Results of one data set and size.
    """
    having = rows.groupby("seed")["method"].nunique()
    common = having.index[having == rows["method"].nunique()]
    if len(common) == len(having):
        return EvenSeeds(rows, plural(len(having), "seed"), "")
    if len(common):
        count = plural(len(common), "seed")
        note = (
            f"Methods have different seeds. Means and ranks are those of the {count} that all of them have; a "
            "difference is that of all seeds that its two methods have."
        )
        return EvenSeeds(rows[rows["seed"].isin(common)], f"{count} of all methods", note)
    counts = rows.groupby("method")["seed"].nunique()
    low, high = int(counts.min()), int(counts.max())
    span = f"{plural(low, 'seed')} each" if low == high else f"{low} to {high} seeds"
    note = "Methods have different seeds, and no seed is one of all of them: their means and ranks cannot be compared."
    return EvenSeeds(rows, span, note)


def method_table(results: pd.DataFrame) -> pd.DataFrame:
    """Compute mean and standard deviation over seeds, per data set, size and method.

    Args:
        results: The table from `nni_hypens.compare.run_comparison`.

    Returns:
        Indexed by (data, members, method), sorted by `nni_hypens.compare.methods.method_order`. Columns: `MEASURE` and
        `MEASURE_sd` of each of `MEASURES`, the means of networks, architectures, search_s, training_s and total_s, and
        the number of seeds.
    """
    groups = results.groupby(["data", "members", "method"], sort=False)
    table = pd.DataFrame({"seeds": groups["seed"].nunique()})
    for name in MEASURES:
        table[name] = groups[name].mean()
        table[f"{name}_sd"] = groups[name].std(ddof=1)
    for name in ("networks", "architectures", "search_s", "training_s", "total_s"):
        table[name] = groups[name].mean()
    return table.sort_index(key=lambda level: level.map(method_order) if level.name == "method" else level)


def paired_differences(
    results: pd.DataFrame, ours: str = "adaptive", measure: str = "nll", relative: bool = True, seed: int = 0
) -> pd.DataFrame:
    """Compare one method with each other method, paired by data set, seed and size.

    The interval is the percentile bootstrap over pairs (10,000 resamples, 95%); the p-value is that of the two-sided
    paired t-test. With five pairs both are rough: the bootstrap is too narrow, and the test assumes normal differences.

    Args:
        results: The table from `nni_hypens.compare.run_comparison`.
        ours: The method that is compared with the others.
        measure: A column of `results`.
        relative: Whether differences are (ours - other) / other instead of ours - other.
        seed: Seed of the resampling.

    Returns:
        Indexed by (data, members, other method). Columns: difference, low, high, p, pairs, and wins (pairs in which
        ours is lower).

    Raises:
        InputError: There are no results of `ours`.
    """
    if ours not in set(results["method"]):
        raise InputError("ours", repr(ours), f"one of {', '.join(sorted(set(results['method'])))}")
    wide = results.pivot_table(index=["data", "members", "seed"], columns="method", values=measure)
    rows = []
    for (data, members), block in wide.groupby(level=["data", "members"]):
        for other in sorted((str(name) for name in block if name != ours), key=method_order):
            pairs = block[[ours, other]].dropna()
            if pairs.empty:
                continue
            mine, theirs = pairs[ours].to_numpy(), pairs[other].to_numpy()
            rows.append({"data": data, "members": members, "other": other, **compared(mine, theirs, relative, seed)})
    index, columns = ["data", "members", "other"], ["difference", "low", "high", "p", "pairs", "wins"]
    return pd.DataFrame(rows, columns=[*index, *columns]).set_index(index)  # without rows if there is no other method


def compared(mine: np.ndarray, theirs: np.ndarray, relative: bool, seed: int) -> dict[str, float]:
    """Compare paired values; see `paired_differences` for arguments and result."""
    difference = (mine - theirs) / theirs if relative else mine - theirs
    low = high = p = float("nan")
    if len(difference) > 1:
        if np.ptp(difference) > 0:
            interval = bootstrap(
                (difference,), np.mean, n_resamples=RESAMPLES, confidence_level=LEVEL, method="percentile", rng=seed
            ).confidence_interval
            low, high = float(interval.low), float(interval.high)
            p = float(ttest_rel(mine, theirs).pvalue)
        else:
            low = high = float(difference[0])
    wins = int((mine < theirs).sum())
    return {"difference": float(difference.mean()), "low": low, "high": high, "p": p, "pairs": len(mine), "wins": wins}


def spearman_of(rows: pd.DataFrame) -> tuple[float | None, float | None]:
    """Average the supernet's rank correlation of one method over the seeds that have one.

    Args:
        rows: Its results on one data set and size; the committed results of 0.1.0 lack `ranked_architectures`.

    Returns:
        The mean correlation, and the mean number of architectures it was computed from; each None if there is none.
    """
    correlations = rows["supernet_spearman"].astype(float)
    counts = rows["ranked_architectures"].astype(float) if "ranked_architectures" in rows else correlations * np.nan
    if correlations.notna().any():
        counts = counts[correlations.notna()]
    means = float(correlations.mean()), float(counts[counts > 0].mean())
    spearman, ranked = (None if np.isnan(mean) else mean for mean in means)
    return spearman, ranked


def spearman_text(spearman: float | None, ranked: float | None) -> str:
    """Format a rank correlation for a cell of a table.

    A dash stands for too few architectures; the text is empty without a supernet.

    Examples:
        >>> spearman_text(0.62, 12)
        '+0.62 (12)'
    """
    if spearman is None and ranked is None:
        return ""
    text = "–" if spearman is None else f"{spearman:+.2f}"
    return text if ranked is None else f"{text} ({ranked:.3g})"


def text_tables(results: pd.DataFrame, ours: str = "adaptive") -> str:
    """Format means and differences as tables for a terminal; means are those of `even_seeds`."""
    lines = []
    differences = paired_differences(results, ours) if ours in set(results["method"]) else None
    data: Any  # pandas knows group keys as hashable only
    members: Any
    for (data, members), _ in method_table(results).groupby(level=["data", "members"], sort=False):
        here, seeds, note = even_seeds(results[(results["data"] == data) & (results["members"] == members)])
        block = method_table(here)
        lines.append(f"{data}, {ensembles_of(members)}, {seeds}")
        rows: list[Any] = list(block.itertuples())
        methods = list(block.index.get_level_values("method"))
        shown = pd.DataFrame(
            {
                "test NLL": [f"{row.nll:.4f}" + ("" if row.seeds == 1 else f" ± {row.nll_sd:.4f}") for row in rows],
                "accuracy": [f"{100 * row.accuracy:.2f}%" for row in rows],
                "search s": [f"{row.search_s:.0f}" for row in rows],
                "training s": [f"{row.training_s:.0f}" for row in rows],
                "networks": [f"{row.networks:.1f}" for row in rows],
                SPEARMAN: [spearman_text(*spearman_of(here[here["method"] == name])) for name in methods],
            },
            index=[method_of(name).title for name in methods],
        )
        if differences is not None:
            shown[f"{method_of(ours).title} against it"] = [
                _difference_text(differences, data, members, name) for name in methods
            ]
        if block["seeds"].nunique() > 1:
            shown.insert(0, "seeds", block["seeds"].to_list())
        lines += [shown.to_string(), *([note] if note else []), ""]
    if results["supernet_spearman"].notna().any():
        what = "of the supernet's NLL with the validation NLL after training, and the number of architectures"
        lines.append(f"{SPEARMAN}: {what}: all that any method has trained for as many epochs")
    return "\n".join(lines)


def _difference_text(differences: pd.DataFrame, data: str, members: int, other: str) -> str:
    if (data, members, other) not in differences.index:
        return ""
    key: Any = (data, members, other)
    row: Any = differences.loc[key]
    text = f"{100 * row.difference:+.1f}%"
    if not np.isnan(row.low):  # of one pair, only the difference is known
        text += f" [{100 * row.low:+.1f}, {100 * row.high:+.1f}]"
    return text if np.isnan(row.p) else f"{text} p={row.p:.3f}"
