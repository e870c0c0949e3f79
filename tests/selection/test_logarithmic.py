"""NLL of averaged log-probabilities: against the plain formula, and the bounds that skip combinations."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.special import log_softmax

from nni_hypens import selection
from nni_hypens.ensemble.calibration import Combination, combine
from nni_hypens.selection import scorers, task as selection_task
from nni_hypens.selection.names import LOG_NLL
from tests.support.selection_pools import SEEDS, pool


def plain(probs: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    logits = np.tensordot(weights, np.log(np.maximum(probs, 1e-12)), axes=1)
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


@pytest.mark.parametrize("chunk", [1 << 19, 64])
def test_every_method_finds_what_brute_force_finds(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorers, "CHUNK_VALUES", chunk)
    probs, labels = pool(3, p=7, n=30)
    scores = {m: plain(probs[list(m)], labels, np.full(3, 1 / 3)) for m in combinations(range(7), 3)}
    best = min(scores, key=scores.__getitem__)
    found = selection.exhaustive(probs, labels, 3, LOG_NLL)
    assert found.members == best and found.score == pytest.approx(scores[best], abs=1e-12)
    assert selection.beam(probs, labels, 3, LOG_NLL, width=100).members != () and (
        selection.beam(probs, labels, 3, LOG_NLL, width=100).score == pytest.approx(scores[best], abs=1e-12)
    )
    repeated = selection.greedy(probs, labels, 5, with_replacement=True, objective=LOG_NLL)
    assert repeated.score == pytest.approx(plain(probs[list(repeated.members)], labels, repeated.weights), abs=1e-12)
    steps = selection.greedy(probs, labels, 3, objective=LOG_NLL)
    for step, score in enumerate(steps.history, start=1):
        chosen = list(steps.indices[:step])
        assert score == pytest.approx(plain(probs[chosen], labels, np.full(step, 1 / step)), abs=1e-12)


def test_it_is_the_nll_of_what_an_ensemble_predicts() -> None:
    probs, labels = pool(4, p=5)
    found = selection.exhaustive(probs, labels, 2, LOG_NLL)
    average = combine(probs[list(found.members)], found.weights, Combination(1.0, (1.0, 1.0)))
    assert found.score == pytest.approx(-np.log(average[np.arange(len(labels)), labels]).mean())


def test_probabilities_of_zero_are_floored() -> None:
    probs = np.array([[[1.0, 0.0]], [[0.5, 0.5]]])
    assert selection.exhaustive(probs[:1], np.array([1]), 1, LOG_NLL).score == pytest.approx(12 * np.log(10))
    both = selection.exhaustive(probs, np.array([1]), 2, LOG_NLL)
    assert both.score == pytest.approx(np.log1p(1e6))  # the odds are a geometric mean


@pytest.mark.parametrize("floor", [0.0, 1e-3])
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, size=st.integers(1, 4), weight=st.sampled_from([0.0, 0.3]))
def test_bounds_lie_below_the_scores(floor: float, seed: int, size: int, weight: float) -> None:
    probs, labels = pool(seed, p=7, n=20)
    probs = np.where((probs < 0.2) & (probs < probs.max(axis=2, keepdims=True)), floor, probs)
    probs /= probs.sum(axis=2, keepdims=True)
    task = selection_task.Task(probs, labels, size, LOG_NLL, diversity_weight=weight)
    scores = task.scorer.every(size)
    for members in combinations(range(7), 2):
        assert (task.scorer.least(size, members) <= scores + 1e-9).all()
    few = np.zeros(len(scores), dtype=bool)
    few[:: max(5, len(scores) // 3)] = True
    assert task.scorer.every(size, few)[few] == pytest.approx(scores[few], abs=1e-12)
