"""Selection of members from a pool: arrays of validation probabilities in, indices and weights out.

Every method scores an ensemble by the mean of its members' probabilities, a member counting as often as it was chosen.
Sizes: `P` candidates in the pool, `N` examples, `C` classes. All methods agree on the following:

- Probabilities of the true class below 1e-12 count as 1e-12 in the NLL.
- A candidate with a NaN is never chosen; the selection names it in `excluded`.
- Scores within 1e-12 are ties, and the lowest index or lexicographically first combination of them wins.
- `costs` and `limits` bound sums over unique members: `costs={"params": [...]}, limits={"params": 1e6}`.
- `diversity_weight` w makes a method minimise objective - w * (mean disagreement of the members' pairs).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nni_hypens.errors import InputError
from nni_hypens.selection.limits import Costs
from nni_hypens.selection.names import BEAM_WIDTH, check_combinations
from nni_hypens.selection.scorers import Objective
from nni_hypens.selection.task import Selection, Task, first_best
from nni_hypens.utils.checks import check_whole


def exhaustive(
    probs: ArrayLike,
    labels: ArrayLike,
    size: int,
    objective: Objective = "nll",
    *,
    costs: Costs | None = None,
    limits: Mapping[str, float] | None = None,
    diversity_weight: float = 0.0,
) -> Selection:
    """Choose the best of all ensembles of `size` different candidates.

    Args:
        probs: `P x N x C` validation probabilities of the pool.
        labels: `N` integers in 0..C-1.
        size: Number of members, 1..P.
        objective: "nll", "brier", "error", or a function of mean probabilities `N x C` and labels `N` that gives a
            number, lower being better.
        costs: Name -> `P` costs, each at least 0.
        limits: Name -> most that the members together may cost.
        diversity_weight: Reward for the mean disagreement of the members' pairs, at least 0.

    Returns:
        The selection; its indices are increasing and its weights equal.

    Raises:
        InputError: If an argument is of the wrong form, no ensemble keeps the limits, or there are more than 5 million
            combinations.

    Examples:
        >>> probs = [[[0.9, 0.1], [0.7, 0.3]], [[0.3, 0.7], [0.1, 0.9]], [[0.6, 0.4], [0.5, 0.5]]]
        >>> chosen = exhaustive(probs, [0, 1], size=2)
        >>> chosen.members, round(chosen.score, 3)
        ((0, 1), 0.511)
    """
    task = Task(probs, labels, size, objective, costs, limits, diversity_weight)
    check_combinations(task.pool, (task.size,))
    wanted = _promising(task, task.limits.combinations(task.size))
    scores = task.scorer.every(task.size, wanted)
    if wanted is not None:
        scores[~wanted] = np.inf
    best = first_best(scores)
    chosen = next(islice(combinations(range(task.pool), task.size), best, None))
    return task.done(chosen, "exhaustive", [scores[best]])


def _promising(task: Task, allowed: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Combinations that may be the best: allowed, and with a bound that does not exceed the greedy score."""
    if not task.scorer.bounded:
        return allowed
    try:
        chosen, history = _forward(task)
    except InputError:  # greedy can fail under several limits
        return allowed
    near = task.scorer.least(task.size, chosen) <= history[-1] + 1e-9  # far above rounding and ties
    return near if allowed is None else near & allowed


def greedy(
    probs: ArrayLike,
    labels: ArrayLike,
    size: int,
    with_replacement: bool = False,
    objective: Objective = "nll",
    *,
    start: Sequence[int] = (),
    max_members: int | None = None,
    costs: Costs | None = None,
    limits: Mapping[str, float] | None = None,
    diversity_weight: float = 0.0,
) -> Selection:
    """Forward selection (Caruana et al. 2004): start with the best candidate, then add the one that helps most.

    It always takes `size` steps, even when a step makes the score worse; `history` has the score after each step. Under
    limits a candidate is chosen only if the cheapest remaining members still fit.

    Args:
        probs: `P x N x C` validation probabilities of the pool.
        labels: `N` integers in 0..C-1.
        size: Number of steps, at least 1, and at most P without replacement.
        with_replacement: Whether a candidate may be chosen again, which raises its weight.
        objective: As for `exhaustive`.
        start: Different candidates that are chosen first, in this order; they count as steps.
        max_members: Most different candidates, for choice with replacement.
        costs: As for `exhaustive`.
        limits: As for `exhaustive`.
        diversity_weight: As for `exhaustive`.

    Returns:
        The selection, its indices in the order of choice.

    Raises:
        InputError: If an argument is of the wrong form, or no candidate keeps all limits at some step.

    Examples:
        >>> probs = [[[0.9, 0.1], [0.7, 0.3]], [[0.3, 0.7], [0.1, 0.9]], [[0.6, 0.4], [0.5, 0.5]]]
        >>> chosen = greedy(probs, [0, 1], size=4, with_replacement=True)
        >>> chosen.indices, chosen.members, chosen.weights
        ((2, 1, 0, 1), (2, 1, 0), array([0.25, 0.5 , 0.25]))
        >>> [round(score, 3) for score in chosen.history]
        [0.602, 0.578, 0.539, 0.538]
    """
    task = Task(probs, labels, size, objective, costs, limits, diversity_weight, with_replacement)
    if max_members is not None:
        check_whole("max_members", max_members)
        if max_members < size and not with_replacement:
            raise InputError("max_members", max_members, f"at least {size}, the size, without replacement")
    if len(set(start)) < len(start) or len(start) > size or not set(start) <= set(task.keep.tolist()):
        raise InputError("start", list(start), f"at most {size} different candidates of the pool, none with a NaN")
    first = np.searchsorted(task.keep, start).tolist()
    chosen, history = _forward(task, with_replacement, max_members, first)
    return task.done(chosen, "greedy_with_replacement" if with_replacement else "greedy", history)


