"""Names, limits and bounds that settings are checked against; imports neither NumPy nor torch."""

from __future__ import annotations

import math
from collections.abc import Iterable

from nni_hypens.errors import InputError

METHODS = ("exhaustive", "greedy", "greedy_with_replacement", "beam", "top_k", "diversity_weighted")
OBJECTIVES = ("nll", "brier", "error")
ALL = "all"
"""In place of a number of members: every candidate is one, with weights fitted on validation data."""
EVERY = 0
"""`ALL` where sizes are numbers, as in the results of a comparison."""
BEAM_WIDTH = 10
"""Ensembles of each size that `beam` keeps by default."""
DIVERSITY_WEIGHT = 0.1
"""Default of the method `diversity_weighted`: 0.1 more disagreement is worth 0.01 of the objective."""
LIMITS = {"max_total_params": "parameters", "max_total_flops": "flops", "max_latency_ms": "latency_ms"}
"""Setting -> the cost that it limits."""
COUNTED = ("parameters", "flops")
"""Costs that are known before training."""
MAX_COMBINATIONS = 5_000_000
"""Most ensembles of one size that `exhaustive` scores."""


def check_combinations(pool: int, sizes: Iterable[int], name: str = "size") -> None:
    """Check that an exhaustive search is affordable.

    Args:
        pool: Number of candidates.
        sizes: Ensemble sizes to enumerate.
        name: Field named in the error.

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
