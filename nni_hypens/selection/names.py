"""Names and bounds of selection that settings are checked against; imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Iterable

from nni_hypens.errors import InputError

METHODS = ("exhaustive", "greedy", "greedy_with_replacement", "beam", "top_k", "diversity_weighted")
OBJECTIVES = ("nll", "brier", "error")
BEAM_WIDTH = 10
"""Ensembles of each size that `beam` keeps by default."""
LIMITS = {"max_total_params": "parameters", "max_total_flops": "flops", "max_latency_ms": "latency_ms"}
"""Setting -> the cost of the ensemble that it limits."""
MAX_COMBINATIONS = 5_000_000
"""Most ensembles of one size that `exhaustive` scores."""


def check_combinations(pool: int, sizes: Iterable[int], name: str = "size") -> None:
    """Check that there are few enough ensembles to score each.

    Args:
        pool: Number of candidates.
        sizes: Numbers of members.
        name: The field to name in the error.

    Raises:
        InputError: More than `MAX_COMBINATIONS` ensembles of one size.
    """
    for size in sizes:
        total = math.comb(pool, size)
        if total > MAX_COMBINATIONS:
            raise InputError(
                name,
                f"{size} of {pool} candidates, {total} combinations",
                f"at most {MAX_COMBINATIONS} combinations, or selection beam or greedy",
            )
