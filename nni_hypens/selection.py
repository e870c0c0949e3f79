"""Selection of members from a pool: arrays of validation probabilities in, indices and weights out.

Every method scores an ensemble by the plain mean of its members' probabilities. Sizes: `P` candidates in the pool, `N`
examples, `C` classes, `K` combinations scored at once, `S` members with repeats.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, combinations, islice

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nni_hypens.errors import InputError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Objective = str | Callable[[FloatArray, IntArray], float]
Scorer = Callable[[IntArray], FloatArray]

OBJECTIVES = ("nll", "brier", "error")
METHODS = ("exhaustive", "greedy", "greedy_with_replacement")
MAX_COMBINATIONS = 5_000_000
_PROBABILITY_FLOOR = 1e-12  # the same floor as in the NLL that results report
_TIE = 1e-12  # scores closer than this differ by the order of summation only
_CHUNK_VALUES = 1 << 17  # values worked on at once: one megabyte, which stays in the processor's cache


@dataclass(frozen=True, eq=False)
class Selection:
    """The chosen ensemble.

    Attributes:
        indices: Pool indices in the order of choice, with repeats when chosen with replacement.
        members: The unique indices, in order of first choice.
        weights: Weight of each of `members` (its share of `indices`), summing to 1.
        score: Objective of the weighted mean probabilities; lower is better.
        method: Name of the method.
    """

    indices: tuple[int, ...]
    members: tuple[int, ...]
    weights: FloatArray
    score: float
    method: str


def exhaustive(probs: ArrayLike, labels: ArrayLike, size: int, objective: Objective = "nll") -> Selection:
    """Choose the best of all ensembles of `size` different candidates.

    Scores within 1e-12 of the best count as ties, and the lexicographically first combination of those wins.

    Args:
        probs: `P x N x C` validation probabilities of the pool.
        labels: `N` integers in 0..C-1.
        size: Number of members, 1..P.
        objective: "nll", "brier", "error", or a function of mean probabilities `N x C` and labels `N` that gives a
            number, lower being better.

    Returns:
        The selection; its indices are increasing and its weights equal.

    Raises:
        InputError: If an argument is of the wrong form, or there are more than 5 million combinations.
    """
    p, y = _check(probs, labels, size, with_replacement=False)
    pool = len(p)
    total = math.comb(pool, size)
    if total > MAX_COMBINATIONS:
        raise InputError(
            "size",
            f"{size} of {pool} candidates, {total} combinations",
            f"at most {MAX_COMBINATIONS}, or method greedy",
        )
    scorer, values_per_combination = _scorer(p, y, objective)
    chunk = max(1, _CHUNK_VALUES // values_per_combination)
    stream = combinations(range(pool), size)
    scores = np.empty(total)
    for start in range(0, total, chunk):
        rows = min(chunk, total - start)
        flat = np.fromiter(chain.from_iterable(islice(stream, rows)), dtype=np.int64, count=rows * size)
        scores[start : start + rows] = scorer(flat.reshape(rows, size))
    best = _first_best(scores)
    chosen = next(islice(combinations(range(pool), size), best, None))
    return _selection(chosen, scores[best], "exhaustive")


def greedy(
    probs: ArrayLike,
    labels: ArrayLike,
    size: int,
    with_replacement: bool = False,
    objective: Objective = "nll",
) -> Selection:
    """Forward selection (Caruana et al. 2004): start with the best candidate, add whichever helps the mean most.

    It always takes `size` steps, even when a step makes the score worse. The lowest index wins ties.

    Args:
        probs: `P x N x C` validation probabilities of the pool.
        labels: `N` integers in 0..C-1.
        size: Number of steps, at least 1, and at most P without replacement.
        with_replacement: Whether a candidate may be chosen again, which raises its weight.
        objective: As for `exhaustive`.

    Returns:
        The selection, its indices in the order of choice.

    Raises:
        InputError: If an argument is of the wrong form.
    """
    p, y = _check(probs, labels, size, with_replacement)
    scorer, _ = _scorer(p, y, objective)
    chosen: list[int] = []
    score = math.inf
    for _ in range(size):
        options = [i for i in range(len(p)) if with_replacement or i not in chosen]
        # One option at a time bounds memory for the objectives that need every class of every example.
        scores = np.array([scorer(np.array([[*chosen, option]]))[0] for option in options])
        best = _first_best(scores)
        chosen.append(options[best])
        score = float(scores[best])
    return _selection(tuple(chosen), score, "greedy_with_replacement" if with_replacement else "greedy")


def select(method: str, probs: ArrayLike, labels: ArrayLike, size: int, objective: Objective = "nll") -> Selection:
    """Choose members by a method's name.

    Args:
        method: "exhaustive", "greedy" (without replacement) or "greedy_with_replacement".
        probs: `P x N x C` validation probabilities of the pool.
        labels: `N` integers in 0..C-1.
        size: Number of members.
        objective: As for `exhaustive`.

    Returns:
        The selection.

    Raises:
        InputError: If an argument is of the wrong form.
    """
    if method not in METHODS:
        raise InputError("method", repr(method), "one of " + ", ".join(METHODS))
    if method == "exhaustive":
        return exhaustive(probs, labels, size, objective)
    return greedy(probs, labels, size, method == "greedy_with_replacement", objective)


def _check(probs: ArrayLike, labels: ArrayLike, size: int, with_replacement: bool) -> tuple[NDArray, IntArray]:
    p, y = np.asarray(probs), np.asarray(labels)
    if p.ndim != 3 or p.size == 0 or not np.issubdtype(p.dtype, np.floating):
        raise InputError(
            "probs", f"shape {p.shape} of {p.dtype}", "a non-empty float array candidates x examples x classes"
        )
    # NaN fails both comparisons, so this refuses it without a temporary array of flags.
    if not (p.min() >= 0 and p.max() <= 1 + 1e-3):
        raise InputError("probs", f"values {p.min()}..{p.max()}", "probabilities in 0..1 without NaN")
    if y.shape != p.shape[1:2] or not np.issubdtype(y.dtype, np.integer):
        raise InputError("labels", f"shape {y.shape} of {y.dtype}", f"{p.shape[1]} integers, one per example of probs")
    if y.min() < 0 or y.max() >= p.shape[2]:
        raise InputError("labels", f"values {y.min()}..{y.max()}", f"values 0..{p.shape[2] - 1}")
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
        raise InputError("size", size, "an integer of at least 1")
    if size > len(p) and not with_replacement:
        raise InputError("size", size, f"at most {len(p)}, the number of candidates, without replacement")
    return p, y.astype(np.int64)


def _scorer(p: NDArray, y: IntArray, objective: Objective) -> tuple[Scorer, int]:
    """A function from combinations (`K x S` indices) to `K` scores, and the values it works on per combination."""
    if callable(objective):
        return _callable_scorer(p, y, objective), 1
    if objective not in OBJECTIVES:
        raise InputError("objective", repr(objective), "one of " + ", ".join(OBJECTIVES) + ", or a function")
    if objective == "nll":
        return _nll_scorer(p, y), p.shape[1]
    if objective == "brier":
        return _brier_scorer(p, y), len(p)
    return _error_scorer(p, y), p.shape[1] * p.shape[2]


def _nll_scorer(p: NDArray, y: IntArray) -> Scorer:
    """NLL looks at the true class only, so combinations are sums of `P x N` columns."""
    true_class = np.ascontiguousarray(p[:, np.arange(len(y)), y], dtype=np.float64)

    def score(combos: IntArray) -> FloatArray:
        mean = _sum_members(true_class, combos)
        mean /= combos.shape[1]
        np.maximum(mean, _PROBABILITY_FLOOR, out=mean)
        np.log(mean, out=mean)
        return -mean.mean(axis=1)

    return score


def _brier_scorer(p: NDArray, y: IntArray) -> Scorer:
    """Brier score of a mean from inner products: |p̄|² = Σ_ij <p_i, p_j> / S², so it costs S² per combination."""
    pool, n, _ = p.shape
    gram = np.zeros((pool, pool))
    for start in range(0, n, 4096):
        block = p[:, start : start + 4096].astype(np.float64).reshape(pool, -1)
        gram += block @ block.T
    gram /= n
    true_class = p[:, np.arange(n), y].astype(np.float64).mean(axis=1)

    def score(combos: IntArray) -> FloatArray:
        square = gram[combos[:, :, None], combos[:, None, :]].mean(axis=(1, 2))
        return square - 2 * true_class[combos].mean(axis=1) + 1

    return score


def _error_scorer(p: NDArray, y: IntArray) -> Scorer:
    """Error rate: share of examples whose most probable class, the first of equals, is not the label."""

    def score(combos: IntArray) -> FloatArray:
        mean = _sum_members(p, combos) / combos.shape[1]
        return (mean.argmax(axis=2) != y).mean(axis=1)

    return score


def _callable_scorer(p: NDArray, y: IntArray, objective: Callable[[FloatArray, IntArray], float]) -> Scorer:
    def score(combos: IntArray) -> FloatArray:
        scores = np.array([float(objective(_sum_members(p, combo[None])[0] / len(combo), y)) for combo in combos])
        if np.isnan(scores).any():
            raise InputError("objective", "NaN from the function", "a number for every ensemble")
        return scores

    return score


def _sum_members(values: NDArray, combos: IntArray) -> FloatArray:
    """Sum `P x ...` values over the members of each of `K x S` combinations, giving `K x ...` in float64."""
    total = values[combos[:, 0]].astype(np.float64)
    for column in combos.T[1:]:
        total += values[column]
    return total


def _first_best(scores: FloatArray) -> int:
    return int(np.argmax(scores <= scores.min() + _TIE))


def _selection(chosen: tuple[int, ...], score: float, method: str) -> Selection:
    counts = Counter(chosen)
    weights = np.array(list(counts.values())) / len(chosen)
    return Selection(tuple(chosen), tuple(counts), weights, float(score), method)
