"""Scores of many ensembles of a pool at once: what every selection method builds on.

An ensemble's probabilities are the mean of its members' probabilities; a member counts as often as it was chosen.
Sizes: `P` candidates, `N` examples, `C` classes, `S` members with repeats.

Speed comes from the form of each objective. `additive` sums functions of the members' rows over examples: the NLL reads
only the true class, and the error only classes that some candidate ranks above the true one. `quadratic` reads
one `P x P` matrix: the Brier score, and disagreement of pairs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, combinations, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nni_hypens.metrics.inputs import FloatArray, IntArray

Objective = str | Callable[[FloatArray, IntArray], float]

TIE = 1e-12
"""Scores closer than this differ only by the order of summation."""
CHUNK_VALUES = 1 << 19
"""Float64 values processed at once: four megabytes."""
CHUNK_ROWS = 1 << 15
"""Combinations listed at once."""


class Scorer(ABC):
    """Scores ensembles of one pool; lower is better.

    A *state* describes the members chosen so far; its content is private to the scorer.
    """

    bounded = False
    """Whether `least` gives finite bounds."""

    def __init__(self, pool: int) -> None:
        self.pool = pool

    @abstractmethod
    def start(self) -> NDArray[Any]:
        """The state without members."""

    @abstractmethod
    def add(self, state: NDArray[Any], index: int) -> NDArray[Any]:
        """The state with one more member; the given state is not changed."""

    @abstractmethod
    def options(self, state: NDArray[Any], size: int, indices: IntArray) -> FloatArray:
        """Score of the ensemble of `size` members after adding each of `indices` to the state."""

    @abstractmethod
    def every(self, size: int, wanted: NDArray[np.bool_] | None = None) -> FloatArray:
        """Scores of all combinations of `size` different candidates, in lexicographic order.

        Args:
            size: 1..P.
            wanted: Combinations that matter; the others may get any score.
        """

    def least(self, size: int, members: Sequence[int]) -> FloatArray:
        """Lower bounds of the scores from `every`, derived from one good ensemble."""
        return np.full(math.comb(self.pool, size), -np.inf)

    def value(self, members: Sequence[int]) -> float:
        """Objective of one ensemble, given with repeats."""
        state = self.start()
        for index in members[:-1]:
            state = self.add(state, index)
        return float(self.options(state, len(members), np.array([members[-1]]))[0])


def combination_rows(pool: int, size: int) -> Iterator[IntArray]:
    """All combinations of `size` of `pool` indices in lexicographic order, as arrays `K x size` of bounded length."""
    stream = combinations(range(pool), size)
    while True:
        flat = np.fromiter(chain.from_iterable(islice(stream, CHUNK_ROWS)), dtype=np.int64)
        if not len(flat):
            return
        yield flat.reshape(-1, size)
