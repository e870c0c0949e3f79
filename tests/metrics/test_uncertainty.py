"""Uncertainty and gains against scipy, scikit-learn, brute force and hand-worked numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import entropy

from nni_hypens import metrics
from nni_hypens.errors import InputError
from nni_hypens.metrics import uncertainty
from nni_hypens.selection.methods import exhaustive


def make(seed: int, m: int = 3, n: int = 40, c: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(c, 0.5), size=(m, n)), rng.integers(0, c, n), rng.dirichlet(np.ones(m))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), m=st.integers(1, 5), c=st.integers(2, 6))
def test_entropy_split_matches_scipy(seed: int, m: int, c: int) -> None:
    probs, _, weights = make(seed, m, 10, c)
    split = uncertainty.entropy_split(probs, weights)
    mean = np.einsum("m,mnc->nc", weights, probs)
    assert split.total == pytest.approx(entropy(mean, axis=1))
    assert split.aleatoric == pytest.approx(weights @ entropy(probs, axis=2), abs=1e-12)
    # mutual information is the mean divergence from the average
    assert split.epistemic == pytest.approx(weights @ entropy(probs, mean[None], axis=2), abs=1e-9)
    assert (split.epistemic >= 0).all() and (split.epistemic <= np.log(m) + 1e-9).all()


def test_entropy_split_ends() -> None:
    same = np.tile([[[0.5, 0.5]]], (2, 1, 1))
    assert uncertainty.entropy_split(same) == pytest.approx(np.array([[np.log(2)], [np.log(2)], [0]]))
    opposite = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert uncertainty.entropy_split(opposite) == pytest.approx(np.array([[np.log(2)], [0], [np.log(2)]]))


def test_ood_auroc_is_the_share_of_pairs() -> None:
    rng = np.random.default_rng(0)
    inside, outside = rng.integers(0, 5, 30), rng.integers(2, 7, 20)
    pairs = [(b > a) + 0.5 * (a == b) for a in inside for b in outside]
    assert uncertainty.ood_auroc(inside, outside) == pytest.approx(np.mean(pairs))
    assert uncertainty.ood_auroc([0.0], [1.0]) == 1 and uncertainty.ood_auroc([1.0], [1.0]) == 0.5


def test_ood_scores_are_the_named_quantities() -> None:
    probs, _, weights = make(1)
    average = np.einsum("m,mnc->nc", weights, probs)
    scores = uncertainty.ood_scores(probs, weights, average)
    assert scores["entropy"] == pytest.approx(entropy(average, axis=1))
    assert scores["confidence"] == pytest.approx(1 - average.max(1))
    assert list(scores) == ["entropy", "mutual_information", "confidence"]


@pytest.mark.parametrize("seed", range(4))
def test_marginal_and_swap_gains_by_brute_force(seed: int) -> None:
    probs, labels, weights = make(seed, m=3)
    others = make(seed + 100, m=4)[0]
    whole = metrics.nll(np.einsum("m,mnc->nc", weights, probs), labels)
    for index, gain in enumerate(uncertainty.marginal_gains(probs, labels, weights)):
        kept = [i for i in range(3) if i != index]
        without = sum(weights[i] * probs[i] for i in kept) / sum(weights[i] for i in kept)
        assert gain == pytest.approx(metrics.nll(without, labels) - whole)
    for index, (gain, replacement) in enumerate(uncertainty.swap_gains(probs, others, labels, weights)):
        losses = []
        for other in others:
            swapped = probs.copy()
            swapped[index] = other
            losses.append(metrics.nll(np.einsum("m,mnc->nc", weights, swapped), labels))
        assert gain == pytest.approx(min(losses) - whole) and replacement == int(np.argmin(losses))


def test_no_swap_improves_on_an_exhaustive_search() -> None:
    pool, labels, _ = make(5, m=7)
    chosen = list(exhaustive(pool, labels, 3).members)
    others = [i for i in range(7) if i not in chosen]
    assert all(gain >= -1e-12 for gain, _ in uncertainty.swap_gains(pool[chosen], pool[others], labels))


def test_one_member_has_nothing_to_compare_with() -> None:
    probs, labels, _ = make(0, m=1)
    assert uncertainty.marginal_gains(probs, labels) == [None]
    assert uncertainty.swap_gains(probs, np.empty(0), labels) == [None]


@pytest.mark.filterwarnings("error")
def test_without_the_only_member_of_weight_nothing_is_left() -> None:
    probs, labels, _ = make(0, m=3)
    first, only, last = uncertainty.marginal_gains(probs, labels, [0.0, 1.0, 0.0])
    assert only is None and [first, last] == pytest.approx([0.0, 0.0])


def test_bad_input_is_named() -> None:
    probs, labels, _ = make(0)
    with pytest.raises(InputError, match="weights"):
        uncertainty.entropy_split(probs, [0.5, 0.6, 0.7])
    with pytest.raises(InputError, match="outside"):
        uncertainty.ood_auroc([0.5], [])
    with pytest.raises(InputError, match="probs"):
        uncertainty.entropy_split(probs[0])
