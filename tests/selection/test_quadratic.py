"""Disagreement as part of the objective, against pairs counted one by one."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nni_hypens import metrics, selection
from nni_hypens.selection.quadratic import Quadratic
from tests.support.selection_pools import SEEDS, plain_disagreement, plain_score, pool


@pytest.mark.parametrize("objective", selection.OBJECTIVES)
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, size=st.integers(1, 6), weight=st.floats(0.01, 2))
def test_diversity_is_rewarded_as_by_brute_force(objective: str, seed: int, size: int, weight: float) -> None:
    probs, labels = pool(seed)
    scores = {
        combo: plain_score(probs[list(combo)].mean(0), labels, objective) - weight * plain_disagreement(probs, combo)
        for combo in combinations(range(6), size)
    }
    best = min(scores.values())
    result = selection.exhaustive(probs, labels, size, objective, diversity_weight=weight)
    assert result.indices == next(combo for combo, score in scores.items() if score <= best + 1e-12)
    assert result.history == pytest.approx((best,), abs=1e-12)
    assert result.score == pytest.approx(plain_score(probs[list(result.members)].mean(0), labels, objective), abs=1e-12)
    forward = selection.select("diversity_weighted", probs, labels, size, objective, diversity_weight=weight)
    for step, score in enumerate(forward.history, 1):
        members = forward.indices[:step]
        mean = plain_score(probs[list(members)].mean(0), labels, objective)
        assert score == pytest.approx(mean - weight * plain_disagreement(probs, members), abs=1e-12)
    repeated = selection.greedy(probs, labels, size, True, objective, diversity_weight=weight)
    mean = plain_score(probs[list(repeated.indices)].mean(0), labels, objective)
    penalised = mean - weight * plain_disagreement(probs, repeated.indices)
    assert repeated.history[-1] == pytest.approx(penalised, abs=1e-12)


def test_a_weight_of_diversity_by_default() -> None:
    probs, labels = pool(4)
    given_ = selection.greedy(probs, labels, 3, diversity_weight=0.1)
    assert selection.select("diversity_weighted", probs, labels, 3).indices == given_.indices
    most = selection.exhaustive(probs, labels, 2, diversity_weight=1e6)
    assert plain_disagreement(probs, most.members) == metrics.pairwise_disagreement(probs).max()


def test_a_choice_step_by_step_needs_the_rows_of_few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    probs, labels = pool(5, p=12)
    wanted = [selection.select(method, probs, labels, 3, "brier").members for method in ("exhaustive", "beam")]
    assert wanted[0] == tuple(sorted(wanted[1]))  # the same numbers, from the whole matrix and from rows
    made: list[int] = []

    def whole(form: Quadratic) -> None:
        raise AssertionError("all pairs")

    row = Quadratic._row
    monkeypatch.setattr(Quadratic, "matrix", property(whole))
    monkeypatch.setattr(Quadratic, "_row", lambda form, index: made.append(index) or row(form, index))
    selection.greedy(probs, labels, 3, objective="brier")
    assert set(made) <= set(range(12)) and len(set(made)) <= 3
    selection.select("diversity_weighted", probs, labels, 3)
    with pytest.raises(AssertionError, match="all pairs"):
        selection.exhaustive(probs, labels, 3, "brier")


def test_a_form_has_the_values_of_its_matrix() -> None:
    rng = np.random.default_rng(0)
    root = rng.standard_normal((6, 4))
    matrix = root @ root.T
    form = Quadratic(lambda indices: matrix if indices is None else matrix[indices], np.diagonal(matrix))
    counts, indices = np.array([2.0, 0, 1, 0, 0, 3]), np.array([0, 3, 4])
    for value, index in zip(form.options(counts, indices), indices, strict=True):
        more = counts + np.eye(6)[index]
        assert value == pytest.approx(more @ matrix @ more)
