"""Selection of members from a pool: arrays of validation probabilities in, indices and weights out.

Every method scores an ensemble by the mean of its members' probabilities, a member counting as often as it was chosen.
Sizes: `P` candidates in the pool, `N` examples, `C` classes. All methods agree on the following:

- Probabilities of the true class below 1e-12 count as 1e-12 in the NLL.
- A candidate with a NaN is never chosen; the selection names it in `excluded`.
- Scores within 1e-12 are ties, and the lowest index or lexicographically first combination of them wins.
- `costs` and `limits` bound sums over different members: `costs={"params": [...]}, limits={"params": 1e6}`.
- `diversity_weight` w makes them minimise objective - w * (mean disagreement of the members' pairs).
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations, compress, islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nni_hypens.errors import InputError
from nni_hypens.selection.limits import Costs, check_costs, pareto_front
from nni_hypens.selection.names import BEAM_WIDTH, METHODS, OBJECTIVES, check_combinations
from nni_hypens.selection.scorers import Objective, combination_rows
from nni_hypens.selection.task import Selection, Task, first_best
from nni_hypens.utils.checks import check_count

__all__ = [
    "METHODS",
    "OBJECTIVES",
    "Selection",
    "beam",
    "cost_front",
    "exhaustive",
    "greedy",
    "pareto_front",
    "select",
    "top_k",
]

DIVERSITY_WEIGHT = 0.1
"""Of the method `diversity_weighted`: a tenth more disagreement is worth a hundredth of the objective."""


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
        InputError: If an argument is of the wrong form, nothing keeps the limits, or there are more than 5 million
            combinations.
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
    """Which combinations may be the best: those that are allowed and not surely worse than the greedy choice."""
    if not task.scorer.bounded:
        return allowed
    try:
        chosen, history = _forward(task)
    except InputError:  # limits that exclude one another
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
    max_members: int | None = None,
    costs: Costs | None = None,
    limits: Mapping[str, float] | None = None,
    diversity_weight: float = 0.0,
) -> Selection:
    """Forward selection (Caruana et al. 2004): start with the best candidate, add whichever helps the mean most.

    It always takes `size` steps, even when a step makes the score worse; `history` tells where that was. Under limits a
    candidate is chosen only if it leaves room for the cheapest members still to come.

    Args:
        probs: `P x N x C` validation probabilities of the pool.
        labels: `N` integers in 0..C-1.
        size: Number of steps, at least 1, and at most P without replacement.
        with_replacement: Whether a candidate may be chosen again, which raises its weight.
        objective: As for `exhaustive`.
        max_members: Most different candidates, for choice with replacement.
        costs: As for `exhaustive`.
        limits: As for `exhaustive`.
        diversity_weight: As for `exhaustive`.

    Returns:
        The selection, its indices in the order of choice.

    Raises:
        InputError: If an argument is of the wrong form, or the choice runs into limits that exclude one another.
    """
    task = Task(probs, labels, size, objective, costs, limits, diversity_weight, with_replacement)
    if max_members is not None:
        check_count("max_members", max_members)
        if max_members < size and not with_replacement:
            raise InputError("max_members", max_members, f"at least {size}, the size, without replacement")
    chosen, history = _forward(task, with_replacement, max_members)
    return task.done(chosen, "greedy_with_replacement" if with_replacement else "greedy", history)


def _forward(
    task: Task, with_replacement: bool = False, max_members: int | None = None
) -> tuple[list[int], list[float]]:
    """The greedy choice and its scores."""
    chosen: list[int] = []
    history: list[float] = []
    state = task.scorer.start()
    for step in range(task.size):
        members = tuple(dict.fromkeys(chosen))
        allowed = task.limits.room(members, 1 if with_replacement else task.size - step)
        if with_replacement and max_members is not None and len(members) >= max_members:
            allowed[:] = False
        allowed[list(members)] = with_replacement  # a member that runs already costs nothing more
        options = np.flatnonzero(allowed)
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
    """Forward selection that keeps the best `width` ensembles of each size: with a width of 1 it is `greedy`.

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
    """
    task = Task(probs, labels, size, objective, costs, limits, diversity_weight)
    check_count("width", width)
    history = []
    for kept, _ in _levels(task, width):
        history.append(kept[0][0])
    return task.done(kept[0][1], "beam", history)


_Level = list[tuple[float, tuple[int, ...]]]


def _levels(task: Task, width: int) -> Iterator[tuple[_Level, _Level]]:
    """For each size the best `width` ensembles, best first, and all that were scored: (score, order of choice)."""
    kept: _Level = [(0.0, ())]
    states = [task.scorer.start()]
    for step in range(task.size):
        found: dict[tuple[int, ...], tuple[float, tuple[int, ...], int]] = {}
        for parent, (_, path) in enumerate(kept):
            allowed = task.limits.room(path, task.size - step)
            allowed[list(path)] = False
            options = np.flatnonzero(allowed)
            # the same members by another way have the same score
            fresh = [i for i in options.tolist() if tuple(sorted((*path, i))) not in found]
            if not fresh:
                continue
            scores = task.scorer.options(states[parent], step + 1, np.array(fresh))
            for index, score in zip(fresh, scores.tolist(), strict=True):
                found[tuple(sorted((*path, index)))] = (score, (*path, index), parent)
        if not found:
            raise task.limits.infeasible(task.size)
        # rounding first, so that the order of summation does not decide between equals
        ranked = sorted(found, key=lambda members: (round(found[members][0], 12), members))[:width]
        best = [found[members] for members in ranked]
        states = [task.scorer.add(states[parent], path[-1]) for _, path, parent in best]
        kept = [(score, path) for score, path, _ in best]
        yield kept, [(score, path) for score, path, _ in found.values()]


def top_k(
    probs: ArrayLike,
    labels: ArrayLike,
    size: int,
    objective: Objective = "nll",
    *,
    costs: Costs | None = None,
    limits: Mapping[str, float] | None = None,
) -> Selection:
    """Choose the `size` candidates that are best by themselves, best first.

    Under limits, candidates that leave no room for the cheapest members still to come are passed over.

    Args:
        probs: `P x N x C` validation probabilities of the pool.
        labels: `N` integers in 0..C-1.
        size: Number of members, 1..P.
        objective: As for `exhaustive`.
        costs: As for `exhaustive`.
        limits: As for `exhaustive`.

    Returns:
        The selection; `history` has the members' own scores.

    Raises:
        InputError: As for `greedy`.
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


