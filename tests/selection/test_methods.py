"""Selection against brute force in plain numpy, and properties that hold for every pool."""

from __future__ import annotations

import tracemalloc
from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

from nni_hypens import metrics, selection
from nni_hypens.errors import InputError
from nni_hypens.selection import scorers as selection_scores, task as selection_task

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
        monkeypatch.setattr(selection_scores, "CHUNK_VALUES", values)
        monkeypatch.setattr(selection_scores, "CHUNK_ROWS", values)
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


def plain_disagreement(probs: np.ndarray, members: tuple[int, ...]) -> float:
    top = probs.argmax(axis=2)
    pairs = [(top[i] != top[j]).mean() for i, j in combinations(members, 2)]
    return float(np.mean(pairs)) if pairs else 0.0


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


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, most=st.integers(1, 4))
def test_repeats_are_of_so_many_members(seed: int, most: int) -> None:
    probs, labels = pool(seed)
    result = selection.greedy(probs, labels, 12, True, max_members=most)
    assert len(result.members) <= most and len(result.indices) == 12
    if most == 1:
        assert result.weights.tolist() == [1.0]


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


@pytest.mark.parametrize("objective", selection.OBJECTIVES)
def test_many_steps_with_replacement_stay_in_range(objective: str) -> None:
    probs, labels = pool(9, p=3)
    result = selection.greedy(probs, labels, 1200, True, objective)
    mean = np.tensordot(result.weights, probs[list(result.members)], axes=1)
    assert result.score == pytest.approx(plain_score(mean, labels, objective), abs=1e-12)


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


@pytest.mark.parametrize("floor", [0.0, 1e-12, 1e-3])
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, size=st.integers(1, 4), weight=st.sampled_from([0.0, 0.3]))
def test_bounds_lie_below_the_scores(floor: float, seed: int, size: int, weight: float) -> None:
    """With probabilities at zero, and from any ensemble of any size."""
    probs, labels = pool(seed, p=7, n=20)
    probs = np.where((probs < 0.2) & (probs < probs.max(axis=2, keepdims=True)), floor, probs)
    probs /= probs.sum(axis=2, keepdims=True)
    task = selection_task.Task(probs, labels, size, "nll", diversity_weight=weight)
    scores = task.scorer.every(size)
    for members in combinations(range(7), 2):
        assert (task.scorer.least(size, members) <= scores + 1e-9).all()
    few = np.zeros(len(scores), dtype=bool)
    few[:: max(5, len(scores) // 3)] = True
    assert task.scorer.every(size, few)[few] == pytest.approx(scores[few], abs=1e-12)
