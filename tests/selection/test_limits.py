"""Limits on what members cost together, against every combination."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

from nni_hypens import selection
from nni_hypens.errors import InputError
from tests.support.selection_pools import SEEDS, plain_score, pool


@settings(max_examples=40, deadline=None)
@example(seed=128, size=5, share=0.3333333333333289, method="exhaustive")  # below the sum by rounding alone
@given(seed=SEEDS, size=st.integers(1, 5), share=st.floats(0, 1), method=st.sampled_from(selection.METHODS))
def test_a_limit_is_kept_whenever_it_can_be(seed: int, size: int, share: float, method: str) -> None:
    probs, labels = pool(seed)
    costs = np.random.default_rng(seed).integers(1, 10, 6)
    least, most = np.sort(costs)[:size].sum(), costs.sum()
    limit = least + share * (most - least)
    result = selection.select(method, probs, labels, size, costs={"params": costs}, limits={"params": limit})
    limit *= 1 + 1e-12  # a sum that is above it by rounding alone keeps it
    assert costs[list(result.members)].sum() <= limit
    assert len(result.indices) == size
    if method == "exhaustive":
        possible = [combo for combo in combinations(range(6), size) if costs[list(combo)].sum() <= limit]
        scores = [plain_score(probs[list(combo)].mean(0), labels, "nll") for combo in possible]
        assert result.indices == possible[int(np.argmin(scores))]


def test_several_limits_and_limits_that_cannot_be_kept() -> None:
    probs, labels = pool(0)
    costs = {"params": np.array([1, 2, 3, 4, 5, 6]), "ms": np.array([6.0, 5, 4, 3, 2, 1])}
    for method in selection.METHODS:
        result = selection.select(method, probs, labels, 2, costs=costs, limits={"params": 7, "ms": 7.0})
        assert costs["params"][list(result.members)].sum() <= 7 and costs["ms"][list(result.members)].sum() <= 7
        with pytest.raises(InputError, match="limits.params: got 0.5; expected at least [13]"):
            selection.select(method, probs, labels, 2, costs=costs, limits={"params": 0.5})
    with pytest.raises(InputError, match="limits: got params, ms; expected limits that 2 candidates can keep together"):
        selection.exhaustive(probs, labels, 2, costs=costs, limits={"params": 6, "ms": 6})
    for method in ("greedy", "beam", "top_k"):
        with pytest.raises(InputError, match="limits: got params, ms"):
            selection.select(method, probs, labels, 2, costs=costs, limits={"params": 6, "ms": 6})
