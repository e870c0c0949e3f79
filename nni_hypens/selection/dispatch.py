"""Select members by a method's name."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nni_hypens.errors import InputError
from nni_hypens.selection.methods import beam, exhaustive, greedy, top_k
from nni_hypens.selection.names import DIVERSITY_WEIGHT, METHODS, check_combinations
from nni_hypens.selection.scorers import Objective
from nni_hypens.selection.task import Selection
from nni_hypens.utils.checks import one_of


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
        **options: Further arguments of the method.

    Returns:
        The selection.

    Raises:
        InputError: If an argument is of the wrong form, or the method does not have it.

    Examples:
        >>> probs = [[[0.9, 0.1], [0.7, 0.3]], [[0.3, 0.7], [0.1, 0.9]], [[0.6, 0.4], [0.5, 0.5]]]
        >>> select("beam", probs, [0, 1], size=2, objective="brier", width=3).members
        (0, 1)
    """
    check_options(method, options)
    selection = _CALLS[method](probs, labels, size, objective=objective, **options)
    return dataclasses.replace(selection, method=method)


_CALLS: dict[str, Callable[..., Selection]] = {
    "exhaustive": exhaustive,
    "greedy": greedy,
    "greedy_with_replacement": partial(greedy, with_replacement=True),
    "beam": beam,
    "top_k": top_k,
    "diversity_weighted": partial(greedy, diversity_weight=DIVERSITY_WEIGHT),
}


def check_options(method: str, options: Mapping[str, object]) -> None:
    """Check a method's name and the names of the further arguments of `select`.

    Raises:
        InputError: An unknown name, with the nearest.

    Examples:
        >>> check_options("beam", {"width": 5})
    """
    one_of("method", method, METHODS)
    parameters = inspect.signature(_CALLS[method]).parameters.values()
    fixed = ("with_replacement", "probs", "labels")
    known = [parameter.name for parameter in parameters if parameter.name not in fixed]
    for name in options:
        one_of(f"option of {method}", name, known)


def try_options(method: str, options: Mapping[str, Any], size: int, pool: int, field: str = "options") -> None:
    """Check names and values of options by a choice among made-up candidates, before any is trained.

    Args:
        method: A method's name.
        options: Further arguments of `select`, without costs and limits.
        size: Number of members, where the options do not say it.
        pool: Number of candidates.
        field: What the options are called, for errors.

    Raises:
        InputError: An option that the method does not have, or a value that it refuses.

    Examples:
        >>> try_options("beam", {"width": 5}, 3, 8, "selection_options")
    """
    check_options(method, options)
    for name in ("costs", "limits"):
        if name in options:
            expected = "none: the run gives them, see max_total_params, max_total_flops and max_latency_ms"
            raise InputError(f"{field}.{name}", "an option", expected)
    asked = {"size": size, **options}
    if callable(asked.get("objective")):
        asked["objective"] = "nll"  # the user's function may need the validation images
    if method == "exhaustive" and isinstance(asked["size"], int) and 0 < asked["size"] <= pool:
        check_combinations(pool, (asked["size"],), f"{field}.size")
        pool = asked["size"]  # one combination instead of millions
    try:
        select(method, np.full((pool, 2, 2), 0.5), [0, 1], **asked)
    except InputError as error:
        raise InputError(f"{field}.{error.field}", error.got, error.expected) from None