def _forward(
    task: Task, with_replacement: bool = False, max_members: int | None = None, start: Sequence[int] = ()
) -> tuple[list[int], list[float]]:
    """The greedy choice and its scores; the first steps take `start`."""
    chosen: list[int] = []
    history: list[float] = []
    state = task.scorer.start()
    for step in range(task.size):
        members = tuple(dict.fromkeys(chosen))
        allowed = task.limits.room(members, 1 if with_replacement else task.size - step)
        if with_replacement and max_members is not None and len(members) >= max_members:
            allowed[:] = False
        allowed[list(members)] = with_replacement  # choosing a member again adds no cost
        options = np.flatnonzero(allowed)
        if step < len(start):
            options = np.intersect1d(options, start[step])
        if not len(options):
            raise task.limits.infeasible(task.size)
        scores = task.scorer.options(state, step + 1, options)
        best = first_best(scores)
        chosen.append(int(options[best]))
        history.append(scores[best])
        state = task.scorer.add(state, chosen[-1])
    return chosen, history


def beam(
    probs: ArrayLike,
    labels: ArrayLike,
    size: int,
    objective: Objective = "nll",
    *,
    width: int = BEAM_WIDTH,
    costs: Costs | None = None,
    limits: Mapping[str, float] | None = None,
    diversity_weight: float = 0.0,
) -> Selection:
    """Forward selection that keeps the best `width` ensembles of each size; a width of 1 is `greedy`.

    Args:
        probs: `P x N x C` validation probabilities of the pool.
        labels: `N` integers in 0..C-1.
        size: Number of different members, 1..P.
        objective: As for `exhaustive`.
        width: Ensembles kept of each size, at least 1.
        costs: As for `exhaustive`.
        limits: As for `greedy`.
        diversity_weight: As for `exhaustive`.

    Returns:
        The selection, its indices in the order of choice.

    Raises:
        InputError: As for `greedy`.

    Examples:
        >>> probs = [[[0.9, 0.1], [0.7, 0.3]], [[0.3, 0.7], [0.1, 0.9]], [[0.6, 0.4], [0.5, 0.5]]]
        >>> beam(probs, [0, 1], size=2, width=2).members
        (0, 1)
    """
    task = Task(probs, labels, size, objective, costs, limits, diversity_weight)
    check_whole("width", width)
    history = []
    for kept, _ in beam_levels(task, width):
        history.append(kept[0][0])
    return task.done(kept[0][1], "beam", history)


_Level = list[tuple[float, tuple[int, ...]]]


def beam_levels(task: Task, width: int) -> Iterator[tuple[_Level, _Level]]:
    """For each size: the best `width` ensembles, best first, and all ensembles scored, as (score, order of choice)."""
    kept: _Level = [(0.0, ())]
    states = [task.scorer.start()]
    for step in range(task.size):
        scored: dict[tuple[int, ...], tuple[float, tuple[int, ...], int]] = {}
        for parent, (_, path) in enumerate(kept):
            allowed = task.limits.room(path, task.size - step)
            allowed[list(path)] = False
            options = np.flatnonzero(allowed)
            # the same members in another order have the same score
            fresh = [i for i in options.tolist() if tuple(sorted((*path, i))) not in scored]
            if not fresh:
                continue
            scores = task.scorer.options(states[parent], step + 1, np.array(fresh))
            for index, score in zip(fresh, scores.tolist(), strict=True):
                scored[tuple(sorted((*path, index)))] = (score, (*path, index), parent)
        if not scored:
            raise task.limits.infeasible(task.size)
        # rounded, so that the order of summation does not decide between equal scores
        ranked = sorted(scored, key=lambda members: (round(scored[members][0], 12), members))[:width]
        best = [scored[members] for members in ranked]
        states = [task.scorer.add(states[parent], path[-1]) for _, path, parent in best]
        kept = [(score, path) for score, path, _ in best]
        yield kept, [(score, path) for score, path, _ in scored.values()]


def top_k(
    probs: ArrayLike,
    labels: ArrayLike,
    size: int,
    objective: Objective = "nll",
    *,
    costs: Costs | None = None,
    limits: Mapping[str, float] | None = None,
) -> Selection:
    """Choose the `size` candidates with the best individual scores, best first.

    Under limits, candidates with which the cheapest remaining members no longer fit are skipped.

    Args:
        probs: `P x N x C` validation probabilities of the pool.
        labels: `N` integers in 0..C-1.
        size: Number of members, 1..P.
        objective: As for `exhaustive`.
        costs: As for `exhaustive`.
        limits: As for `exhaustive`.

    Returns:
        The selection; `history` has the members' individual scores.

    Raises:
        InputError: As for `greedy`.

    Examples:
        >>> probs = [[[0.9, 0.1], [0.7, 0.3]], [[0.3, 0.7], [0.1, 0.9]], [[0.6, 0.4], [0.5, 0.5]]]
        >>> top_k(probs, [0, 1], size=2).members
        (2, 0)
    """
    task = Task(probs, labels, size, objective, costs, limits)
    singles = task.scorer.options(task.scorer.start(), 1, np.arange(task.pool))
    chosen: list[int] = []
    while len(chosen) < task.size:
        allowed = task.limits.room(tuple(chosen), task.size - len(chosen))
        allowed[chosen] = False
        if not allowed.any():
            raise task.limits.infeasible(task.size)
        chosen.append(first_best(np.where(allowed, singles, np.inf)))
    return task.done(chosen, "top_k", singles[chosen])
