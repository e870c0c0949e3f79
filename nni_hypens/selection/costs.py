"""What an ensemble costs: the sum over its unique members, limits on that sum, and fronts of NLL against it.

FLOPs are those of one image (a multiply-add counts as two), and the latency is that of one image on one thread. Both
are measured when a candidate is trained, and stored with its number of parameters in its ``metrics.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from typing import Any

import numpy as np

from nni_hypens import metrics
from nni_hypens.errors import InputError
from nni_hypens.selection.dispatch import select
from nni_hypens.selection.limits import CostLimits
from nni_hypens.selection.names import BEAM_WIDTH, COUNTED, LIMITS
from nni_hypens.selection.pareto import cost_front
from nni_hypens.selection.task import Selection

MOST_ENSEMBLES = 200_000
"""Up to this many ensembles of one size, a front scores all of them; beyond that, those that beam search visits."""
Trial = Mapping[str, Any]


def check_affordable(records: Sequence[Trial], limits: Mapping[str, float], members: int) -> None:
    """Check that the cheapest ``members`` candidates keep each limit on a cost that is known before training.

    Args:
        records: Candidates with the costs in `COUNTED`.
        limits: Setting -> limit.
        members: Number of members of the ensemble.

    Raises:
        InputError: Naming the limit and the cheapest ensemble's cost.
    """
    counted = {name: limit for name, limit in limits.items() if LIMITS[name] in COUNTED}
    costs = {name: [record[LIMITS[name]] for record in records] for name in counted}
    try:
        CostLimits(costs, counted, np.arange(len(records)), len(records)).check_feasible(members)
    except InputError as error:
        raise _named(error) from None


def choose(
    method: str,
    probabilities: np.ndarray,
    labels: np.ndarray,
    trials: Sequence[Trial],
    limits: Mapping[str, float],
    **options: Any,
) -> Selection:
    """Select members that together keep the limits, with the costs of their ``metrics.json``.

    Args:
        method: A method's name.
        probabilities: ``P x N x C`` on validation images.
        labels: ``N``.
        trials: The content of ``metrics.json`` of each candidate.
        limits: Setting -> limit.
        **options: Further arguments of `select`.

    Raises:
        InputError: No ensemble keeps a limit; the message names the setting and the cost of the cheapest ensemble.
    """
    if limits:
        costs = {name: [float(trial[LIMITS[name]]) for trial in trials] for name in limits}
        options |= {"costs": costs, "limits": dict(limits)}
    try:
        return select(method, probabilities, labels, **options)
    except InputError as error:
        raise _named(error) from None


def _named(error: InputError) -> InputError:
    """The same error, with the name of the setting."""
    name = error.field.removeprefix("limits.")
    if error.field == "limits":
        name = str(error.got)  # several together
    return InputError(name, error.got, error.expected) if name != error.field else error


def total_costs(trials: Sequence[Trial]) -> dict[str, float]:
    """Parameters, FLOPs and latency of an ensemble of these unique members."""
    return {cost: sum(trial[cost] for trial in trials) for cost in LIMITS.values()}


def fronts(
    pool: Mapping[str, Sequence[np.ndarray]],
    validation_labels: np.ndarray,
    test_labels: np.ndarray,
    trials: Mapping[str, Trial],
    members: Sequence[tuple[str, float]],
    max_size: int,
) -> dict[str, Any]:
    """Pareto fronts of averages of 1 to ``max_size`` candidates: validation NLL against parameters, and against FLOPs.

    Args:
        pool: id -> [validation ``Nv x C``, test ``Nt x C``] probabilities.
        validation_labels: ``Nv``.
        test_labels: ``Nt``; used for reporting only.
        trials: id -> content of its ``metrics.json``.
        members: (id, weight) of each member of the chosen ensemble.
        max_size: Most members, at least 1.

    Returns:
        ``chosen``: members, costs and NLL of the chosen ensemble. ``max_size``: the most members that were looked at.
        ``rows``: as ``chosen`` for each point of a front, by increasing cost; ``by`` names the cost. Probabilities are
        averaged as they are given, in a front with equal weights.
    """
    names = list(pool)
    size = min(max_size, len(names))
    probabilities = np.stack([pool[name][0] for name in names])
    width = None if max(comb(len(names), k) for k in range(1, size + 1)) <= MOST_ENSEMBLES else BEAM_WIDTH
    ids, weights = [name for name, _ in members], np.array([weight for _, weight in members])

    def row(names: Sequence[str], shares: np.ndarray) -> dict[str, Any]:
        validation, test = (
            np.tensordot(shares, np.stack([pool[name][part] for name in names]).astype(np.float64), axes=1)
            for part in (0, 1)
        )
        return {
            "members": list(names),
            **total_costs([trials[name] for name in names]),
            "validation_nll": metrics.nll(validation, validation_labels),
            "test_nll": metrics.nll(test, test_labels),
            "test_accuracy": metrics.accuracy(test, test_labels),
        }

    rows = []
    for cost in COUNTED:
        spent = [float(trials[name][cost]) for name in names]
        for point in cost_front(probabilities, validation_labels, spent, size, width=width):
            chosen = [names[index] for index in point.members]
            rows.append({"by": cost, "chosen": set(chosen) == set(ids), **row(chosen, point.weights)})
    return {"chosen": row(ids, weights), "max_size": size, "rows": rows}
