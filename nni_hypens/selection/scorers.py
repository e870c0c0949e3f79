"""Scores of many ensembles of a pool at once: what every method of selection rests on.

An ensemble's probabilities are the mean of its members', a member counting as often as it was chosen. Sizes: `P`
candidates, `N` examples, `C` classes, `S` members with repeats.

What makes it fast: the NLL reads the true class only, so the pool is `P x N` numbers and an ensemble a sum of rows;
logarithms are taken of products of sixteen examples. The error needs, for each example, only the classes that some
candidate puts before the true one. The Brier score is a quadratic form in the weights, over one `P x P` matrix.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, combinations, compress, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nni_hypens.errors import InputError
from nni_hypens.selection.names import OBJECTIVES

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
_Span = tuple[FloatArray, FloatArray]
Objective = str | Callable[[FloatArray, IntArray], float]

PROBABILITY_FLOOR = 1e-12  # the same floor as in the NLL that results report
TIE = 1e-12  # values closer than this differ by the order of summation only
_CHUNK_VALUES = 1 << 19  # float64 values worked on at once: four megabytes
_CHUNK_ROWS = 1 << 15  # combinations listed at once
_PER_LOG = 16  # factors above 1e-12, and up to S each: 1e-192 is far from underflow


class Scorer(ABC):
    """Scores ensembles of one pool; lower is better.

    A *state* describes the members so far; what it holds is the scorer's own affair.
    """

    bounded = False
    """Whether `least` has something to say."""

    def __init__(self, pool: int) -> None:
        self.pool = pool

    @abstractmethod
    def start(self) -> NDArray[Any]:
        """The state of no members."""

    @abstractmethod
    def add(self, state: NDArray[Any], index: int) -> NDArray[Any]:
        """The state with one more member; the old one stays as it is."""

    @abstractmethod
    def options(self, state: NDArray[Any], size: int, indices: IntArray) -> FloatArray:
        """Scores of the ensembles of `size` members that adding each of `indices` to a state gives."""

    @abstractmethod
    def every(self, size: int, wanted: NDArray[np.bool_] | None = None) -> FloatArray:
        """Scores of all combinations of `size` different candidates, in lexicographic order.

        Args:
            size: 1..P.
            wanted: Which of them matter; the others may get any score.
        """

    def least(self, size: int, members: Sequence[int]) -> FloatArray:
        """Lower bounds of what `every` gives, found from one good ensemble."""
        return np.full(math.comb(self.pool, size), -np.inf)

    def value(self, members: Sequence[int]) -> float:
        """Objective of one ensemble, given with repeats."""
        state = self.start()
        for index in members[:-1]:
            state = self.add(state, index)
        return float(self.options(state, len(members), np.array([members[-1]]))[0])


class _SumScorer(Scorer):
    """Objectives that are a sum over examples of a function of sums of the members' rows.

    `rows` is `P x Q`; `blocks` cut `Q` into parts with scores of their own that add up.
    """

    def set_rows(self, rows: FloatArray, blocks: list[slice]) -> None:
        """Take in the pool, and make room for one block of sums."""
        self.rows, self.blocks = rows, blocks
        self.spans = [_span(rows[:, part]) for part in blocks]
        widest = max((part.stop - part.start for part in blocks), default=0)
        self.buffer = np.empty(max(_CHUNK_VALUES, widest * len(rows)))

    def start(self) -> NDArray[Any]:
        return np.zeros(self.rows.shape[1])

    def add(self, state: NDArray[Any], index: int) -> NDArray[Any]:
        more: NDArray[Any] = state + self.rows[index]
        return more

    @abstractmethod
    def added(self, rows: FloatArray, head: FloatArray, block: int, size: int, span: _Span) -> FloatArray:
        """What a block adds to the scores of `head + row` for each of `K x block` rows, which lie within `span`."""

    def options(self, state: NDArray[Any], size: int, indices: IntArray) -> FloatArray:
        scores = np.zeros(len(indices))
        runs = np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1)  # slices need no copy
        for block, part in enumerate(self.blocks):
            span = self.spans[block]
            scores += np.concatenate(
                [self.added(self.rows[run[0] : run[-1] + 1, part], state[part], block, size, span) for run in runs]
            )
        return scores

    def every(self, size: int, wanted: NDArray[np.bool_] | None = None) -> FloatArray:
        """In lexicographic order the combinations with one beginning are consecutive, and their ends are a tail of
        the list of all ends: so one addition of a row to a contiguous block scores them all."""
        scores = np.zeros(math.comb(self.pool, size))
        for block, part in enumerate(self.blocks):
            rows = np.ascontiguousarray(self.rows[:, part])
            width = max(1, rows.shape[1])
            depth = 1
            while depth < size and 4 * math.comb(self.pool, depth + 1) * width <= _CHUNK_VALUES:
                depth += 1
            ends, starts = _ends(rows, depth)
            span = _span(ends)
            position = 0
            for beginning in combinations(range(self.pool - depth), size - depth):
                first = starts[beginning[-1] + 1] if beginning else 0
                head = rows[list(beginning)].sum(axis=0)
                stop = position + len(ends) - first
                scores[position:stop] += self.added(ends[first:], head, block, size, span)
                position = stop
        return scores


def _span(rows: FloatArray) -> _Span:
    return rows.min(axis=0), rows.max(axis=0)


def _ends(rows: FloatArray, depth: int) -> tuple[FloatArray, list[int]]:
    """Sums of all combinations of `depth` rows, and for each index the first combination that begins at it or later."""
    pool = len(rows)
    if depth == 1:
        return rows, list(range(pool + 1))
    index = np.array(list(combinations(range(pool), depth)))
    sums = rows[index[:, 0]]
    for column in index.T[1:]:
        sums += rows[column]
    return sums, np.searchsorted(index[:, 0], np.arange(pool + 1)).tolist()


class _Nll(_SumScorer):
    """Mean of -ln max(p, 1e-12) of the true class."""

    bounded = True

    def __init__(self, p: NDArray[Any], y: IntArray) -> None:
        super().__init__(len(p))
        self.examples = len(y)
        groups = -(-len(y) // _PER_LOG)
        wide = max(1, _CHUNK_VALUES // (len(p) * _PER_LOG))
        parts = [(low, min(low + wide, groups)) for low in range(0, groups, wide)]
        # a sum of ones is S, and ln(S / S) adds nothing: they fill the last group
        rows = np.ones((len(p), groups * _PER_LOG))
        rows[:, : len(y)] = p[:, np.arange(len(y)), y]
        self.low = bool(rows.min() < PROBABILITY_FLOOR)
        self.set_rows(rows, [slice(low * _PER_LOG, high * _PER_LOG) for low, high in parts])

    def added(self, rows: FloatArray, head: FloatArray, block: int, size: int, span: _Span) -> FloatArray:
        sums = np.add(rows, head, out=self.buffer[: rows.size].reshape(rows.shape))
        if self.low:
            np.maximum(sums, size * PROBABILITY_FLOOR, out=sums)
        if size > 1000:  # a product of sixteen sums must not overflow either
            sums /= size
        product = np.multiply.reduce(sums.reshape(len(sums), _PER_LOG, -1), axis=1)
        logs = np.log(product, out=product).sum(axis=1)
        if size <= 1000:
            logs -= sums.shape[1] * math.log(size)
        scores: FloatArray = logs / -self.examples
        return scores

    def least(self, size: int, members: Sequence[int]) -> FloatArray:
        """The logarithm lies below its tangent: ln p <= ln q + (p - q) / q for any q, here the means of an ensemble,
        and the right side is a mean over members. Raising every probability to the floor only lifts it."""
        rows = np.maximum(self.rows[:, : self.examples], PROBABILITY_FLOOR)
        mean = rows[list(members)].mean(axis=0)
        ratio = rows @ (1 / mean) / self.examples
        best = -np.log(mean).mean()
        return np.concatenate([best + 1 - ratio[some].mean(axis=1) for some in combination_rows(self.pool, size)])

    def every(self, size: int, wanted: NDArray[np.bool_] | None = None) -> FloatArray:
        """A few wanted combinations are summed up one by one."""
        if wanted is None or 4 * np.count_nonzero(wanted) > len(wanted):
            return super().every(size)
        scores = np.full(len(wanted), np.inf)
        chosen = np.array(list(compress(combinations(range(self.pool), size), wanted))).reshape(-1, size)
        found = np.zeros(len(chosen))
        for block, part in enumerate(self.blocks):
            some = max(1, _CHUNK_VALUES // (part.stop - part.start))
            for low in range(0, len(chosen), some):
                combos = chosen[low : low + some]
                sums = self.rows[combos[:, 0], part]
                for column in combos.T[1:-1]:
                    sums += self.rows[column, part]
                last = self.rows[combos[:, -1], part] if size > 1 else np.zeros(1)
                found[low : low + some] += self.added(sums, last, block, size, self.spans[block])
        scores[wanted] = found
        return scores


class _Error(_SumScorer):
    """Share of examples whose most probable class, the first of those within 1e-12, is not the label.

    A row of `Q` margins over the true class: of every example the classes that some candidate puts level with the true
    one or above. No mean can put another class there.
    """

    def __init__(self, p: NDArray[Any], y: IntArray) -> None:
        super().__init__(len(p))
        pool, self.examples, classes = p.shape
        step = max(1, _CHUNK_VALUES // (pool * classes))
        margins, bounds, counts = [], [], []
        for low in range(0, self.examples, step):
            part = p[:, low : low + step].astype(np.float64)
            truth = y[low : low + step]
            rows = np.arange(len(truth))
            part -= part[:, rows, truth][:, :, None]
            rival = part.max(axis=0) >= -TIE
            rival[rows, truth] = False
            example, label = np.nonzero(rival)
            margins.append(part[:, example, label])
            bounds.append(np.where(label < truth[example], -TIE, TIE))
            counts.append(rival.sum(axis=1))
        example = np.repeat(np.arange(self.examples), np.concatenate(counts))
        self._take_in(np.concatenate(margins, axis=1), np.concatenate(bounds), example)

    def _take_in(self, rows: FloatArray, bounds: FloatArray, example: IntArray) -> None:
        self.bounds, self.example = bounds, example
        edges = np.append(np.flatnonzero(np.diff(example, prepend=-1)), len(example))
        width = max(1, _CHUNK_VALUES // len(rows))
        blocks, low = [], 0
        while low < len(edges) - 1:  # whole examples, about `width` margins wide
            high = max(low + 1, int(np.searchsorted(edges, edges[low] + width, side="right")) - 1)
            blocks.append(slice(int(edges[low]), int(edges[high])))
            low = high
        self.set_rows(rows, blocks)

    def every(self, size: int, wanted: NDArray[np.bool_] | None = None) -> FloatArray:
        """Different members need not be ready for a class that even its `size` best friends cannot bring up."""
        largest = np.partition(self.rows, self.pool - size, axis=0)[self.pool - size :].sum(axis=0)
        keep = largest > self.bounds * size
        reduced = copy.copy(self)
        reduced._take_in(self.rows[:, keep], self.bounds[keep], self.example[keep])
        return super(_Error, reduced).every(size, wanted)

    def added(self, rows: FloatArray, head: FloatArray, block: int, size: int, span: _Span) -> FloatArray:
        """Most margins are decided whichever row comes in: only those that are not are looked at row by row."""
        bounds, example = self.bounds[self.blocks[block]] * size, self.example[self.blocks[block]]
        low, high = span
        open_ = head + high > bounds
        lost = example[head + low > bounds]  # here some class is ahead of the true one for every row
        if len(lost):
            gone = np.zeros(example[-1] - example[0] + 1, dtype=bool)
            gone[lost - example[0]] = True
            open_ &= ~gone[example - example[0]]
            known = int(gone.sum())
        else:
            known = 0
        columns = np.flatnonzero(open_)
        if not len(columns):
            return np.full(len(rows), known / self.examples)
        beaten = np.take(rows, columns, axis=1) > (bounds - head)[columns]
        starts = np.flatnonzero(np.diff(example[columns], prepend=-1))
        scores: FloatArray = (known + np.logical_or.reduceat(beaten, starts, axis=1).sum(axis=1)) / self.examples
        return scores


class Quadratic:
    """A quadratic form over how often each candidate was chosen, counts `P`."""

    def __init__(self, matrix: FloatArray) -> None:
        self.matrix = matrix
        self.diagonal = np.ascontiguousarray(np.diagonal(matrix))

    def options(self, counts: FloatArray, indices: IntArray) -> FloatArray:
        """Its values with each of `indices` added once."""
        product = self.matrix @ counts
        return counts @ product + 2 * product[indices] + self.diagonal[indices]

    def combos(self, combos: IntArray) -> FloatArray:
        """Its values for `K x S` different indices."""
        total = self.diagonal[combos].sum(axis=1)
        for i, j in combinations(range(combos.shape[1]), 2):
            total += 2 * self.matrix[combos[:, i], combos[:, j]]
        sums: FloatArray = total
        return sums


class CountScorer(Scorer):
    """States that are counts `P`."""

    def start(self) -> NDArray[Any]:
        return np.zeros(self.pool)

    def add(self, state: NDArray[Any], index: int) -> NDArray[Any]:
        more = state.copy()
        more[index] += 1
        return more


class _Brier(CountScorer):
    """Brier score of a mean from inner products: sum_ij <p_i, p_j> / S^2 - 2 sum_i p_i[y] / S + 1."""

    def __init__(self, p: NDArray[Any], y: IntArray) -> None:
        super().__init__(len(p))
        pool, n, classes = p.shape
        gram, step = np.zeros((pool, pool)), max(1, 8 * _CHUNK_VALUES // (pool * classes))
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


class _Function(Scorer):
    """Any function of mean probabilities `N x C` and labels `N`; it sees one ensemble at a time."""

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


def combination_rows(pool: int, size: int) -> Iterator[IntArray]:
    """All combinations of `size` of `pool` indices in lexicographic order, as arrays `K x size` of bounded length."""
    stream = combinations(range(pool), size)
    while True:
        flat = np.fromiter(chain.from_iterable(islice(stream, _CHUNK_ROWS)), dtype=np.int64)
        if not len(flat):
            return
        yield flat.reshape(-1, size)


def make_scorer(p: NDArray[Any], y: IntArray, objective: Objective) -> Scorer:
    """The scorer of an objective.

    Raises:
        InputError: The objective is unknown.
    """
    if callable(objective):
        return _Function(p, y, objective)
    kinds: dict[str, Callable[[NDArray[Any], IntArray], Scorer]] = {"nll": _Nll, "brier": _Brier, "error": _Error}
    if objective not in kinds:
        raise InputError("objective", repr(objective), "one of " + ", ".join(OBJECTIVES) + ", or a function")
    return kinds[objective](p, y)
