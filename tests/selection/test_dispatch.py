"""What holds for every method by its name, and the options that belong to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nni_hypens import metrics, selection
from nni_hypens.errors import InputError
from nni_hypens.selection.dispatch import try_options
from tests.support.selection_pools import LABELS, PROBS, SEEDS, pool


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("beam", {"objective": "acuracy"}, "^options.objective"),
        ("beam", {"size": 9}, "^options.size"),
        ("exhaustive", {"size": 9}, "^options.size"),
        ("exhaustive", {"size": 0}, "^options.size"),
        ("beam", {"width": 0}, "^options.width"),
        ("beam", {"costs": {}}, "^options.costs: got an option; expected none: the run gives them"),
        ("greedy", {"width": 3}, "^option of greedy"),
    ],
)
def test_options_are_tried_before_there_are_candidates(method: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        try_options(method, options, 3, 8)
    try_options(method, {}, 3, 8)


def test_trying_takes_no_time_and_calls_no_function_of_the_user() -> None:
    try_options("exhaustive", {"objective": lambda probs, labels: 1 / 0}, 3, 100)
    try_options("greedy_with_replacement", {"size": 30, "max_members": 5}, 3, 8)
    with pytest.raises(InputError, match=r"^options\.size: got .* combinations"):
        try_options("exhaustive", {}, 9, 100)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, size=st.integers(1, 5), method=st.sampled_from(selection.METHODS))
def test_score_is_the_objective_of_the_weighted_mean(seed: int, size: int, method: str) -> None:
    probs, labels = pool(seed)
    result = selection.select(method, probs, labels, size)
    mean = np.tensordot(result.weights, probs[list(result.members)], axes=1)
    assert result.method == method
    assert result.weights.sum() == pytest.approx(1)
    assert len(result.indices) == size
    assert result.score == pytest.approx(metrics.nll(mean, labels), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, size=st.integers(1, 5), method=st.sampled_from(selection.METHODS), data=st.data())
def test_permuting_the_pool_permutes_the_choice(seed: int, size: int, method: str, data: st.DataObject) -> None:
    probs, labels = pool(seed)
    order = data.draw(st.permutations(range(len(probs))))
    direct = selection.select(method, probs, labels, size)
    permuted = selection.select(method, probs[order], labels, size)
    assert permuted.score == pytest.approx(direct.score, abs=1e-12)
    assert sorted(order[i] for i in permuted.indices) == sorted(direct.indices)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, size=st.integers(1, 6), method=st.sampled_from(selection.METHODS))
def test_order_of_examples_does_not_matter(seed: int, size: int, method: str) -> None:
    probs, labels = pool(seed)
    order = np.random.default_rng(seed).permutation(len(labels))
    direct = selection.select(method, probs, labels, size)
    assert selection.select(method, probs[:, order], labels[order], size).indices == direct.indices


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limits": {"params": 3}}, "limits.params: got 3; expected a limit on one of: costs"),
        ({"costs": {"flops": [1.0] * 6}, "limits": {"params": 3}}, "limits.params: got 3; .* one of: flops"),
        ({"costs": {"params": [1.0] * 5}}, r"costs.params: got shape \(5,\)"),
        ({"costs": {"params": [np.nan] * 6}}, "costs.params: got values nan"),
        ({"costs": {"params": [-1] * 6}}, "costs.params: got values -1"),
        ({"costs": {"params": [1] * 6}, "limits": {"params": "3"}}, "limits.params: got '3'"),
        ({"costs": {"params": [1] * 6}, "limits": {"params": float("nan")}}, "limits.params: got nan"),
        ({"diversity_weight": -1}, "diversity_weight: got -1"),
        ({"diversity_weight": float("nan")}, "diversity_weight: got nan"),
        ({"max_members": 0}, "max_members: got 0"),
        ({"max_members": 1}, "max_members: got 1; expected at least 2"),
        ({"max_member": 1}, "option of greedy: got 'max_member'; .*nearest: max_members"),
    ],
)
def test_options_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        selection.select("greedy", PROBS, LABELS, 2, **options)


def test_options_belong_to_methods() -> None:
    with pytest.raises(InputError, match="option of top_k: got 'diversity_weight'"):
        selection.select("top_k", PROBS, LABELS, 2, diversity_weight=1)
    with pytest.raises(InputError, match="width: got 0"):
        selection.beam(PROBS, LABELS, 2, width=0)
    with pytest.raises(InputError, match="method: .*nearest: beam"):
        selection.select("baem", PROBS, LABELS, 2)
