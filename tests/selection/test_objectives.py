"""Objectives by name and as functions."""

from __future__ import annotations

import numpy as np
import pytest

from nni_hypens import metrics, selection
from nni_hypens.errors import InputError
from tests.support.selection_pools import plain_score, pool


def test_a_function_as_objective() -> None:
    probs, labels = pool(1)
    for method in selection.METHODS:
        by_name = selection.select(method, probs, labels, 3, "brier")
        by_function = selection.select(method, probs, labels, 3, metrics.brier)
        assert by_function.indices == by_name.indices
        assert by_function.score == pytest.approx(by_name.score, abs=1e-12)
    with pytest.raises(InputError, match="objective: got NaN"):
        selection.exhaustive(probs, labels, 2, lambda mean, y: float("nan"))


@pytest.mark.parametrize("objective", selection.OBJECTIVES)
def test_candidates_that_are_always_right_and_always_wrong(objective: str) -> None:
    probs = np.zeros((3, 4, 2))
    probs[:2, :, 0], probs[2, :, 1] = 1, 1
    for labels, best in ((np.zeros(4, dtype=int), 0), (np.ones(4, dtype=int), 2)):
        for method in selection.METHODS:
            result = selection.select(method, probs, labels, 2, objective)
            mean = np.tensordot(result.weights, probs[list(result.members)], axes=1)
            assert result.score == pytest.approx(plain_score(mean, labels, objective), abs=1e-12)
        assert selection.greedy(probs, labels, 1, objective=objective).indices == (best,)
