"""NLL of the members' averaged log-probabilities, which is how an ensemble averages by default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from nni_hypens.metrics.inputs import PROBABILITY_FLOOR, FloatArray, IntArray
from nni_hypens.selection import scorers
from nni_hypens.selection.additive import BoundedSumScorer, Span
from nni_hypens.selection.scorers import combination_rows


class LogNllScorer(BoundedSumScorer):
    """Mean over examples of `ln sum_c exp(mean over members of (ln p_c - ln p_true))`, with p at least 1e-12.

    Rows hold `N x C` logits less that of the true class. Their sum is divided by the number of members, exponentials
    are summed over classes, and logarithms over examples.
    """

    def __init__(self, p: NDArray[Any], y: IntArray) -> None:
        super().__init__(len(p))
        _, self.examples, self.classes = p.shape
        logits = np.log(np.maximum(p, PROBABILITY_FLOOR), dtype=np.float64)
        logits -= logits[:, np.arange(self.examples), y][:, :, None]
        wide = max(1, scorers.CHUNK_VALUES // (len(p) * self.classes)) * self.classes
        width = self.examples * self.classes
        blocks = [slice(low, min(low + wide, width)) for low in range(0, width, wide)]
        self.set_rows(logits.reshape(len(p), width), blocks)

    def added(self, rows: FloatArray, head: FloatArray, block: int, size: int, span: Span) -> FloatArray:
        sums = np.add(rows, head, out=self.buffer[: rows.size].reshape(rows.shape))
        sums /= size
        odds = np.exp(sums, out=sums).reshape(len(sums), -1, self.classes).sum(axis=2)  # at least 1, at most C * 1e12
        scores: FloatArray = np.log(odds, out=odds).sum(axis=1) / self.examples
        return scores

    def least(self, size: int, members: Sequence[int]) -> FloatArray:
        """The NLL is convex in the logits, so it lies above its tangent at any ensemble, which is linear in them."""
        logits = self.rows.reshape(self.pool, self.examples, self.classes)
        mean = logits[list(members)].mean(axis=0)
        slope = softmax(mean, axis=1) / self.examples  # the true class' own part is zero in `logits`
        linear = self.rows @ slope.ravel()
        best = np.log(np.exp(mean).sum(axis=1)).mean() - float((slope * mean).sum())
        return np.concatenate([best + linear[some].mean(axis=1) for some in combination_rows(self.pool, size)])
