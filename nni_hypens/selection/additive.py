"""Objectives that add up over examples: NLL and error."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Sequence
from itertools import combinations, compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nni_hypens.metrics.inputs import PROBABILITY_FLOOR, FloatArray, IntArray
from nni_hypens.selection import scorers
from nni_hypens.selection.scorers import TIE, Scorer, combination_rows

_Span = tuple[FloatArray, FloatArray]
_PER_LOG = 16  # logarithms are taken of products of sixteen probabilities: at least 1e-192, far from underflow


class SumScorer(Scorer):
    """Objectives that sum a function of the members' summed rows over examples.

    `rows` is `P x Q`; `blocks` cut `Q` into parts whose scores add up.
    """

    def set_rows(self, rows: FloatArray, blocks: list[slice]) -> None:
        """Store the pool and allocate a buffer for one block of sums."""
        self.rows, self.blocks = rows, blocks
        self.spans = [_span(rows[:, part]) for part in blocks]
        widest = max((part.stop - part.start for part in blocks), default=0)
        self.buffer = np.empty(max(scorers.CHUNK_VALUES, widest * len(rows)))

    def start(self) -> NDArray[Any]:
        return np.zeros(self.rows.shape[1])

    def add(self, state: NDArray[Any], index: int) -> NDArray[Any]:
        more: NDArray[Any] = state + self.rows[index]
        return more

    @abstractmethod
    def added(self, rows: FloatArray, head: FloatArray, block: int, size: int, span: _Span) -> FloatArray:
        """A block's part of the scores of `head + row`, for each of `K x block` rows within `span`."""

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
        """In lexicographic order, combinations with the same beginning are consecutive, and their ends are a tail of
        the list of all ends, so that adding one row to a contiguous block scores them all."""
        scores = np.zeros(math.comb(self.pool, size))
        for block, part in enumerate(self.blocks):
            rows = np.ascontiguousarray(self.rows[:, part])
            width = max(1, rows.shape[1])
            depth = 1
            while depth < size and 4 * math.comb(self.pool, depth + 1) * width <= scorers.CHUNK_VALUES:
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


class NllScorer(SumScorer):
    """Mean of -ln max(p, 1e-12) of the true class."""

    bounded = True

    def __init__(self, p: NDArray[Any], y: IntArray) -> None:
        super().__init__(len(p))
        self.examples = len(y)
        groups = -(-len(y) // _PER_LOG)
        wide = max(1, scorers.CHUNK_VALUES // (len(p) * _PER_LOG))
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
        """The logarithm lies below its tangent: ln p <= ln q + (p - q) / q for any q. With q the mean of an ensemble,
        the right side is a mean over members. Raising probabilities to the floor only raises it."""
        rows = np.maximum(self.rows[:, : self.examples], PROBABILITY_FLOOR)
        mean = rows[list(members)].mean(axis=0)
        ratio = rows @ (1 / mean) / self.examples
        best = -np.log(mean).mean()
        return np.concatenate([best + 1 - ratio[some].mean(axis=1) for some in combination_rows(self.pool, size)])

    def every(self, size: int, wanted: NDArray[np.bool_] | None = None) -> FloatArray:
        """If few combinations are wanted, each is summed separately."""
        if wanted is None or 4 * np.count_nonzero(wanted) > len(wanted):
            return super().every(size)
        scores = np.full(len(wanted), np.inf)
        chosen = np.array(list(compress(combinations(range(self.pool), size), wanted))).reshape(-1, size)
        found = np.zeros(len(chosen))
        for block, part in enumerate(self.blocks):
            some = max(1, scorers.CHUNK_VALUES // (part.stop - part.start))
            for low in range(0, len(chosen), some):
                combos = chosen[low : low + some]
                sums = self.rows[combos[:, 0], part]
                for column in combos.T[1:-1]:
                    sums += self.rows[column, part]
                last = self.rows[combos[:, -1], part] if size > 1 else np.zeros(1)
                found[low : low + some] += self.added(sums, last, block, size, self.spans[block])
        scores[wanted] = found
        return scores


class ErrorScorer(SumScorer):
    """Share of examples whose most probable class, the first of those within 1e-12, is not the label.

    Rows hold `Q` margins over the true class, for the classes that some candidate ranks at or above the true class of
    an example. A mean cannot rank any other class there.
    """

    def __init__(self, p: NDArray[Any], y: IntArray) -> None:
        super().__init__(len(p))
        pool, self.examples, classes = p.shape
        step = max(1, scorers.CHUNK_VALUES // (pool * classes))
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
        self._set_margins(np.concatenate(margins, axis=1), np.concatenate(bounds), example)

    def _set_margins(self, rows: FloatArray, bounds: FloatArray, example: IntArray) -> None:
        self.bounds, self.example = bounds, example
        edges = np.append(np.flatnonzero(np.diff(example, prepend=-1)), len(example))
        width = max(1, scorers.CHUNK_VALUES // len(rows))
        blocks, low = [], 0
        while low < len(edges) - 1:  # whole examples, about `width` margins wide
            high = max(low + 1, int(np.searchsorted(edges, edges[low] + width, side="right")) - 1)
            blocks.append(slice(int(edges[low]), int(edges[high])))
            low = high
        self.set_rows(rows, blocks)

    def every(self, size: int, wanted: NDArray[np.bool_] | None = None) -> FloatArray:
        """Skips classes that even the `size` candidates most in favour of them cannot rank first."""
        largest = np.partition(self.rows, self.pool - size, axis=0)[self.pool - size :].sum(axis=0)
        keep = largest > self.bounds * size
        reduced = copy.copy(self)
        reduced._set_margins(self.rows[:, keep], self.bounds[keep], self.example[keep])
        return super(ErrorScorer, reduced).every(size, wanted)

    def added(self, rows: FloatArray, head: FloatArray, block: int, size: int, span: _Span) -> FloatArray:
        """Most margins have the same outcome for every row; only the others are computed row by row."""
        bounds, example = self.bounds[self.blocks[block]] * size, self.example[self.blocks[block]]
        low, high = span
        open_ = head + high > bounds
        lost = example[head + low > bounds]  # some class beats the true one for every row
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
