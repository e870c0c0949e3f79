"""Checks of probabilities and labels, and the floor under probabilities; imports no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nni_hypens.errors import InputError

PROBABILITY_FLOOR = 1e-12
"""Probabilities are raised to this before a logarithm, so one example costs at most 27.6 nats.

Without a floor one impossible label would make every mean infinite. Scores, selection and calibration share it, so that
the NLL they minimise is the one they report.
"""
SUM_TOLERANCE = 1e-3
"""How far the probabilities of one example may be from summing to 1."""

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
_LAYOUTS = {2: "examples x classes", 3: "members x examples x classes"}


def check_probabilities(probs: ArrayLike, name: str = "probs", ndim: int = 2) -> FloatArray:
    """Check an array of probabilities and return it as float64.

    Args:
        probs: `N x C` (or `M x N x C`) probabilities; along the last axis they are >= 0 and sum to 1 within 1e-3.
        name: Name of the argument, for the error.
        ndim: Number of axes wanted, 2 or 3.

    Returns:
        The same values in [0, 1], float64. Rounding above 1 (1.0000001) is cut off.

    Raises:
        InputError: If the shape, a value or a sum is not that of probabilities.

    Examples:
        >>> check_probabilities([[0.25, 0.75]])
        array([[0.25, 0.75]])
    """
    array = np.asarray(probs)
    _check_form(array, name, ndim, _LAYOUTS[ndim])
    array = array.astype(np.float64)  # a copy, which may be changed: these arrays can be large
    _check_values(array, name)
    capped: FloatArray = np.minimum(array, 1.0, out=array)
    return capped


def check_labels(labels: ArrayLike, examples: int, classes: int, name: str = "labels") -> IntArray:
    """Check class labels and return them as int64.

    Args:
        labels: `N` integers in 0..C-1.
        examples: The `N` wanted.
        classes: The `C` they must stay below.
        name: Name of the argument, for the error.

    Returns:
        `N` labels, int64.

    Raises:
        InputError: If the shape, the type or a value is wrong.

    Examples:
        >>> check_labels([0, 2, 1], examples=3, classes=3)
        array([0, 2, 1])
    """
    array = np.asarray(labels)
    if array.shape != (examples,):
        raise InputError(name, f"shape {array.shape}", f"shape ({examples},), one label per example")
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(name, f"dtype {array.dtype}", "integer class labels")
    if array.min() < 0 or array.max() >= classes:
        raise InputError(name, f"values {array.min()}..{array.max()}", f"values 0..{classes - 1}")
    return array.astype(np.int64)


def check_predictions(probs: ArrayLike, labels: ArrayLike, ndim: int = 2) -> tuple[FloatArray, IntArray]:
    """`check_probabilities` and `check_labels` together; returns both as arrays."""
    p = check_probabilities(probs, ndim=ndim)
    return p, check_labels(labels, *p.shape[-2:])


def check_pool(probs: ArrayLike, labels: ArrayLike) -> tuple[NDArray[Any], IntArray, tuple[int, ...]]:
    """Check the predictions of a pool of candidates, some of which may have diverged to NaN.

    A pool can be large, so that it keeps its dtype and is checked candidate by candidate.

    Args:
        probs: `P x N x C` probabilities.
        labels: `N` integers in 0..C-1.

    Returns:
        Probabilities, labels as int64, and the candidates that hold a NaN.

    Raises:
        InputError: If an argument is of the wrong form, or all candidates hold a NaN.
    """
    p = np.asarray(probs)
    _check_form(p, "probs", 3, "candidates x examples x classes")
    broken = tuple(index for index, candidate in enumerate(p) if np.isnan(candidate).any())
    if len(broken) == len(p):
        raise InputError("probs", "NaN in every candidate", "at least one candidate without NaN")
    lost = set(broken)
    for index, candidate in enumerate(p):
        if index not in lost:
            _check_values(candidate, f"probs[{index}]")
    return p, check_labels(labels, *p.shape[1:]), broken


def check_weights(weights: ArrayLike | None, members: int) -> FloatArray:
    """Check the members' weights.

    Args:
        weights: One number per member, at least 0, with a sum of 1; None for equal weights.
        members: Number of members.

    Returns:
        The weights, float64.

    Raises:
        InputError: If the weights are not of that form.
    """
    w = np.full(members, 1 / members) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (members,) or not (w >= 0).all() or abs(w.sum() - 1) > 1e-6:
        raise InputError("weights", weights, f"{members} numbers of at least 0 that sum to 1, one per member")
    return w


def _check_form(array: NDArray[Any], name: str, ndim: int, layout: str) -> None:
    if array.ndim != ndim or array.size == 0 or array.shape[-1] < 2:
        raise InputError(name, f"shape {array.shape}", f"a non-empty array {layout} with at least 2 classes")
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(name, f"dtype {array.dtype}", "floating-point probabilities")


def _check_values(array: NDArray[Any], name: str) -> None:
    if not np.isfinite(array).all():
        raise InputError(name, f"{np.count_nonzero(~np.isfinite(array))} NaN or infinite values", "finite values")
    if array.min() < 0:
        raise InputError(name, f"a negative value, {array.min():.6g}", "probabilities, all >= 0 (not logits)")
    sums = array.sum(axis=-1, dtype=np.float64)
    worst = sums.flat[np.abs(sums - 1).argmax()]
    if abs(worst - 1) > SUM_TOLERANCE:
        raise InputError(name, f"an example whose probabilities sum to {worst:.6g}", "sums of 1 (apply softmax)")
