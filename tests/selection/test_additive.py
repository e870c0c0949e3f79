"""NLL and error of probabilities at their extremes, and the bounds that skip combinations."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nni_hypens import selection
from nni_hypens.selection import task as selection_task
from tests.support.selection_pools import SEEDS, plain_score, pool


def test_zero_probability_of_the_true_class_is_floored() -> None:
    probs = np.array([[[1.0, 0.0]], [[0.5, 0.5]]])
    result = selection.exhaustive(probs[:1], np.array([1]), 1)
    assert result.score == pytest.approx(12 * np.log(10))
    assert selection.greedy(probs, np.array([1]), 1).indices == (1,)


def test_single_precision_pool() -> None:
    probs, labels = pool(5)
    double = selection.exhaustive(probs, labels, 3)
    single = selection.exhaustive(probs.astype(np.float32), labels, 3)
    assert single.indices == double.indices
    assert single.score == pytest.approx(double.score, abs=1e-6)


@pytest.mark.parametrize("objective", selection.OBJECTIVES)
def test_many_steps_with_replacement_stay_in_range(objective: str) -> None:
    probs, labels = pool(9, p=3)
    result = selection.greedy(probs, labels, 1200, True, objective)
    mean = np.tensordot(result.weights, probs[list(result.members)], axes=1)
    assert result.score == pytest.approx(plain_score(mean, labels, objective), abs=1e-12)


@pytest.mark.parametrize("floor", [0.0, 1e-12, 1e-3])
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, size=st.integers(1, 4), weight=st.sampled_from([0.0, 0.3]))
def test_bounds_lie_below_the_scores(floor: float, seed: int, size: int, weight: float) -> None:
    """With probabilities at zero, and from any ensemble of any size."""
    probs, labels = pool(seed, p=7, n=20)
    probs = np.where((probs < 0.2) & (probs < probs.max(axis=2, keepdims=True)), floor, probs)
    probs /= probs.sum(axis=2, keepdims=True)
    task = selection_task.Task(probs, labels, size, "nll", diversity_weight=weight)
    scores = task.scorer.every(size)
    for members in combinations(range(7), 2):
        assert (task.scorer.least(size, members) <= scores + 1e-9).all()
    few = np.zeros(len(scores), dtype=bool)
    few[:: max(5, len(scores) // 3)] = True
    assert task.scorer.every(size, few)[few] == pytest.approx(scores[few], abs=1e-12)
