"""Data of the figures and tables of a comparison's page: a block for each data set and size."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from scipy.stats import t

from nni_hypens.compare.method import Method
from nni_hypens.compare.methods import method_of
from nni_hypens.compare.results import LEVEL, even_seeds, paired_differences, spearman_of
from nni_hypens.errors import InputError


class MethodScore(NamedTuple):
    """Test NLL of one method: (seed, NLL) of each seed, their mean and the t interval of the mean (None for one seed).

    `rank` is the position in the order of means, 1 for the lowest.
    """

    method: str
    title: str
    rank: int
    seeds: tuple[tuple[int, float], ...]
    mean: float
    sd: float | None
    interval: tuple[float, float] | None


class MethodDifference(NamedTuple):
    """The main method against another, paired by seed.

    (ours - other) / other, its bootstrap interval and the p-value of the paired t-test (None if there is one pair), the
    number of pairs, and the number of those in which ours is lower.
    """

    method: str
    title: str
    rank: int
    difference: float
    interval: tuple[float, float] | None
    p: float | None
    pairs: int
    wins: int


class MethodCost(NamedTuple):
    """What a method cost, in seconds of computing, and what it achieved; all are means over seeds.

    `spearman` is None if no seed has one. `ranked` is the number of architectures it was computed from, None if the
    method has no supernet.
    """

    method: str
    title: str
    rank: int
    nll: float
    search_s: float
    training_s: float
    budget_s: float
    networks: float
    architectures: float
    accuracy: float
    ece: float
    spearman: float | None
    ranked: float | None
    fills: bool

    @property
    def total_s(self) -> float:
        """Search and training together."""
        return self.search_s + self.training_s


class Block(NamedTuple):
    """One data set and size. Scores, differences and costs are each sorted by mean NLL, lowest first.

    Scores and costs are those of `even_seeds`, as are `seeds` and `note`; a difference is that of all pairs there are.
    """

    data: str
    members: int
    seeds: str
    scores: tuple[MethodScore, ...]
    differences: tuple[MethodDifference, ...]
    costs: tuple[MethodCost, ...]
    note: str = ""

    @property
    def ranks_are_fair(self) -> bool:
        """Whether the means of all methods are over the same seeds."""
        return len({tuple(seed for seed, _ in score.seeds) for score in self.scores}) == 1


def title_of(method: str) -> str:
    """The method's title; the name itself if this version does not know it."""
    known = _known(method)
    return method if known is None else known.title


def _known(method: str) -> Method | None:
    try:
        return method_of(method)
    except InputError:
        return None


def comparison_blocks(results: pd.DataFrame, ours: str) -> list[Block]:
    """Make a block for each data set and size, in the order of the results.

    Args:
        results: The table from `nni_hypens.compare.run_comparison`.
        ours: The main method; if it is not among the results there are no differences.
    """
    differences = paired_differences(results, ours) if ours in set(results["method"]) else None
    blocks = []
    data: Any  # pandas knows group keys as hashable only
    members: Any
    for (data, members), found in results.groupby(["data", "members"], sort=False):
        rows, seeds, note = even_seeds(found)
        scores = _scores(rows)
        ranks = {score.method: score.rank for score in scores}
        against: tuple[MethodDifference, ...] = ()
        if differences is not None and (data, members) in cast(pd.MultiIndex, differences.index).droplevel("other"):
            against = _differences(differences.loc[(data, members)], ranks)
        costs = tuple(_cost(rows[rows["method"] == score.method], score) for score in scores)
        blocks.append(Block(str(data), int(members), seeds, scores, against, costs, note))
    return blocks


def _scores(rows: pd.DataFrame) -> tuple[MethodScore, ...]:
    means = rows.groupby("method")["nll"].mean().sort_values(kind="stable")
    scores = []
    for rank, (method, mean) in enumerate(means.items(), 1):
        by_seed = rows[rows["method"] == method].sort_values("seed")
        values = by_seed["nll"].to_numpy()
        sd = float(values.std(ddof=1)) if len(values) > 1 else None
        interval = None
        if sd is not None:
            half = float(t.ppf((1 + LEVEL) / 2, len(values) - 1)) * sd / math.sqrt(len(values))
            interval = (float(mean) - half, float(mean) + half)
        seeds = tuple(zip(by_seed["seed"].tolist(), values.tolist(), strict=True))
        scores.append(MethodScore(str(method), title_of(str(method)), rank, seeds, float(mean), sd, interval))
    return tuple(scores)


def _differences(table: pd.DataFrame, ranks: dict[str, int]) -> tuple[MethodDifference, ...]:
    differences = []
    row: Any
    for row in table.itertuples():
        other = str(row.Index)
        interval = None if np.isnan(row.low) else (float(row.low), float(row.high))
        p = None if np.isnan(row.p) else float(row.p)
        differences.append(
            MethodDifference(
                other, title_of(other), ranks[other], float(row.difference), interval, p, int(row.pairs), int(row.wins)
            )
        )
    return tuple(sorted(differences, key=lambda difference: difference.rank))


def _cost(rows: pd.DataFrame, score: MethodScore) -> MethodCost:
    mean, known = rows.mean(numeric_only=True), _known(score.method)
    spearman, ranked = spearman_of(rows)
    names = ("search_s", "training_s", "budget_s", "networks", "architectures", "accuracy", "ece")
    return MethodCost(
        score.method,
        score.title,
        score.rank,
        score.mean,
        **{name: float(mean[name]) for name in names},
        spearman=spearman,
        ranked=ranked,
        fills=known is None or known.fills,
    )
