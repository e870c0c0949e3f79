"""Methods of selection against brute force in plain numpy."""

from __future__ import annotations

import tracemalloc
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nni_hypens import metrics, selection
from nni_hypens.errors import InputError
from tests.support.selection_pools import LABELS, PROBS, SEEDS, plain_score, pool


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


@pytest.mark.parametrize("start", [[4], [2, 0]])
def test_greedy_goes_on_from_a_start(start: list[int]) -> None:
    probs, labels = pool(3)
    probs[1, 0] = np.nan  # indices are those of the whole pool
    chosen = list(start)
    while len(chosen) < 4:
        scores = {
            i: plain_score(probs[[*chosen, i]].mean(0), labels, "nll") for i in (0, 2, 3, 4, 5) if i not in chosen
        }
        chosen.append(min(scores, key=scores.__getitem__))
    found = selection.greedy(probs, labels, 4, start=start)
    assert list(found.indices) == chosen and len(found.history) == 4
    for bad in ([1], [9], [0, 0], [0, 2, 3, 4, 5]):
        with pytest.raises(InputError, match="^start: got"):
            selection.greedy(probs, labels, 4, start=bad)


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
@given(seed=SEEDS, size=st.integers(1, 6))
def test_methods_are_ordered(seed: int, size: int) -> None:
    """One pick is the best single, and no greedy choice beats the exhaustive one of its size."""
    probs, labels = pool(seed)
    singles = [metrics.nll(p, labels) for p in probs]
    assert selection.greedy(probs, labels, 1).score == pytest.approx(min(singles))
    greedy = selection.greedy(probs, labels, size)
    assert greedy.indices[0] == int(np.argmin(singles))
    assert selection.exhaustive(probs, labels, size).score <= greedy.score + 1e-12


@pytest.mark.parametrize("objective", selection.OBJECTIVES)
@pytest.mark.parametrize("size", range(1, 7))
def test_equal_candidates_leave_the_first_combination(size: int, objective: str) -> None:
    probs, labels = pool(0, p=1)
    same = np.repeat(probs, 7, axis=0)
    assert selection.exhaustive(same, labels, size, objective).indices == tuple(range(size))
    assert selection.greedy(same, labels, size, objective=objective).indices == tuple(range(size))
    assert selection.greedy(same, labels, size, True, objective).indices == (0,) * size


def test_a_large_pool_stays_small_in_memory() -> None:
    probs, labels = pool(2, p=24, n=200)
    tracemalloc.start()
    selection.exhaustive(probs, labels, 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6  # 10,626 combinations x 200 examples at once would be 17 MB


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


def plain_beam(probs: np.ndarray, labels: np.ndarray, size: int, width: int, objective: str) -> list[int]:
    kept: list[list[int]] = [[]]
    for _ in range(size):
        found: dict[tuple[int, ...], tuple[float, list[int]]] = {}
        for path in kept:
            for i in sorted(set(range(len(probs))) - set(path)):
                score = plain_score(probs[[*path, i]].mean(0), labels, objective)
                found.setdefault(tuple(sorted([*path, i])), (score, [*path, i]))
        ranked = sorted(found, key=lambda members: (round(found[members][0], 12), members))
        kept = [found[members][1] for members in ranked[:width]]
    return kept[0]


@pytest.mark.parametrize("objective", selection.OBJECTIVES)
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, size=st.integers(1, 5), width=st.integers(1, 4))
def test_beam_is_the_plain_reference(objective: str, seed: int, size: int, width: int) -> None:
    probs, labels = pool(seed, p=7)
    expected = plain_beam(probs, labels, size, width, objective)
    result = selection.beam(probs, labels, size, objective, width=width)
    assert list(result.indices) == expected
    assert len(result.history) == size and result.history[-1] == pytest.approx(result.score, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, size=st.integers(1, 5))
def test_beam_lies_between_greedy_and_exhaustive(seed: int, size: int) -> None:
    probs, labels = pool(seed, p=7)
    assert selection.beam(probs, labels, size, width=1).indices == selection.greedy(probs, labels, size).indices
    wide = selection.beam(probs, labels, size, width=35)  # every ensemble of up to three or four of seven
    best = selection.exhaustive(probs, labels, size)
    assert sorted(wide.members) == list(best.members)
    assert wide.score == pytest.approx(best.score, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, size=st.integers(1, 6), objective=st.sampled_from(selection.OBJECTIVES))
def test_top_k_is_the_order_of_single_scores(seed: int, size: int, objective: str) -> None:
    probs, labels = pool(seed)
    singles = [plain_score(p, labels, objective) for p in probs]
    result = selection.top_k(probs, labels, size, objective)
    assert list(result.indices) == sorted(range(6), key=lambda i: (round(singles[i], 12), i))[:size]
    assert result.history == pytest.approx([singles[i] for i in result.indices], abs=1e-12)
    assert result.score == pytest.approx(plain_score(probs[list(result.members)].mean(0), labels, objective), abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, size=st.integers(1, 5), objective=st.sampled_from(selection.OBJECTIVES))
def test_another_candidate_never_worsens_the_best(seed: int, size: int, objective: str) -> None:
    probs, labels = pool(seed)
    fewer = selection.exhaustive(probs[:-1], labels, size, objective).score
    assert selection.exhaustive(probs, labels, size, objective).score <= fewer + 1e-12


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, most=st.integers(1, 4))
def test_repeats_are_of_so_many_members(seed: int, most: int) -> None:
    probs, labels = pool(seed)
    result = selection.greedy(probs, labels, 12, True, max_members=most)
    assert len(result.members) <= most and len(result.indices) == 12
    if most == 1:
        assert result.weights.tolist() == [1.0]


@pytest.mark.parametrize("repeat", [False, True])
def test_deephyper_chooses_no_better(repeat: bool) -> None:
    """Their greedy selector on the same predictions: without replacement the same members; with it, theirs may not
    repeat its first member in the second step, so ours may only be as good there."""
    pytest.importorskip("deephyper.ensemble.selector", reason="deephyper is not installed: pip install '.[compare]'")
    from deephyper.ensemble.aggregator import MixedCategoricalAggregator
    from deephyper.ensemble.loss import CategoricalCrossEntropy
    from deephyper.ensemble.selector import GreedySelector

    for seed in range(5):
        probs, labels = pool(seed, p=12, n=200, c=5)
        other = GreedySelector(
            CategoricalCrossEntropy(), MixedCategoricalAggregator(), k=13, k_init=1, max_it=4,
            with_replacement=repeat, early_stopping=False,
        )  # fmt: skip
        indices, weights = other.select(labels, list(probs))
        score = metrics.nll(np.tensordot(weights, probs[indices], axes=1), labels)
        own = selection.greedy(probs, labels, 5, repeat)
        if own.indices[1] != own.indices[0]:
            assert sorted(own.members) == sorted(indices)
            assert own.score == pytest.approx(score, abs=1e-9)
