"""What selection methods share: checked arguments and the result."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from nni_hypens.errors import InputError
from nni_hypens.metrics.inputs import FloatArray, check_pool
from nni_hypens.selection.limits import CostLimits, Costs
from nni_hypens.selection.objectives import make_scorer
from nni_hypens.selection.quadratic import DiverseScorer
from nni_hypens.selection.scorers import TIE, Objective, Scorer
from nni_hypens.utils.checks import check_whole


@dataclass(frozen=True, eq=False)
class Selection:
    """The chosen ensemble.

    Attributes:
        indices: Pool indices in the order of choice, with repeats when chosen with replacement.
        members: The unique indices, in order of first choice.
        weights: Weight of each of `members` (its share of `indices`), summing to 1.
        score: Objective of the weighted mean probabilities; lower is better.
        method: Name of the method.
        history: Minimised value after each step, for methods that work in steps.
        excluded: Candidates that could not be chosen because they hold a NaN.
        cost: Sum of the members' costs; set by `cost_front` only.
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
    """Checked arguments of a method. Its indices run over the candidates without NaN."""

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
        check_whole("size", size)
        if not 0 <= diversity_weight < math.inf:
            raise InputError("diversity_weight", diversity_weight, "a number of at least 0")
        self.keep = np.setdiff1d(np.arange(len(p)), self.excluded)
        if size > len(self.keep) and not repeats:
            excluded = f" ({len(self.excluded)} more hold a NaN)" if self.excluded else ""
            raise InputError(
                "size", size, f"at most {len(self.keep)}, the number of candidates{excluded}, without replacement"
            )
        self.limits = CostLimits(costs, limits, self.keep, len(p))
        self.limits.check_feasible(1 if repeats else size)
        p = p[self.keep] if self.excluded else p
        self.size, self.pool = int(size), len(p)
        self.scorer: Scorer = make_scorer(p, y, objective)
        if diversity_weight:
            self.scorer = DiverseScorer(self.scorer, p, diversity_weight)

    def done(self, chosen: Sequence[int], method: str, history: Sequence[float] | FloatArray) -> Selection:
        """The selection, with indices into the whole pool."""
        counts = Counter(self.keep[list(chosen)].tolist())
        weights = np.array(list(counts.values())) / len(chosen)
        indices = tuple(self.keep[list(chosen)].tolist())
        score = self.scorer.value(chosen)
        return Selection(indices, tuple(counts), weights, score, method, tuple(map(float, history)), self.excluded)


def first_best(scores: FloatArray) -> int:
    """Index of the first score within 1e-12 of the lowest."""
    return int(np.argmax(scores <= scores.min() + TIE))
