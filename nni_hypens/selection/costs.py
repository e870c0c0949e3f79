"""What an ensemble costs: the sum over its different members, limits on it, and the front of accuracy against it.

Parameters are counted once for each member, FLOPs are those of one image (a multiply-add as two), and the latency is
that of one image by one thread, each measured when the candidate was trained and kept in its ``metrics.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from typing import Any

import numpy as np

from nni_hypens import metrics
from nni_hypens.errors import InputError
from nni_hypens.selection.limits import CostLimits
from nni_hypens.selection.methods import Selection, cost_front, select
from nni_hypens.selection.names import BEAM_WIDTH, LIMITS
from nni_hypens.utils.checks import is_count

COUNTED = ("parameters", "flops")
"""Costs that are known before training."""
MOST_ENSEMBLES = 200_000
"""Ensembles of one size up to which the front is found by looking at every one."""
Trial = Mapping[str, Any]


def check_total_limits(limits: Mapping[str, Any]) -> dict[str, float]:
    """The limits that are given, by setting.

    Raises:
        InputError: One is no number above 0, or is not one of :data:`LIMITS`.
    """
    given = {name: value for name, value in limits.items() if value is not None}
    for name, value in given.items():
        if name not in LIMITS:
            raise InputError("limits", repr(name), f"one of {', '.join(LIMITS)}")
        if not is_count(value):
            raise InputError(name, repr(value), "a number above 0")
    return given


def check_affordable(records: Sequence[Trial], limits: Mapping[str, float], members: int) -> None:
    """Whether the cheapest ``members`` of the candidates keep each limit on a cost that is known before training.

    Args:
        records: Candidates with the costs in :data:`COUNTED`.
        limits: By setting.
        members: Members of the ensemble.

    Raises:
        InputError: Naming the limit and the cheapest ensemble's cost.
    """
    counted = {name: limit for name, limit in limits.items() if LIMITS[name] in COUNTED}
    costs = {name: [record[LIMITS[name]] for record in records] for name in counted}
    try:
        CostLimits(costs, counted, np.arange(len(records)), len(records)).check_feasible(members)
    except InputError as error:
        raise _named(error) from None


def cheapest(records: Sequence[Trial], limits: Mapping[str, float], members: int) -> set[str]:
    """Ids of the ``members`` cheapest candidates under each limit known before training: with them it can be kept."""
    found: set[str] = set()
    for name in limits:
        if LIMITS[name] in COUNTED:
            order = sorted(records, key=lambda record: (record[LIMITS[name]], record["id"]))
            found |= {record["id"] for record in order[:members]}
    return found


def choose(
    method: str,
    probabilities: np.ndarray,
    labels: np.ndarray,
    trials: Sequence[Trial],
    limits: Mapping[str, float],
    **options: Any,
) -> Selection:
    """Select members that together keep the limits; arguments as for :func:`nni_hypens.selection.select`.

    Args:
        method: A method's name.
        probabilities: ``P x N x C`` on validation images.
        labels: ``N``.
        trials: The content of ``metrics.json`` of each candidate.
        limits: By setting.
        **options: Other arguments of the method.

    Raises:
        InputError: No ensemble keeps a limit; the message names it and the cost of the cheapest.
    """
    if limits:
        costs = {name: [float(trial[LIMITS[name]]) for trial in trials] for name in limits}
        options |= {"costs": costs, "limits": dict(limits)}
    try:
        return select(method, probabilities, labels, **options)
    except InputError as error:
        raise _named(error) from None


def _named(error: InputError) -> InputError:
    """The same error by the name of the setting."""
    name = error.field.removeprefix("limits.")
    if error.field == "limits":
        name = str(error.got)  # several together
    return InputError(name, error.got, error.expected) if name != error.field else error


def total_costs(trials: Sequence[Trial]) -> dict[str, float]:
    """Parameters, FLOPs and latency of an ensemble of these different members."""
    return {cost: sum(trial[cost] for trial in trials) for cost in LIMITS.values()}


def fronts(
    pool: Mapping[str, Sequence[np.ndarray]],
    validation_labels: np.ndarray,
    test_labels: np.ndarray,
    trials: Mapping[str, Trial],
    members: Sequence[tuple[str, float]],
    max_size: int,
) -> dict[str, Any]:
    """Which averages of 1 to ``max_size`` candidates no other beats: validation NLL against parameters, and FLOPs.

    Args:
        pool: id -> [validation ``Nv x C``, test ``Nt x C``] probabilities.
        validation_labels: ``Nv``.
        test_labels: ``Nt``; they only report.
        trials: id -> content of its ``metrics.json``.
        members: (id, weight) of each member of the chosen ensemble.
        max_size: Most members, at least 1.

    Returns:
        ``chosen``: members, costs and NLL of the chosen ensemble; ``rows``: the same of each point of a front, which
        ``by`` names, by increasing cost. All before any temperature, with equal weights in a front.
    """
    names = list(pool)
    size = min(max_size, len(names))
    probabilities = np.stack([pool[name][0] for name in names])
    width = None if max(comb(len(names), k) for k in range(1, size + 1)) <= MOST_ENSEMBLES else BEAM_WIDTH
    ids, weights = [name for name, _ in members], np.array([weight for _, weight in members])

    def row(found: Sequence[str], shares: np.ndarray) -> dict[str, Any]:
        validation, test = (
            np.tensordot(shares, np.stack([pool[name][part] for name in found]).astype(np.float64), axes=1)
            for part in (0, 1)
        )
        return {
            "members": list(found),
            **total_costs([trials[name] for name in found]),
            "validation_nll": metrics.nll(validation, validation_labels),
            "test_nll": metrics.nll(test, test_labels),
            "test_accuracy": metrics.accuracy(test, test_labels),
        }

    rows = []
    for cost in COUNTED:
        spent = [float(trials[name][cost]) for name in names]
        for point in cost_front(probabilities, validation_labels, spent, size, width=width):
            found = [names[index] for index in point.members]
            rows.append({"by": cost, "chosen": set(found) == set(ids), **row(found, point.weights)})
    return {"chosen": row(ids, weights), "rows": rows}
