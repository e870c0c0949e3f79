"""Limits on what the members of an ensemble may cost together."""

from __future__ import annotations

import numbers
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nni_hypens.errors import InputError
from nni_hypens.metrics.inputs import FloatArray, IntArray
from nni_hypens.selection.scorers import combination_rows

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
    """Limits on sums of the members' costs. A candidate that is chosen twice costs once, because it runs once.

    Args:
        costs: Name -> `P` costs, such as parameters, FLOPs or milliseconds of each candidate.
        limits: Name -> upper bound on the members' sum of that cost.
        keep: The candidates that can be chosen.
        pool: Number of candidates in the whole pool.

    Raises:
        InputError: A cost or limit of the wrong form, or a limit without costs.
    """

    def __init__(self, costs: Costs | None, limits: Mapping[str, float] | None, keep: IntArray, pool: int) -> None:
        available = {name: check_costs(f"costs.{name}", values, pool)[keep] for name, values in (costs or {}).items()}
        self.names = list(limits or {})
        for name, limit in (limits or {}).items():
            if name not in available:
                names = ", ".join(available) or "costs, and no costs are given"
                raise InputError(f"limits.{name}", limit, f"a limit on one of: {names}")
            if not isinstance(limit, numbers.Real) or isinstance(limit, bool) or not limit >= 0:
                raise InputError(f"limits.{name}", repr(limit), "a number of at least 0")
        self.costs = np.array([available[name] for name in self.names]).reshape(len(self.names), len(keep))
        # the same sum in another order may exceed its limit by rounding
        self.limits = np.array([float(limit) * (1 + 1e-12) for limit in (limits or {}).values()])

    def check_feasible(self, size: int) -> None:
        """Check that the `size` cheapest candidates keep each limit on its own.

        Raises:
            InputError: Naming the limit.
        """
        for name, costs, limit in zip(self.names, self.costs, self.limits, strict=True):
            least = float(np.sort(costs)[:size].sum())
            if least > limit:
                raise InputError(
                    f"limits.{name}", f"{limit:g}", f"at least {least:g}, the cost of the {size} cheapest candidates"
                )

    def combinations(self, size: int) -> NDArray[np.bool_] | None:
        """Mask of the combinations of `size` candidates that keep all limits, in lexicographic order.

        Returns:
            The mask; None without limits.

        Raises:
            InputError: No combination keeps them.
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
        """Mask of the candidates that can be added to `members` so that the cheapest `more - 1` others still fit.

        With one limit a step-by-step choice cannot get stuck; with several it can, because each limit is checked alone.
        """
        pool = self.costs.shape[1]
        allowed = np.ones(pool, dtype=bool)
        unused = np.ones(pool, dtype=bool)
        unused[list(members)] = False
        for costs, limit in zip(self.costs, self.limits, strict=True):
            spent = costs[list(members)].sum()
            order = np.flatnonzero(unused)[np.argsort(costs[unused], kind="stable")]
            # a candidate that is itself among the cheapest makes room for the next cheapest
            cheapest = costs[order[: more - 1]].sum()
            rest = np.full(pool, cheapest)
            if more > 1 and len(order) >= more:
                first = order[: more - 1]
                rest[first] = cheapest - costs[first] + costs[order[more - 1]]
            allowed &= spent + costs + rest <= limit
        return allowed

    def infeasible(self, size: int) -> InputError:
        """The error for limits that no ensemble keeps."""
        return InputError("limits", ", ".join(self.names), f"limits that {size} candidates can keep together")
