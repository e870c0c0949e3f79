"""Objectives that are quadratic in how often each candidate was chosen: Brier score and disagreement."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nni_hypens.metrics.diversity import differing_answers
from nni_hypens.metrics.inputs import FloatArray, IntArray
from nni_hypens.selection import scorers
from nni_hypens.selection.scorers import Scorer, combination_rows


class Quadratic:
    """A quadratic form over counts `P`: how often each candidate was chosen.

    A choice step by step needs the rows of few candidates, so a row of the matrix is made when it is first needed: the
    whole matrix takes the square of the number of candidates.

    Args:
        rows: Makes rows `K x P` of the symmetric matrix `P x P`; None for all of it.
        diagonal: Its diagonal `P`.
    """

    def __init__(self, rows: Callable[[list[int] | None], FloatArray], diagonal: FloatArray) -> None:
        self._make, self._diagonal = rows, diagonal
        self._rows: dict[int, FloatArray] = {}

    @cached_property
    def matrix(self) -> FloatArray:
        """All of it, for choices among all ensembles."""
        return self._make(None)

    def _row(self, index: int) -> FloatArray:
        if index not in self._rows:
            (self._rows[index],) = self._make([index])
        return self._rows[index]

    def options(self, counts: FloatArray, indices: IntArray) -> FloatArray:
        """Values after adding each of `indices` once."""
        product = np.zeros(len(counts))
        for index in np.flatnonzero(counts).tolist():
            product += counts[index] * self._row(index)
        values: FloatArray = counts @ product + 2 * product[indices] + self._diagonal[indices]
        return values

    def combos(self, combos: IntArray) -> FloatArray:
        """Values for `K x S` different indices."""
        total = np.diagonal(self.matrix)[combos].sum(axis=1)
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
        self.p = p
        squares = sum((np.square(block).sum(axis=1) for block in self._blocks()), np.zeros(self.pool))
        self.form = Quadratic(self._products, squares / p.shape[1])
        self.truth = p[:, np.arange(len(y)), y].astype(np.float64).mean(axis=1)

    def _blocks(self) -> Iterator[FloatArray]:
        """The probabilities of some examples at a time, `P x (N C)`."""
        pool, n, classes = self.p.shape
        step = max(1, 8 * scorers.CHUNK_VALUES // (pool * classes))
        for start in range(0, n, step):
            yield self.p[:, start : start + step].astype(np.float64).reshape(pool, -1)

    def _products(self, indices: list[int] | None) -> FloatArray:
        """Mean inner products of some candidates, or all, with each."""
        total = np.zeros((self.pool if indices is None else len(indices), self.pool))
        for block in self._blocks():
            total += (block if indices is None else block[indices]) @ block.T
        products: FloatArray = total / self.p.shape[1]
        return products

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
        self.form = Quadratic(lambda indices: differing_answers(top, indices), np.zeros(len(p)))

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
