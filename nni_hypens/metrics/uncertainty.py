"""What an ensemble does not know, how well it spots unfamiliar images, and what each member adds.

`M` is the number of members, `N` of examples, `C` of classes. torchmetrics and scikit-learn have none of these except
the AUROC, which is scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr
from sklearn.metrics import roc_auc_score

from nni_hypens.errors import InputError
from nni_hypens.metrics.inputs import FloatArray, check_predictions, check_probabilities, check_weights
from nni_hypens.metrics.scores import example_nll, true_class_nll


class Entropy(NamedTuple):
    """Predictive uncertainty of each example, `N` values each, in nats: `total = aleatoric + epistemic`.

    Attributes:
        total: Entropy of the averaged probabilities, 0..ln C.
        aleatoric: Mean of the members' entropies: what each member by itself finds ambiguous.
        epistemic: Mutual information of prediction and member: what the members disagree about, 0..ln M.
    """

    total: FloatArray
    aleatoric: FloatArray
    epistemic: FloatArray


def entropy_split(probs: ArrayLike, weights: ArrayLike | None = None) -> Entropy:
    """Split the entropy of a mixture into expected entropy and mutual information (Depeweg et al. 2018, eq. 10).

    The split ignores calibration: no temperature is applied to the averaged probabilities.

    Args:
        probs: `M x N x C` probabilities of the members.
        weights: `M` weights that sum to 1; None for equal ones.

    Returns:
        The three parts; rounding below 0 in the difference is cut off.

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> split = entropy_split([[[1.0, 0.0]], [[0.0, 1.0]]])  # two certain members that contradict each other
        >>> [round(float(part[0]), 3) for part in split]
        [0.693, 0.0, 0.693]
    """
    p = check_probabilities(probs, ndim=3)
    return split_entropy(p, check_weights(weights, len(p)))


def split_entropy(p: FloatArray, w: FloatArray) -> Entropy:
    """`entropy_split` of arrays that are already checked."""
    total = entr(np.tensordot(w, p, axes=1)).sum(axis=1)
    aleatoric = np.tensordot(w, entr(p).sum(axis=2), axes=1)
    return Entropy(total, np.minimum(aleatoric, total), np.maximum(total - aleatoric, 0.0))


def ood_auroc(inside: ArrayLike, outside: ArrayLike) -> float:
    """How well a score separates out-of-distribution images from test images (Hendrycks & Gimpel 2017).

    Args:
        inside: Scores of test images, higher for less familiar; at least one, finite.
        outside: Scores of out-of-distribution images.

    Returns:
        The AUROC: the probability that an out-of-distribution image has the higher score (ties count half). 0.5 is
        chance, 1 perfect.

    Raises:
        InputError: If a list is empty or has values that are not finite.

    Examples:
        >>> round(ood_auroc([0.1, 0.2, 0.6], [0.5, 0.9]), 3)
        0.833
    """
    parts = {"inside": np.asarray(inside, dtype=np.float64), "outside": np.asarray(outside, dtype=np.float64)}
    for name, values in parts.items():
        if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
            raise InputError(name, f"shape {values.shape}", "one or more finite scores")
    truth = np.repeat([0, 1], [len(values) for values in parts.values()])
    return float(roc_auc_score(truth, np.concatenate(list(parts.values()))))


def ood_scores(probs: ArrayLike, weights: ArrayLike | None, calibrated: ArrayLike) -> dict[str, FloatArray]:
    """Scores of unfamiliarity, `N` values each, higher for less familiar.

    Args:
        probs: `M x N x C` probabilities of the members.
        weights: `M` weights that sum to 1; None for equal ones.
        calibrated: `N x C` probabilities of the ensemble.

    Returns:
        `entropy` (total) and `mutual_information` of the members' mixture, and `confidence`: 1 - the top probability
        of the calibrated ensemble.

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> scores = ood_scores([[[1.0, 0.0]], [[0.0, 1.0]]], None, [[0.5, 0.5]])
        >>> {name: round(float(values[0]), 3) for name, values in scores.items()}
        {'entropy': 0.693, 'mutual_information': 0.693, 'confidence': 0.5}
    """
    split = entropy_split(probs, weights)
    top = check_probabilities(calibrated, "calibrated").max(axis=1)
    return {"entropy": split.total, "mutual_information": split.epistemic, "confidence": 1 - top}


def marginal_gains(probs: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> list[float | None]:
    """What each member adds: NLL of the ensemble without it minus NLL with it, in nats; above 0 it helps.

    Args:
        probs: `M x N x C` probabilities of the members.
        labels: `N` integers in 0..C-1.
        weights: `M` weights that sum to 1; None for equal ones.

    Returns:
        One gain per member; None for a member without which nothing is left: a single one, or one that has all the
        weight.

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> gains = marginal_gains([[[0.9, 0.1]], [[0.5, 0.5]]], [0])
        >>> [round(gain, 3) for gain in gains]
        [0.336, -0.251]
    """
    p, y = check_predictions(probs, labels, ndim=3)
    if len(p) == 1:
        return [None]
    w = check_weights(weights, len(p))
    whole = float(example_nll(np.tensordot(w, p, axes=1), y).mean())
    truth = w[:, None] * p[:, np.arange(len(y)), y]  # the NLL reads the true class only
    left = _sums_of_others(w[:, None])
    alone = left[:, 0] == 0  # a mixture of weight 0 has no probabilities, so there is no NLL to compare with
    rest = _sums_of_others(truth) / np.where(left == 0, 1.0, left)
    gains = true_class_nll(rest).mean(axis=1) - whole
    return [None if nothing else float(gain) for nothing, gain in zip(alone, gains, strict=True)]


def _sums_of_others(rows: FloatArray) -> FloatArray:
    """For each row the sum of all others, `M x N` to `M x N`: of those before it and those after it."""
    none = np.zeros_like(rows[:1])
    before = np.concatenate([none, np.cumsum(rows[:-1], axis=0)])
    after = np.concatenate([np.cumsum(rows[:0:-1], axis=0)[::-1], none])
    sums: FloatArray = before + after
    return sums


def swap_gains(
    probs: ArrayLike, others: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None
) -> list[tuple[float, int] | None]:
    """How much better each member is than the best candidate that could replace it.

    Args:
        probs: `M x N x C` probabilities of the members.
        others: `K x N x C` probabilities of the candidates that are not members; K may be 0.
        labels: `N` integers in 0..C-1.
        weights: `M` weights that sum to 1; None for equal ones.

    Returns:
        For each member the lowest NLL with it replaced, minus the NLL as it is, and the position in `others` of the
        replacement; None without others. Not below 0 on the data of an exhaustive search for the lowest NLL.

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> gain, replacement = swap_gains([[[0.9, 0.1]]], [[[0.2, 0.8]], [[0.6, 0.4]]], [0])[0]
        >>> round(gain, 3), replacement
        (0.405, 1)
    """
    p, y = check_predictions(probs, labels, ndim=3)
    if len(cast(Sized, others)) == 0:
        return [None] * len(p)
    spare, w = check_probabilities(others, "others", ndim=3), check_weights(weights, len(p))
    # the NLL reads the true class only
    average, members, rest = (
        np.ascontiguousarray(q[..., np.arange(len(y)), y]) for q in (np.tensordot(w, p, axes=1), p, spare)
    )
    whole = float(true_class_nll(average).mean())
    gains: list[tuple[float, int] | None] = []
    for member, weight in zip(members, w, strict=True):
        losses = true_class_nll(average + weight * (rest - member)).mean(axis=1)
        best = int(np.argmin(losses))
        gains.append((float(losses[best]) - whole, best))
    return gains
