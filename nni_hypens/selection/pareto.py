"""Pareto fronts of score against cost."""

from __future__ import annotations

import dataclasses
from itertools import combinations, compress

import numpy as np
from numpy.typing import ArrayLike

from nni_hypens.errors import InputError
from nni_hypens.selection.limits import check_costs
from nni_hypens.selection.methods import beam_levels
from nni_hypens.selection.names import check_combinations
from nni_hypens.selection.scorers import TIE, Objective, combination_rows
from nni_hypens.selection.task import Selection, Task
from nni_hypens.utils.checks import check_whole


def pareto_front(scores: ArrayLike, costs: ArrayLike) -> list[int]:
    """The Pareto front of `K` alternatives: those with a lower score than every alternative that costs no more.

    Args:
        scores: `K` numbers, lower being better (NLL, Brier, error).
        costs: `K` finite numbers of at least 0.

    Returns:
        Indices by increasing cost and falling score; among equal scores (within 1e-12) and costs, the first.

    Raises:
        InputError: If an argument is of the wrong form.

    Examples:
        >>> pareto_front(scores=[0.5, 0.3, 0.4], costs=[1, 5, 7])
        [0, 1]
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or np.isnan(values).any():
        raise InputError("scores", f"shape {values.shape}", "a non-empty list of numbers without NaN")
    spent = check_costs("costs", costs, len(values))
    front: list[int] = []
    best = np.inf
    for index in np.lexsort((np.arange(len(values)), values, spent)).tolist():
        if values[index] < best - TIE:
            front.append(index)
            best = values[index]
    return front


def cost_front(
    probs: ArrayLike,
    labels: ArrayLike,
    costs: ArrayLike,
    max_size: int,
    objective: Objective = "nll",
    *,
    width: int | None = None,
) -> list[Selection]:
    """The Pareto front of score against cost over ensembles of 1 to `max_size` different candidates.

    Args:
        probs: `P x N x C` validation probabilities of the pool.
        labels: `N` integers in 0..C-1.
        costs: `P` costs of the candidates, such as parameters; an ensemble costs their sum.
        max_size: Most members, 1..P.
        objective: As for `exhaustive`.
        width: None to score every ensemble, which gives the true front; a number to score only the ensembles that
            `beam` of this width visits, for larger pools.

    Returns:
        Selections by increasing cost and falling score: no scored ensemble is as good at a lower cost.

    Raises:
        InputError: If an argument is of the wrong form, or there are more than 5 million ensembles to score.

    Examples:
        >>> probs = [[[0.9, 0.1], [0.7, 0.3]], [[0.3, 0.7], [0.1, 0.9]], [[0.6, 0.4], [0.5, 0.5]]]
        >>> front = cost_front(probs, [0, 1], costs=[3, 5, 1], max_size=2)
        >>> [(point.members, point.cost, round(point.score, 3)) for point in front]
        [((2,), 1.0, 0.602), ((1, 2), 6.0, 0.578), ((0, 1), 8.0, 0.511)]
    """
    task = Task(probs, labels, max_size, objective)
    spent = check_costs("costs", costs, len(np.asarray(probs)))[task.keep]
    points: list[tuple[float, float, tuple[int, ...]]] = []  # (score, cost, members) on the front of each size
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
            points += [(scores[index], totals[index], chosen[index]) for index in best]
    else:
        check_whole("width", width)
        for _, scored in beam_levels(task, width):
            sums = [spent[list(path)].sum() for _, path in scored]
            best = pareto_front([score for score, _ in scored], sums)
            points += [(scored[index][0], sums[index], scored[index][1]) for index in best]
    method = "exhaustive" if width is None else "beam"
    front = pareto_front([score for score, _, _ in points], [total for _, total, _ in points])
    return [
        dataclasses.replace(task.done(points[i][2], method, [points[i][0]]), cost=float(points[i][1])) for i in front
    ]
