"""Limits on what an ensemble may cost, and the front of the best scores at every cost."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nni_hypens.errors import InputError
from nni_hypens.selection.scorers import TIE, FloatArray, IntArray, combination_rows

Costs = Mapping[str, ArrayLike]


def check_costs(name: str, values: ArrayLike, pool: int) -> FloatArray:
    """One cost of every candidate, as float64.

    Raises:
        InputError: Not `P` finite numbers of at least 0.
    """
    array = np.asarray(values)
    if array.shape != (pool,) or array.dtype.kind not in "iuf":
        raise InputError(name, f"shape {array.shape} of {array.dtype}", f"{pool} numbers, one per candidate")
    array = array.astype(np.float64)
    if not (np.isfinite(array).all() and array.min() >= 0):
        raise InputError(name, f"values {array.min()}..{array.max()}", "finite numbers of at least 0")
    return array


class CostLimits:
    """Limits on sums of the members' costs. A candidate that is chosen twice costs once: it runs once.

    Args:
        costs: Name -> `P` costs, such as parameters, FLOPs or milliseconds of each candidate.
        limits: Name -> most that the members together may have of it.
        keep: The candidates that can be chosen.
        pool: Number of candidates before that.

    Raises:
        InputError: A cost or limit of the wrong form, or a limit without costs.
    """

    def __init__(self, costs: Costs | None, limits: Mapping[str, float] | None, keep: IntArray, pool: int) -> None:
        found = {name: check_costs(f"costs.{name}", values, pool)[keep] for name, values in (costs or {}).items()}
        self.names = list(limits or {})
        for name, limit in (limits or {}).items():
            if name not in found:
                raise InputError(
                    f"limits.{name}", limit, f"a limit on one of: {', '.join(found) or 'costs, none of which is given'}"
                )
            number = isinstance(limit, int | float | np.integer | np.floating) and not isinstance(limit, bool)
            if not number or not limit >= 0:
                raise InputError(f"limits.{name}", repr(limit), "a number of at least 0")
        self.costs = np.array([found[name] for name in self.names]).reshape(len(self.names), len(keep))
        # sums of the same numbers in another order may be a little above a limit that they meet
        self.limits = np.array([float(limit) * (1 + 1e-12) for limit in (limits or {}).values()])

    def check_feasible(self, size: int) -> None:
        """Whether under each limit by itself some `size` candidates are possible.

        Raises:
            InputError: Naming the limit.
        """
        for name, costs, limit in zip(self.names, self.costs, self.limits, strict=True):
            least = float(np.sort(costs)[:size].sum())
            if least > limit:
                raise InputError(
                    f"limits.{name}", f"{limit:g}", f"at least {least:g}, that of the {size} cheapest candidates"
                )

    def combinations(self, size: int) -> NDArray[np.bool_] | None:
        """Which combinations of `size` candidates keep all limits, in lexicographic order; None for all.

        Raises:
            InputError: None does.
        """
        if not self.names:
            return None
        self.check_feasible(size)
        parts = [
            (self.costs[:, rows].sum(axis=2) <= self.limits[:, None]).all(axis=0)
            for rows in combination_rows(self.costs.shape[1], size)
        ]
        allowed = np.concatenate(parts)
        if not allowed.any():
            raise self.infeasible(size)
        return allowed

    def room(self, members: tuple[int, ...], more: int) -> NDArray[np.bool_]:
        """Which candidates can be added to `members` and leave room for the cheapest `more - 1` different others.

        With one limit this never ends in a blind alley; with several it can, as each is looked at by itself.
        """
        pool = self.costs.shape[1]
        allowed = np.ones(pool, dtype=bool)
        unused = np.ones(pool, dtype=bool)
        unused[list(members)] = False
        for costs, limit in zip(self.costs, self.limits, strict=True):
            spent = costs[list(members)].sum()
            order = np.flatnonzero(unused)[np.argsort(costs[unused], kind="stable")]
            # the cheapest `more` with the candidate among them: without the last when it is one of the first
            cheapest = costs[order[: more - 1]].sum()
            rest = np.full(pool, cheapest)
            if more > 1 and len(order) >= more:
                first = order[: more - 1]
                rest[first] = cheapest - costs[first] + costs[order[more - 1]]
            allowed &= spent + costs + rest <= limit
        return allowed

    def infeasible(self, size: int) -> InputError:
        """The error that says no ensemble was found."""
        return InputError("limits", ", ".join(self.names), f"limits that {size} candidates can keep together")


def pareto_front(scores: ArrayLike, costs: ArrayLike) -> list[int]:
    """Those of `K` alternatives that no other beats: none costs as little and scores lower, or costs less as well.

    Args:
        scores: `K` numbers, lower being better (NLL, Brier, error).
        costs: `K` finite numbers of at least 0.

    Returns:
        Their indices by increasing cost and falling score; of equal ones (scores within 1e-12) the first.

    Raises:
        InputError: If an argument is of the wrong form.
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
