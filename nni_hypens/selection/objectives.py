"""From an objective, a name or a function, to its scorer."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nni_hypens.errors import InputError
from nni_hypens.metrics.inputs import FloatArray, IntArray
from nni_hypens.selection.additive import ErrorScorer, NllScorer
from nni_hypens.selection.names import OBJECTIVES
from nni_hypens.selection.quadratic import BrierScorer
from nni_hypens.selection.scorers import Objective, Scorer


class FunctionScorer(Scorer):
    """Any function of mean probabilities `N x C` and labels `N`, called for one ensemble at a time."""

    def __init__(self, p: NDArray[Any], y: IntArray, function: Callable[[FloatArray, IntArray], float]) -> None:
        super().__init__(len(p))
        self.p, self.y, self.function = p, y, function

    def start(self) -> NDArray[Any]:
        return np.zeros(self.p.shape[1:])

    def add(self, state: NDArray[Any], index: int) -> NDArray[Any]:
        more: NDArray[Any] = state + self.p[index]
        return more

    def options(self, state: NDArray[Any], size: int, indices: IntArray) -> FloatArray:
        return np.array([self._call((state + self.p[index]) / size) for index in indices])

    def every(self, size: int, wanted: NDArray[np.bool_] | None = None) -> FloatArray:
        scores = np.full(math.comb(self.pool, size), np.inf)
        for position, combo in enumerate(combinations(range(self.pool), size)):
            if wanted is None or wanted[position]:
                scores[position] = self._call(np.mean([self.p[index] for index in combo], axis=0, dtype=np.float64))
        return scores

    def _call(self, mean: FloatArray) -> float:
        score = float(self.function(mean, self.y))
        if math.isnan(score):
            raise InputError("objective", "NaN from the function", "a number for every ensemble")
        return score


def make_scorer(p: NDArray[Any], y: IntArray, objective: Objective) -> Scorer:
    """Build the scorer of an objective.

    Raises:
        InputError: The objective is unknown.
    """
    if callable(objective):
        return FunctionScorer(p, y, objective)
    scorers: dict[str, Callable[[NDArray[Any], IntArray], Scorer]] = {
        "nll": NllScorer,
        "brier": BrierScorer,
        "error": ErrorScorer,
    }
    if objective not in scorers:
        raise InputError("objective", repr(objective), "one of " + ", ".join(OBJECTIVES) + ", or a function")
    return scorers[objective](p, y)
