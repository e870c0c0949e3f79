"""Metrics against scikit-learn, plain loops and hand-worked numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss

from nni_hypens import metrics
from nni_hypens.errors import InputError


def make(seed: int, n: int = 40, c: int = 4, members: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = (n,) if members is None else (members, n)
    return rng.dirichlet(np.full(c, 0.5), size=shape), rng.integers(0, c, n)


def plain_ece(probs: np.ndarray, labels: np.ndarray, n_bins: int) -> float:
    """Loop over bins, from the definition."""
    confidence, top = probs.max(1), probs.argmax(1)
    total = 0.0
    for b in range(n_bins):
        low, high = b / n_bins, (b + 1) / n_bins
        inside = [i for i in range(len(labels)) if low <= confidence[i] < high]
        if inside:
            gap = np.mean([top[i] == labels[i] for i in inside]) - np.mean([confidence[i] for i in inside])
            total += len(inside) / len(labels) * abs(gap)
    return total


@pytest.mark.parametrize("seed", range(5))
def test_accuracy_and_nll_match_sklearn(seed: int) -> None:
    probs, labels = make(seed)
    assert metrics.accuracy(probs, labels) == pytest.approx(accuracy_score(labels, probs.argmax(1)))
    assert metrics.nll(probs, labels) == pytest.approx(log_loss(labels, probs, labels=range(4)), rel=1e-9)


@pytest.mark.parametrize("n_bins", [1, 7, 15])
@pytest.mark.parametrize("seed", range(3))
def test_ece_matches_a_plain_loop(seed: int, n_bins: int) -> None:
    probs, labels = make(seed, n=200)
    assert metrics.ece(probs, labels, n_bins) == pytest.approx(plain_ece(probs, labels, n_bins), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 50), c=st.integers(2, 6))
def test_ranges_and_brier_reference(seed: int, n: int, c: int) -> None:
    probs, labels = make(seed, n, c)
    reference = np.mean([sum((probs[i, k] - (labels[i] == k)) ** 2 for k in range(c)) for i in range(n)])
    assert metrics.brier(probs, labels) == pytest.approx(reference)
    result = metrics.summary(probs, labels)
    assert list(result) == ["accuracy", "nll", "ece", "brier", "aurc"]
    assert all(type(value) is float for value in result.values())
    assert 0 <= result["accuracy"] <= 1 and 0 <= result["ece"] <= 1
    assert 0 <= result["brier"] <= 2 and 0 <= result["nll"] <= 27.64


def test_extremes_are_hand_worked() -> None:
    right, wrong = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])
    labels = np.array([0, 1])
    assert metrics.summary(right, labels) == {"accuracy": 1.0, "nll": 0.0, "ece": 0.0, "brier": 0.0, "aurc": 0.0}
    assert metrics.brier(wrong, labels) == 2.0
    assert metrics.nll(wrong, labels) == pytest.approx(12 * np.log(10))
    assert metrics.ece(wrong, labels) == pytest.approx(1.0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 20), c=st.integers(2, 8))
def test_top_k_matches_a_plain_sort(seed: int, n: int, c: int) -> None:
    """Ranks of a stable sort, with ties, which coarse probabilities have."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 4, (n, c))
    probs, labels = counts / counts.sum(1, keepdims=True), rng.integers(0, c, n)
    ranks = [sorted(range(c), key=lambda k: -row[k]).index(label) for row, label in zip(counts, labels, strict=True)]
    wanted = {f"top_k_{k}": np.mean([rank < k for rank in ranks]) for k in range(2, min(5, c - 1) + 1)}
    assert metrics.top_k(probs, labels) == pytest.approx(wanted)
    assert np.mean([rank < 1 for rank in ranks]) == pytest.approx(metrics.accuracy(probs, labels))
    assert list(metrics.top_k(probs, labels, largest=2)) == (["top_k_2"] if c > 2 else [])


def test_rounding_above_one_is_not_taken_for_logits() -> None:
    probs = np.array([[1.0000002, 0.0], [0.0, 1.0]], dtype=np.float32)
    assert metrics.ece(probs, np.array([0, 1])) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_reliability_gives_back_the_ece(seed: int) -> None:
    probs, labels = make(seed, n=100)
    data = metrics.reliability(probs, labels)
    assert data.confidence.shape == data.accuracy.shape == data.count.shape == (15,)
    assert data.count.sum() == 100
    empty = data.count == 0
    assert empty.any() and np.isnan(data.confidence[empty]).all() and np.isnan(data.accuracy[empty]).all()
    gaps = np.abs(data.accuracy - data.confidence)[~empty]
    assert (gaps * data.count[~empty]).sum() / 100 == pytest.approx(metrics.ece(probs, labels), abs=1e-6)


