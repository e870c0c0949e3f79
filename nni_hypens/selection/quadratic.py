"""Objectives that are quadratic in how often each candidate was chosen: Brier score and disagreement."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nni_hypens.metrics.diversity import differing_answers
from nni_hypens.metrics.inputs import FloatArray, IntArray
from nni_hypens.selection import scorers
from nni_hypens.selection.scorers import Scorer, combination_rows


class Quadratic:
    """A quadratic form over counts `P`: how often each candidate was chosen."""

    def __init__(self, matrix: FloatArray) -> None:
        self.matrix = matrix
        self.diagonal = np.ascontiguousarray(np.diagonal(matrix))

    def options(self, counts: FloatArray, indices: IntArray) -> FloatArray:
        """Values after adding each of `indices` once."""
        product = self.matrix @ counts
        return counts @ product + 2 * product[indices] + self.diagonal[indices]

    def combos(self, combos: IntArray) -> FloatArray:
        """Values for `K x S` different indices."""
        total = self.diagonal[combos].sum(axis=1)
        for i, j in combinations(range(combos.shape[1]), 2):
            total += 2 * self.matrix[combos[:, i], combos[:, j]]
        sums: FloatArray = total
        return sums


class CountScorer(Scorer):
    """Scorers whose state is counts `P`: how often each candidate was chosen."""

    def start(self) -> NDArray[Any]:
        return np.zeros(self.pool)

    def add(self, state: NDArray[Any], index: int) -> NDArray[Any]:
        more = state.copy()
        more[index] += 1
        return more


class BrierScorer(CountScorer):
    """Brier score of a mean from inner products: sum_ij <p_i, p_j> / S^2 - 2 sum_i p_i[y] / S + 1."""

    def __init__(self, p: NDArray[Any], y: IntArray) -> None:
        super().__init__(len(p))
        pool, n, classes = p.shape
        gram, step = np.zeros((pool, pool)), max(1, 8 * scorers.CHUNK_VALUES // (pool * classes))
        for start in range(0, n, step):
            block = p[:, start : start + step].astype(np.float64).reshape(pool, -1)
            gram += block @ block.T
        self.form = Quadratic(gram / n)
        self.truth = p[:, np.arange(n), y].astype(np.float64).mean(axis=1)

    def options(self, state: NDArray[Any], size: int, indices: IntArray) -> FloatArray:
        truth = state @ self.truth + self.truth[indices]
        scores: FloatArray = self.form.options(state, indices) / size**2 - 2 * truth / size + 1
        return scores

    def every(self, size: int, wanted: NDArray[np.bool_] | None = None) -> FloatArray:
        parts = (
            self.form.combos(rows) / size**2 - 2 * self.truth[rows].mean(axis=1) + 1
            for rows in combination_rows(self.pool, size)
        )
        return np.concatenate(list(parts))


class DiverseScorer(CountScorer):
    """An objective minus a weight times the mean disagreement of the members' pairs.

    Disagreement of two networks is the share of examples on which their most probable classes differ (Skalak 1996, as
    in Fort et al. 2019); accuracy plus a weight times diversity is the fitness of Opitz and Shavlik (1996). A member
    chosen twice counts as two members that agree.
    """

    def __init__(self, scorer: Scorer, p: NDArray[Any], weight: float) -> None:
        super().__init__(scorer.pool)
        self.scorer, self.weight, self.bounded = scorer, weight, scorer.bounded
        kind = np.uint8 if p.shape[2] <= 256 else np.int64
        top = np.stack([row.argmax(axis=1).astype(kind) for row in p])
        self.form = Quadratic(differing_answers(top))

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
        sums = np.concatenate([self.form.combos(rows) for rows in combination_rows(self.pool, size)])
        return self.weight * sums / max(1, size * (size - 1))

    def value(self, members: Sequence[int]) -> float:
        return self.scorer.value(members)


def _pair(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    both = np.empty(2, dtype=object)
    both[0], both[1] = first, second
    return both
