"""How much members differ in their answers. `N` is the number of examples, `C` of classes, `M` of members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nni_hypens.errors import InputError
from nni_hypens.metrics.inputs import FloatArray, check_predictions, check_probabilities


def disagreement(a: ArrayLike, b: ArrayLike) -> float:
    """Share of examples on which two networks' most probable classes differ (Skalak 1996; Fort et al. 2019).

    Args:
        a: `N x C` probabilities.
        b: `N x C` probabilities.

    Returns:
        Disagreement in [0, 1].

    Raises:
        InputError: If an argument is not of that form, or the shapes differ.

    Examples:
        >>> disagreement([[0.9, 0.1], [0.6, 0.4]], [[0.7, 0.3], [0.2, 0.8]])
        0.5
    """
    first, second = check_probabilities(a, "a"), check_probabilities(b, "b")
    if first.shape != second.shape:
        raise InputError("b", f"shape {second.shape}", f"the shape of a, {first.shape}")
    return float((first.argmax(axis=1) != second.argmax(axis=1)).mean())


def pairwise_disagreement(probs: ArrayLike) -> FloatArray:
    """Disagreement of every pair of members.

    Args:
        probs: `M x N x C` probabilities.

    Returns:
        Symmetric `M x M` array of values in [0, 1], zero on the diagonal.

    Raises:
        InputError: If `probs` is not of that form.

    Examples:
        >>> pairwise_disagreement([[[0.9, 0.1], [0.6, 0.4]], [[0.7, 0.3], [0.2, 0.8]]])
        array([[0. , 0.5],
               [0.5, 0. ]])
    """
    return differing_answers(check_probabilities(probs, ndim=3).argmax(axis=2))


def differing_answers(top: NDArray[np.integer[Any]], rows: Sequence[int] | None = None) -> FloatArray:
    """Disagreement of members with every member from their most probable classes, `M x N` to `M x M`.

    Args:
        top: `M x N` classes.
        rows: Members `K` whose rows are wanted, for `K x M`; None for all.
    """
    return np.stack([(top != row).mean(axis=1) for row in (top if rows is None else top[list(rows)])])


def mean_disagreements(top: NDArray[np.integer[Any]]) -> FloatArray:
    """Mean disagreement of each member with the others, from their most probable classes, `M x N` to `M` values.

    Members that give the same answer are counted once for each example, so that the time does not grow with the number
    of pairs. 0 for a single member.

    Examples:
        >>> mean_disagreements(np.array([[0, 1], [0, 0], [0, 0]]))
        array([0.5 , 0.25, 0.25])
    """
    members, examples = top.shape
    places = np.arange(examples) * (int(top.max()) + 1) + top
    agreeing = np.bincount(places.ravel())[places]  # with itself, too
    shares: FloatArray = (members - agreeing).sum(axis=1) / max(examples * (members - 1), 1)
    return shares


def oracle_accuracy(probs: ArrayLike, labels: ArrayLike) -> float:
    """Share of examples that at least one member gets right: what a perfect choice among members would reach.

    Args:
        probs: `M x N x C` probabilities.
        labels: `N` integers in 0..C-1.

    Returns:
        Oracle accuracy in [0, 1], at least the best member's accuracy.

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> oracle_accuracy([[[0.9, 0.1], [0.6, 0.4]], [[0.7, 0.3], [0.2, 0.8]]], [0, 1])
        1.0
    """
    p, y = check_predictions(probs, labels, ndim=3)
    return float((p.argmax(axis=2) == y).any(axis=0).mean())


def contributions(probs: ArrayLike, labels: ArrayLike) -> list[dict[str, Any]]:
    """What each member knows that the others do not.

    Args:
        probs: `M x N x C` probabilities of the members.
        labels: `N` integers in 0..C-1.

    Returns:
        One row per member: `disagreement`, its mean disagreement with the others (0..1), `right_alone`, the number of
        examples that only it gets right, `wrong_alone`, the number that only it gets wrong, and
        `right_of_majority_wrong`, the number that it gets right and more than half of the others get wrong. All are
        None for a single member.

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> members = [[[0.9, 0.1], [0.6, 0.4]], [[0.7, 0.3], [0.2, 0.8]]]
        >>> contributions(members, [0, 1])[1]
        {'disagreement': 0.5, 'right_alone': 1, 'wrong_alone': 0, 'right_of_majority_wrong': 1}
    """
    p, y = check_predictions(probs, labels, ndim=3)
    top = p.argmax(axis=2)
    right = top == y
    apart, rest, together = mean_disagreements(top).tolist(), len(p) - 1, right.sum(axis=0)
    rows = []
    for share, correct in zip(apart, right, strict=True):
        others = together - correct
        rows.append(
            {
                "disagreement": share if rest else None,
                "right_alone": int((correct & (others == 0)).sum()) if rest else None,
                "wrong_alone": int((~correct & (others == rest)).sum()) if rest else None,
                "right_of_majority_wrong": int((correct & (2 * others < rest)).sum()) if rest else None,
            }
        )
    return rows