def cost_front(
    probs: ArrayLike,
    labels: ArrayLike,
    costs: ArrayLike,
    max_size: int,
    objective: Objective = "nll",
    *,
    width: int | None = None,
) -> list[Selection]:
    """The front of score against cost over ensembles of 1 to `max_size` different candidates.

    Args:
        probs: `P x N x C` validation probabilities of the pool.
        labels: `N` integers in 0..C-1.
        costs: `P` costs of the candidates, such as parameters; an ensemble costs their sum.
        max_size: Most members, 1..P.
        objective: As for `exhaustive`.
        width: None to look at every ensemble, which gives the true front; else the front of what `beam` of this width
            scores on its way, for pools that are too large for that.

    Returns:
        Selections by increasing cost and falling score: no ensemble that was looked at is as good for less.

    Raises:
        InputError: If an argument is of the wrong form, or there are more than 5 million ensembles to look at.
    """
    task = Task(probs, labels, max_size, objective)
    spent = check_costs("costs", costs, len(np.asarray(probs)))[task.keep]
    found: list[tuple[float, float, tuple[int, ...]]] = []  # the fronts of each size, score, cost and members
    if width is None:
        check_combinations(task.pool, range(1, task.size + 1))
        for size in range(1, task.size + 1):
            scores = task.scorer.every(size)
            totals = np.concatenate([spent[rows].sum(axis=1) for rows in combination_rows(task.pool, size)])
            best = pareto_front(scores, totals)
            wanted = np.zeros(len(scores), dtype=bool)
            wanted[best] = True
            picked = compress(combinations(range(task.pool), size), wanted)
            chosen = dict(zip(np.flatnonzero(wanted).tolist(), picked, strict=True))
            found += [(scores[index], totals[index], chosen[index]) for index in best]
    else:
        check_count("width", width)
        for _, scored in _levels(task, width):
            sums = [spent[list(path)].sum() for _, path in scored]
            best = pareto_front([score for score, _ in scored], sums)
            found += [(scored[index][0], sums[index], scored[index][1]) for index in best]
    method = "exhaustive" if width is None else "beam"
    front = pareto_front([score for score, _, _ in found], [total for _, total, _ in found])
    return [dataclasses.replace(task.done(found[i][2], method, [found[i][0]]), cost=float(found[i][1])) for i in front]


def select(
    method: str, probs: ArrayLike, labels: ArrayLike, size: int, objective: Objective = "nll", **options: Any
) -> Selection:
    """Choose members by a method's name.

    Args:
        method: "exhaustive", "greedy" (without replacement), "greedy_with_replacement", "beam", "top_k", or
            "diversity_weighted": greedy without replacement with a `diversity_weight` of 0.1 when none is given.
        probs: `P x N x C` validation probabilities of the pool.
        labels: `N` integers in 0..C-1.
        size: Number of members, or of steps with replacement.
        objective: As for `exhaustive`.
        **options: More arguments of the method.

    Returns:
        The selection.

    Raises:
        InputError: If an argument is of the wrong form, or not one of the method's.
    """
    check_options(method, options)
    found = _CALLS[method](probs, labels, size, objective=objective, **options)
    return dataclasses.replace(found, method=method)


_CALLS: dict[str, Callable[..., Selection]] = {
    "exhaustive": exhaustive,
    "greedy": greedy,
    "greedy_with_replacement": partial(greedy, with_replacement=True),
    "beam": beam,
    "top_k": top_k,
    "diversity_weighted": partial(greedy, diversity_weight=DIVERSITY_WEIGHT),
}


def check_options(method: str, options: Mapping[str, object]) -> None:
    """Check the name of a method and those of further arguments for `select`.

    Raises:
        InputError: An unknown one, with the nearest.
    """
    _check_name("method", method, METHODS)
    parameters = inspect.signature(_CALLS[method]).parameters.values()
    fixed = ("with_replacement", "probs", "labels")
    known = [parameter.name for parameter in parameters if parameter.name not in fixed]
    for name in options:
        _check_name(f"option of {method}", name, known)


def _check_name(field: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1)
        raise InputError(field, repr(name), f"one of {', '.join(known)}{f'; nearest: {near[0]}' if near else ''}")
