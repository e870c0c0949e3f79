"""Fronts of score against cost, against brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nni_hypens import selection
from nni_hypens.errors import InputError
from tests.support.selection_pools import LABELS, PROBS, SEEDS, plain_score, pool


@settings(max_examples=50, deadline=None)
@given(points=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_front_is_what_nothing_dominates(points: list[tuple[int, int]]) -> None:
    scores, costs = np.array(points, dtype=float).T
    front = selection.pareto_front(scores, costs)
    kept = {points[i] for i in front}
    assert len(kept) == len(front) and [points.index(points[i]) for i in front] == front
    for point in set(points):
        beaten = any(o != point and o[0] <= point[0] and o[1] <= point[1] for o in points)
        assert (point in kept) != beaten
    assert costs[front].tolist() == sorted(costs[front])


@pytest.mark.parametrize("objective", selection.OBJECTIVES)
@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_cost_front_is_brute_force(objective: str, seed: int) -> None:
    probs, labels = pool(seed)
    costs = np.random.default_rng(seed).integers(1, 10, 6)
    combos = [combo for size in (1, 2, 3) for combo in combinations(range(6), size)]
    scores = [plain_score(probs[list(combo)].mean(0), labels, objective) for combo in combos]
    totals = [int(costs[list(combo)].sum()) for combo in combos]
    expected = [(totals[i], scores[i]) for i in selection.pareto_front(scores, totals)]
    front = selection.cost_front(probs, labels, costs, 3, objective)
    assert [(s.cost, s.score) for s in front] == [(cost, pytest.approx(score, abs=1e-11)) for cost, score in expected]
    assert all(costs[list(s.members)].sum() == s.cost for s in front)
    wide = selection.cost_front(probs, labels, costs, 3, objective, width=20)
    assert [s.cost for s in wide] == [s.cost for s in front]
    narrow = selection.cost_front(probs, labels, costs, 3, objective, width=1)
    assert narrow[0].cost == costs.min() and narrow[-1].score >= front[-1].score - 1e-12


def test_fronts_check_their_input() -> None:
    with pytest.raises(InputError, match="scores"):
        selection.pareto_front([], [])
    with pytest.raises(InputError, match="costs"):
        selection.pareto_front([1.0, 2.0], [1.0])
    with pytest.raises(InputError, match="costs: got shape"):
        selection.cost_front(PROBS, LABELS, [1, 2], 2)
    with pytest.raises(InputError, match="size: got 5 of 60 candidates"):
        selection.cost_front(np.full((60, 1, 2), 0.5), np.array([0]), np.ones(60), 6)
