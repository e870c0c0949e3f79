"""Checked arguments, candidates that are left out, and ties."""

from __future__ import annotations

import numpy as np
import pytest

from nni_hypens import selection
from nni_hypens.errors import InputError
from tests.support.selection_pools import LABELS, PROBS, pool


@pytest.mark.parametrize("method", selection.METHODS)
@pytest.mark.parametrize(
    ("probs", "labels", "size", "message"),
    [
        (PROBS, LABELS, 0, "size: got 0; expected .*at least 1"),
        (PROBS, LABELS, True, "size: got True"),
        (PROBS, LABELS, 2.0, "size: got 2.0"),
        (PROBS * np.nan, LABELS, 2, "probs: got NaN in every candidate"),
        (np.log(PROBS), LABELS, 2, r"probs\[0\]: got a negative value"),
        (PROBS[0], LABELS, 2, r"probs: got shape \(30, 3\)"),
        (PROBS[:0], LABELS, 2, r"probs: got shape \(0, 30, 3\)"),
        (PROBS, LABELS[:-1], 2, r"labels: got shape \(29,\)"),
        (PROBS, LABELS + 1, 2, r"labels: got values 1\.\.3; expected values 0\.\.2"),
        (PROBS, LABELS * 0.5, 2, "labels: got .* float64"),
    ],
)
def test_bad_input_is_named(method: str, probs: np.ndarray, labels: np.ndarray, size: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        selection.select(method, probs, labels, size)


@pytest.mark.parametrize("method", selection.METHODS)
def test_a_candidate_with_nan_is_left_out_and_named(method: str) -> None:
    probs, labels = pool(6)
    broken = probs.copy()
    broken[1, 2, 0] = np.nan
    whole = selection.select(method, np.delete(probs, 1, axis=0), labels, 3)
    costs = {"params": [1, 100, 1, 1, 1, 1]}
    result = selection.select(method, broken, labels, 3, costs=costs, limits={"params": 3})
    assert result.excluded == (1,)
    assert result.indices == tuple(i + (i >= 1) for i in whole.indices)
    assert result.score == pytest.approx(whole.score)
    if method != "greedy_with_replacement":
        with pytest.raises(InputError, match=r"size: got 6; expected at most 5, .*1 more hold a NaN"):
            selection.select(method, broken, labels, 6)


@pytest.mark.parametrize("objective", selection.OBJECTIVES)
def test_order_of_summation_does_not_break_ties(objective: str) -> None:
    """Candidate 3 repeats candidate 0, so (1, 2, 3) ties with (0, 1, 2) but for rounding, and must never win."""
    for seed in range(60):
        probs, labels = pool(seed, p=3)
        result = selection.exhaustive(probs[[0, 1, 2, 0]], labels, 3, objective)
        assert result.indices != (1, 2, 3)