def test_reliability_bins_by_hand() -> None:
    probs = np.array([[0.5, 0.5], [0.62, 0.38], [1.0, 0.0], [0.05, 0.95]])
    data = metrics.reliability(probs, np.array([0, 1, 0, 1]), n_bins=2)
    assert data.count.tolist() == [0, 4]
    data = metrics.reliability(probs, np.array([0, 1, 0, 1]), n_bins=10)
    assert data.count.tolist() == [0, 0, 0, 0, 0, 1, 1, 0, 0, 2]
    assert data.confidence[[5, 6, 9]].tolist() == pytest.approx([0.5, 0.62, 0.975])
    assert data.accuracy[[5, 6, 9]].tolist() == [1.0, 0.0, 1.0]


def test_nll_of_each_is_that_of_each() -> None:
    probs, labels = make(5, n=20, members=3)
    probs[0, 0] = np.eye(4)[(labels[0] + 1) % 4]  # an impossible label
    assert metrics.nll_of_each(probs, labels) == pytest.approx([metrics.nll(one, labels) for one in probs])
    with pytest.raises(InputError, match=r"labels: got shape \(19,\); expected shape \(20,\)"):
        metrics.nll_of_each(probs, labels[1:])


GOOD = np.full((3, 2), 0.5)
LABELS = np.array([0, 1, 0])


@pytest.mark.parametrize(
    ("probs", "labels", "message"),
    [
        (GOOD * 3, LABELS, r"probs: got .* sum to 3; expected sums of 1"),
        (np.array([[np.nan, 1], [0, 1], [0, 1]]), LABELS, r"probs: got 1 NaN or infinite"),
        (np.array([[1.5, -0.5]] * 3), LABELS, r"probs: got a negative value, -0.5"),
        (GOOD[0], LABELS, r"probs: got shape \(2,\)"),
        (GOOD[:0], LABELS[:0], r"probs: got shape \(0, 2\)"),
        (np.ones((3, 1)), LABELS, r"probs: got shape \(3, 1\)"),
        (np.array([[1, 0]] * 3), LABELS, r"probs: got dtype int64"),
        (GOOD, LABELS[:2], r"labels: got shape \(2,\); expected shape \(3,\)"),
        (GOOD, np.array([0, 1, 2]), r"labels: got values 0\.\.2; expected values 0\.\.1"),
        (GOOD, np.array([0, 1, -1]), r"labels: got values -1\.\.1"),
        (GOOD, LABELS.astype(float), r"labels: got dtype float64"),
    ],
)
@pytest.mark.parametrize(
    "function",
    [metrics.accuracy, metrics.nll, metrics.ece, metrics.brier, metrics.summary, metrics.reliability, metrics.top_k],
)
def test_bad_input_is_named(function, probs, labels, message: str) -> None:
    with pytest.raises(InputError, match=message):
        function(probs, labels)


def test_bad_bins_are_named() -> None:
    for function in (metrics.ece, metrics.reliability):
        with pytest.raises(InputError, match="n_bins: got 0"):
            function(GOOD, LABELS, n_bins=0)


@pytest.mark.parametrize("seed", range(4))
def test_aurc_matches_a_plain_loop_and_bounds(seed: int) -> None:
    probs, labels = make(seed, n=60)
    order = np.argsort(-probs.max(1))
    wrong = [int(probs[i].argmax() != labels[i]) for i in order]
    risks = [sum(wrong[:k]) / k for k in range(1, len(wrong) + 1)]
    assert metrics.aurc(probs, labels) == pytest.approx(np.mean(risks))
    best = [sum(sorted(wrong)[:k]) / k for k in range(1, len(wrong) + 1)]
    assert metrics.aurc(probs, labels, excess=True) == pytest.approx(np.mean(risks) - np.mean(best))


def test_aurc_by_hand() -> None:
    """The error is the least sure, the surest, or as sure as the others: then the mean over the three orders."""
    labels = np.zeros(3, dtype=int)
    last = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]])
    assert metrics.aurc(last, labels) == pytest.approx(1 / 9)
    assert metrics.aurc(last, labels, excess=True) == pytest.approx(0)
    first = np.array([[0.6, 0.4], [0.7, 0.3], [0.1, 0.9]])
    assert metrics.aurc(first, labels) == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    tied = np.array([[0.8, 0.2], [0.8, 0.2], [0.2, 0.8]])
    orders = [(0 + 0 + 1 / 3) / 3, (0 + 1 / 2 + 1 / 3) / 3, (1 + 1 / 2 + 1 / 3) / 3]
    assert metrics.aurc(tied, labels) == pytest.approx(np.mean(orders))


def test_confusion_matches_sklearn() -> None:
    generator = np.random.default_rng(0)
    probs, labels = generator.dirichlet(np.ones(4), 50), generator.integers(0, 3, 50)  # no example of the last class
    wanted = confusion_matrix(labels, probs.argmax(1), labels=range(4))
    assert metrics.confusion(probs, labels).tolist() == wanted.tolist() and not wanted[3].any()
