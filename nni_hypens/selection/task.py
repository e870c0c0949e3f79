"""What the methods of selection share: their checked arguments and their result."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nni_hypens.errors import InputError
from nni_hypens.selection.limits import CostLimits, Costs
from nni_hypens.selection.scorers import (
    TIE,
    CountScorer,
    FloatArray,
    IntArray,
    Objective,
    Quadratic,
    Scorer,
    combination_rows,
    make_scorer,
)
from nni_hypens.utils.checks import check_count


class Diverse(CountScorer):
    """An objective minus a weight times the mean disagreement of the members' pairs.

    Disagreement of two networks is the share of examples on which their most probable classes differ (Skalak 1996, as
    in Fort et al. 2019); accuracy plus a weight times diversity is the fitness of Opitz and Shavlik (1996). A member
    chosen twice is two that agree.
    """

    def __init__(self, scorer: Scorer, p: NDArray[Any], weight: float) -> None:
        super().__init__(scorer.pool)
        self.scorer, self.weight, self.bounded = scorer, weight, scorer.bounded
        kind = np.uint8 if p.shape[2] <= 256 else np.int64
        top = np.stack([row.argmax(axis=1).astype(kind) for row in p])
        self.form = Quadratic(np.stack([(top != row).mean(axis=1) for row in top]))

    def start(self) -> NDArray[Any]:
        return _pair(self.scorer.start(), np.zeros(self.pool))

    def add(self, state: NDArray[Any], index: int) -> NDArray[Any]:
        return _pair(self.scorer.add(state[0], index), super().add(state[1], index))

    def options(self, state: NDArray[Any], size: int, indices: IntArray) -> FloatArray:
        scores = self.scorer.options(state[0], size, indices)
        return scores - self.weight * self.form.options(state[1], indices) / max(1, size * (size - 1))

    def every(self, size: int, wanted: NDArray[np.bool_] | None = None) -> FloatArray:
        return self.scorer.every(size, wanted) - self._reward(size)

    def least(self, size: int, members: Sequence[int]) -> FloatArray:
        return self.scorer.least(size, members) - self._reward(size)

    def _reward(self, size: int) -> FloatArray:
        found = np.concatenate([self.form.combos(rows) for rows in combination_rows(self.pool, size)])
        return self.weight * found / max(1, size * (size - 1))

    def value(self, members: Sequence[int]) -> float:
        return self.scorer.value(members)


def _pair(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    both = np.empty(2, dtype=object)
    both[0], both[1] = first, second
    return both


@dataclass(frozen=True, eq=False)
class Selection:
    """The chosen ensemble.

    Attributes:
        indices: Pool indices in the order of choice, with repeats when chosen with replacement.
        members: The unique indices, in order of first choice.
        weights: Weight of each of `members` (its share of `indices`), summing to 1.
        score: Objective of the weighted mean probabilities; lower is better.
        method: Name of the method.
        history: What was minimised, after each step of a method that has steps.
        excluded: Candidates that could not be chosen because they hold a NaN.
        cost: Sum of the members' costs, from `cost_front` only.
    """

    indices: tuple[int, ...]
    members: tuple[int, ...]
    weights: FloatArray
    score: float
    method: str
    history: tuple[float, ...] = ()
    excluded: tuple[int, ...] = ()
    cost: float | None = None


class Task:
    """Checked arguments of a method; inside, indices run over the candidates without NaN."""

    def __init__(
        self,
        probs: ArrayLike,
        labels: ArrayLike,
        size: int,
        objective: Objective,
        costs: Costs | None = None,
        limits: Mapping[str, float] | None = None,
        diversity_weight: float = 0.0,
        repeats: bool = False,
    ) -> None:
        p, y, self.excluded = check_pool(probs, labels)
        check_count("size", size)
        if not 0 <= diversity_weight < math.inf:
            raise InputError("diversity_weight", diversity_weight, "a number of at least 0")
        self.keep = np.setdiff1d(np.arange(len(p)), self.excluded)
        if size > len(self.keep) and not repeats:
            less = f" ({len(self.excluded)} more hold a NaN)" if self.excluded else ""
            raise InputError(
                "size", size, f"at most {len(self.keep)}, the number of candidates{less}, without replacement"
            )
        self.limits = CostLimits(costs, limits, self.keep, len(p))
        self.limits.check_feasible(1 if repeats else size)
        p = p[self.keep] if self.excluded else p
        self.size, self.pool = int(size), len(p)
        self.scorer: Scorer = make_scorer(p, y, objective)
        if diversity_weight:
            self.scorer = Diverse(self.scorer, p, diversity_weight)

    def done(self, chosen: Sequence[int], method: str, history: Sequence[float] | FloatArray) -> Selection:
        """The result, with indices into the whole pool."""
        counts = Counter(self.keep[list(chosen)].tolist())
        weights = np.array(list(counts.values())) / len(chosen)
        indices = tuple(self.keep[list(chosen)].tolist())
        score = self.scorer.value(chosen)
        return Selection(indices, tuple(counts), weights, score, method, tuple(map(float, history)), self.excluded)


def first_best(scores: FloatArray) -> int:
    """The first of the scores that are within 1e-12 of the lowest."""
    return int(np.argmax(scores <= scores.min() + TIE))


def check_pool(probs: ArrayLike, labels: ArrayLike) -> tuple[NDArray[Any], IntArray, tuple[int, ...]]:
    """Check probabilities and labels.

    Returns:
        Both as arrays, and the candidates that hold a NaN.

    Raises:
        InputError: If an argument is of the wrong form, or all candidates hold a NaN.
    """
    p, y = np.asarray(probs), np.asarray(labels)
    if p.ndim != 3 or p.size == 0 or not np.issubdtype(p.dtype, np.floating):
        raise InputError(
            "probs", f"shape {p.shape} of {p.dtype}", "a non-empty float array candidates x examples x classes"
        )
    lowest, highest = (np.array([bound(row) for row in p]) for bound in (np.min, np.max))
    broken = tuple(np.flatnonzero(np.isnan(lowest)).tolist())
    if len(broken) == len(p):
        raise InputError("probs", "NaN in every candidate", "at least one candidate without NaN")
    if np.nanmin(lowest) < 0 or np.nanmax(highest) > 1 + 1e-3:
        raise InputError("probs", f"values {np.nanmin(lowest)}..{np.nanmax(highest)}", "probabilities in 0..1")
    if y.shape != p.shape[1:2] or not np.issubdtype(y.dtype, np.integer):
        raise InputError("labels", f"shape {y.shape} of {y.dtype}", f"{p.shape[1]} integers, one per example of probs")
    if y.min() < 0 or y.max() >= p.shape[2]:
        raise InputError("labels", f"values {y.min()}..{y.max()}", f"values 0..{p.shape[2] - 1}")
    return p, y.astype(np.int64), broken
