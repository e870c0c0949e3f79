"""Selection against brute force in plain numpy, and properties that hold for every pool."""

from __future__ import annotations

import tracemalloc
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nni_hypens import metrics, selection, selection_scores
from nni_hypens.errors import InputError

SEEDS = st.integers(0, 2**32 - 1)


def pool(seed: int, p: int = 6, n: int = 30, c: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(c, 0.7), size=(p, n)), rng.integers(0, c, n)


def plain_score(mean: np.ndarray, labels: np.ndarray, objective: str) -> float:
    if objective == "nll":
        return float(np.mean([-np.log(max(row[label], 1e-12)) for row, label in zip(mean, labels, strict=True)]))
    if objective == "brier":
        return float(
            np.mean([sum((row - np.eye(len(row))[label]) ** 2) for row, label in zip(mean, labels, strict=True)])
        )
    return float(np.mean([np.argmax(row) != label for row, label in zip(mean, labels, strict=True)]))


def plain_exhaustive(probs: np.ndarray, labels: np.ndarray, size: int, objective: str) -> tuple[tuple[int, ...], float]:
    scores = {c: plain_score(probs[list(c)].mean(0), labels, objective) for c in combinations(range(len(probs)), size)}
    best = min(scores.values())
    return next(c for c, score in scores.items() if score <= best + 1e-12), best


def plain_greedy(probs: np.ndarray, labels: np.ndarray, size: int, repeat: bool, objective: str) -> list[int]:
    chosen: list[int] = []
    for _ in range(size):
        scores = {
            i: plain_score(probs[[*chosen, i]].mean(0), labels, objective)
            for i in range(len(probs))
            if repeat or i not in chosen
        }
        best = min(scores.values())
        chosen.append(next(i for i, score in scores.items() if score <= best + 1e-12))
    return chosen


@pytest.mark.parametrize("objective", selection.OBJECTIVES)
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, size=st.integers(1, 6))
def test_exhaustive_is_brute_force(objective: str, seed: int, size: int) -> None:
    probs, labels = pool(seed)
    indices, score = plain_exhaustive(probs, labels, size, objective)
    result = selection.exhaustive(probs, labels, size, objective)
    assert result.indices == result.members == indices
    assert result.score == pytest.approx(score, abs=1e-12)
    assert result.weights == pytest.approx(np.full(size, 1 / size))
    assert result.method == "exhaustive"


@pytest.mark.parametrize("objective", selection.OBJECTIVES)
@pytest.mark.parametrize("repeat", [False, True])
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, size=st.integers(1, 6))
def test_greedy_is_the_plain_reference(objective: str, repeat: bool, seed: int, size: int) -> None:
    probs, labels = pool(seed)
    expected = plain_greedy(probs, labels, size, repeat, objective)
    result = selection.greedy(probs, labels, size, repeat, objective)
    assert list(result.indices) == expected
    assert result.score == pytest.approx(plain_score(probs[expected].mean(0), labels, objective), abs=1e-12)
    assert set(result.members) == set(expected) and len(set(result.members)) == len(result.members)
    assert result.weights == pytest.approx([expected.count(member) / size for member in result.members])


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
@given(seed=SEEDS, size=st.integers(1, 6))
def test_methods_are_ordered(seed: int, size: int) -> None:
    """One pick is the best single, and no greedy choice beats the exhaustive one of its size."""
    probs, labels = pool(seed)
    singles = [metrics.nll(p, labels) for p in probs]
    assert selection.greedy(probs, labels, 1).score == pytest.approx(min(singles))
    greedy = selection.greedy(probs, labels, size)
    assert greedy.indices[0] == int(np.argmin(singles))
    assert selection.exhaustive(probs, labels, size).score <= greedy.score + 1e-12


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


@pytest.mark.parametrize("objective", selection.OBJECTIVES)
@pytest.mark.parametrize("size", range(1, 7))
def test_equal_candidates_leave_the_first_combination(size: int, objective: str) -> None:
    probs, labels = pool(0, p=1)
    same = np.repeat(probs, 7, axis=0)
    assert selection.exhaustive(same, labels, size, objective).indices == tuple(range(size))
    assert selection.greedy(same, labels, size, objective=objective).indices == tuple(range(size))
    assert selection.greedy(same, labels, size, True, objective).indices == (0,) * size


@pytest.mark.parametrize("objective", selection.OBJECTIVES)
def test_order_of_summation_does_not_break_ties(objective: str) -> None:
    """Candidate 3 repeats candidate 0, so (1, 2, 3) ties with (0, 1, 2) but for rounding, and must never win."""
    for seed in range(60):
        probs, labels = pool(seed, p=3)
        result = selection.exhaustive(probs[[0, 1, 2, 0]], labels, 3, objective)
        assert result.indices != (1, 2, 3)


def test_chunks_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    probs, labels = pool(3, p=9)
    whole = {objective: selection.exhaustive(probs, labels, 4, objective) for objective in selection.OBJECTIVES}
    for values in (1, 31, 1000):
        monkeypatch.setattr(selection_scores, "_CHUNK_VALUES", values)
        monkeypatch.setattr(selection_scores, "_CHUNK_ROWS", values)
        for objective in selection.OBJECTIVES:
            parts = selection.exhaustive(probs, labels, 4, objective)
            assert parts.indices == whole[objective].indices
            assert parts.score == pytest.approx(whole[objective].score, abs=1e-14)


def test_a_function_as_objective() -> None:
    probs, labels = pool(1)
    for method in selection.METHODS:
        by_name = selection.select(method, probs, labels, 3, "brier")
        by_function = selection.select(method, probs, labels, 3, metrics.brier)
        assert by_function.indices == by_name.indices
        assert by_function.score == pytest.approx(by_name.score, abs=1e-12)
    with pytest.raises(InputError, match="objective: got NaN"):
        selection.exhaustive(probs, labels, 2, lambda mean, y: float("nan"))


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


def test_a_large_pool_stays_small_in_memory() -> None:
    probs, labels = pool(2, p=24, n=200)
    tracemalloc.start()
    selection.exhaustive(probs, labels, 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6  # 10,626 combinations x 200 examples at once would be 17 MB


PROBS, LABELS = pool(0)


@pytest.mark.parametrize("method", selection.METHODS)
@pytest.mark.parametrize(
    ("probs", "labels", "size", "message"),
    [
        (PROBS, LABELS, 0, "size: got 0; expected an integer of at least 1"),
        (PROBS, LABELS, True, "size: got True"),
        (PROBS, LABELS, 2.0, "size: got 2.0"),
        (PROBS * np.nan, LABELS, 2, "probs: got NaN in every candidate"),
        (np.log(PROBS), LABELS, 2, "probs: got values -"),
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


def test_limits_are_named() -> None:
    for method in ("exhaustive", "greedy"):
        with pytest.raises(InputError, match="size: got 7; expected at most 6"):
            selection.select(method, PROBS, LABELS, 7)
    assert len(selection.select("greedy_with_replacement", PROBS, LABELS, 7).indices) == 7
    with pytest.raises(
        InputError, match="method: got 'best'; expected one of exhaustive, greedy, greedy_with_replacement"
    ):
        selection.select("best", PROBS, LABELS, 2)
    with pytest.raises(InputError, match="objective: got 'auc'; expected one of nll, brier, error"):
        selection.exhaustive(PROBS, LABELS, 2, "auc")
    big = np.full((60, 1, 2), 0.5)
    with pytest.raises(InputError, match="size: got 6 of 60 candidates, 50063860 combinations; .* greedy"):
        selection.exhaustive(big, np.array([0]), 6)
