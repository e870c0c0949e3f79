"""Scores of predicted probabilities: accuracy, top-k accuracy, NLL, Brier score, ECE and AURC.

Pure functions of numpy arrays. torchmetrics computes what it has (accuracy, calibration error); the rest is written
out here with its formula. `N` is the number of examples, `C` of classes, `P` of networks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

from nni_hypens.metrics.inputs import PROBABILITY_FLOOR, FloatArray, IntArray, check_predictions
from nni_hypens.utils.checks import check_whole

TOP_K = 5
"""The largest k of the top-k accuracies that results carry."""


class Reliability(NamedTuple):
    """Data of a reliability diagram, one entry per confidence bin, from low to high.

    Attributes:
        confidence: Mean top-class probability of the bin's examples, NaN for an empty bin.
        accuracy: Share of the bin's examples that are right, NaN for an empty bin.
        count: Number of examples in the bin.
    """

    confidence: FloatArray
    accuracy: FloatArray
    count: IntArray  # type: ignore[assignment]  # over tuple.count


def accuracy(probs: ArrayLike, labels: ArrayLike) -> float:
    """Share of examples whose most probable class is the label (torchmetrics, micro average).

    Args:
        probs: `N x C` probabilities; the first of equal maxima counts.
        labels: `N` integers in 0..C-1.

    Returns:
        Accuracy in [0, 1].

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> accuracy([[0.9, 0.1], [0.4, 0.6]], [0, 0])
        0.5
    """
    return _accuracy(*check_predictions(probs, labels))


def top_k(probs: ArrayLike, labels: ArrayLike, largest: int = TOP_K) -> dict[str, float]:
    """Top-k accuracy: share of examples whose label is among the k most probable classes.

    Of classes with equal probability the first counts as more probable, so that k = 1 is `accuracy`.

    Args:
        probs: `N x C` probabilities.
        labels: `N` integers in 0..C-1.
        largest: Largest k, at least 2.

    Returns:
        `top_k_2` and so on, up to `largest` or C - 1, as all labels are among C classes; empty for two classes.

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> top_k([[0.5, 0.3, 0.1, 0.1], [0.5, 0.1, 0.3, 0.1]], [1, 1])
        {'top_k_2': 0.5, 'top_k_3': 1.0}
    """
    p, y = check_predictions(probs, labels)
    check_whole("largest", largest, 2)
    own = p[np.arange(len(y)), y][:, None]
    before = ((p > own) | ((p == own) & (np.arange(p.shape[1]) < y[:, None]))).sum(axis=1)
    return {f"top_k_{k}": float((before < k).mean()) for k in range(2, min(largest, p.shape[1] - 1) + 1)}


def confusion(probs: ArrayLike, labels: ArrayLike) -> IntArray:
    """Number of examples by label and most probable class.

    Args:
        probs: `N x C` probabilities; the first of equal maxima counts.
        labels: `N` integers in 0..C-1.

    Returns:
        `C x C` counts: a row for each label, a column for each answer.

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> confusion([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7]], [0, 0, 1])
        array([[1, 1],
               [0, 1]])
    """
    p, y = check_predictions(probs, labels)
    classes = p.shape[1]
    counts: IntArray = np.bincount(classes * y + p.argmax(axis=1), minlength=classes**2).reshape(classes, classes)
    return counts


def nll(probs: ArrayLike, labels: ArrayLike) -> float:
    """Mean negative log-likelihood of the labels, in nats: `-mean_i ln max(p_i[y_i], 1e-12)`.

    The natural logarithm; probabilities below 1e-12 count as 1e-12, so that one impossible label does not make the
    whole mean infinite.

    Args:
        probs: `N x C` probabilities.
        labels: `N` integers in 0..C-1.

    Returns:
        NLL in [0, 27.6].

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> round(nll([[0.5, 0.5], [0.25, 0.75]], [0, 0]), 4)
        1.0397
    """
    return float(example_nll(*check_predictions(probs, labels)).mean())


def nll_of_each(probs: ArrayLike, labels: ArrayLike) -> FloatArray:
    """NLL of each of several networks, see `nll`.

    Args:
        probs: `P x N x C` probabilities.
        labels: `N` integers in 0..C-1.

    Returns:
        `P` values.

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> nll_of_each([[[0.9, 0.1]], [[0.5, 0.5]]], [0]).round(3)
        array([0.105, 0.693])
    """
    each: FloatArray = example_nll(*check_predictions(probs, labels, ndim=3)).mean(axis=-1)
    return each


def example_nll(p: FloatArray, y: IntArray) -> FloatArray:
    """NLL of each example, for arrays that are already checked: `... x N x C` and `N` to `... x N`."""
    return true_class_nll(p[..., np.arange(len(y)), y])


def true_class_nll(p: FloatArray) -> FloatArray:
    """NLL of each example from the probability of its label."""
    # averages of probabilities may be a rounding error above 1
    losses: FloatArray = -np.log(np.clip(p, PROBABILITY_FLOOR, 1.0))
    return losses


def brier(probs: ArrayLike, labels: ArrayLike) -> float:
    """Brier score as Brier (1950) defined it: mean over examples of the sum over classes of squared differences.

    `mean_i sum_c (p_i[c] - [y_i = c])^2`; some authors halve it or divide it by C.

    Args:
        probs: `N x C` probabilities.
        labels: `N` integers in 0..C-1.

    Returns:
        Brier score in [0, 2]; 0 is best.

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> brier([[0.5, 0.5], [1.0, 0.0]], [0, 0])
        0.25
    """
    return _brier(*check_predictions(probs, labels))


def ece(probs: ArrayLike, labels: ArrayLike, n_bins: int = 15) -> float:
    """Expected calibration error of the top class: equal-width bins, L1 (Guo et al. 2017, eq. 3; torchmetrics).

    `sum_b n_b / N * |accuracy_b - confidence_b|`. torchmetrics bins in single precision and puts a confidence of
    exactly 1 in an extra bin; `reliability` counts it in the last bin.

    Args:
        probs: `N x C` probabilities.
        labels: `N` integers in 0..C-1.
        n_bins: Number of equal bins of [0, 1], >= 1.

    Returns:
        ECE in [0, 1].

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> round(ece([[0.8, 0.2], [0.8, 0.2]], [0, 1]), 4)  # 50 % right at a confidence of 80 %
        0.3
    """
    return _ece(*check_predictions(probs, labels), check_whole("n_bins", n_bins))


def aurc(probs: ArrayLike, labels: ArrayLike, excess: bool = False) -> float:
    """Area under the risk-coverage curve (Geifman, Uziel & El-Yaniv 2019, section 2): can confident answers be trusted?

    `mean_k (errors among the k most confident) / k` over k = 1..N, where confidence is the top probability. Examples
    of equal confidence have no order, so the mean over all their orders is taken: each counts as the tie's mean error.
    Neither torchmetrics nor scikit-learn has it.

    Args:
        probs: `N x C` probabilities.
        labels: `N` integers in 0..C-1.
        excess: Subtract the AURC of the same errors in the best possible order (E-AURC), computed exactly rather than
            by the source's approximation `r + (1 - r) ln(1 - r)`.

    Returns:
        AURC in [0, 1], lower is better; 0 without errors.

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> aurc([[0.9, 0.1], [0.6, 0.4]], [0, 1])  # the less confident answer is wrong
        0.25
    """
    return _aurc(*check_predictions(probs, labels), excess)


def summary(probs: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """The scores that every result carries.

    Args:
        probs: `N x C` probabilities.
        labels: `N` integers in 0..C-1.

    Returns:
        `accuracy`, `nll`, `ece` (15 bins), `brier` and `aurc`, as Python floats.

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> scores = summary([[0.9, 0.1], [0.6, 0.4]], [0, 1])
        >>> {name: round(value, 3) for name, value in scores.items()}
        {'accuracy': 0.5, 'nll': 0.511, 'ece': 0.35, 'brier': 0.37, 'aurc': 0.25}
    """
    p, y = check_predictions(probs, labels)
    return {
        "accuracy": _accuracy(p, y),
        "nll": float(example_nll(p, y).mean()),
        "ece": _ece(p, y),
        "brier": _brier(p, y),
        "aurc": _aurc(p, y),
    }


def reliability(probs: ArrayLike, labels: ArrayLike, n_bins: int = 15) -> Reliability:
    """Confidence and accuracy of the top class per equal-width confidence bin (Guo et al. 2017, section 2).

    Bins are [0, 1/n), [1/n, 2/n) ... and the last one includes 1.

    Args:
        probs: `N x C` probabilities.
        labels: `N` integers in 0..C-1.
        n_bins: Number of equal bins of [0, 1], >= 1.

    Returns:
        `n_bins` confidences, accuracies and counts.

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> reliability([[0.75, 0.25], [0.0, 1.0]], [0, 0], n_bins=2)
        Reliability(confidence=array([  nan, 0.875]), accuracy=array([nan, 0.5]), count=array([0, 2]))
    """
    p, y = check_predictions(probs, labels)
    check_whole("n_bins", n_bins)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    inner_edges = np.linspace(0, 1, n_bins + 1)[1:-1]
    index = np.digitize(confidence, inner_edges)
    count = np.bincount(index, minlength=n_bins)
    divisor = np.where(count > 0, count, np.nan)
    return Reliability(
        confidence=np.bincount(index, weights=confidence, minlength=n_bins) / divisor,
        accuracy=np.bincount(index, weights=right.astype(np.float64), minlength=n_bins) / divisor,
        count=count.astype(np.int64),
    )


def _accuracy(p: FloatArray, y: IntArray) -> float:
    top, target = torch.from_numpy(p.argmax(axis=1)), torch.from_numpy(y)
    return float(multiclass_accuracy(top, target, num_classes=p.shape[1], average="micro"))


def _brier(p: FloatArray, y: IntArray) -> float:
    difference = p.copy()
    difference[np.arange(len(y)), y] -= 1
    return float(np.square(difference).sum(axis=1).mean())


def _ece(p: FloatArray, y: IntArray, n_bins: int = 15) -> float:
    # Values must stay within [0, 1]: torchmetrics takes anything beyond for logits and applies a softmax.
    probs, target = torch.from_numpy(p), torch.from_numpy(y)
    return float(multiclass_calibration_error(probs, target, num_classes=p.shape[1], n_bins=n_bins, norm="l1"))


def _aurc(p: FloatArray, y: IntArray, excess: bool = False) -> float:
    confidence, wrong = p.max(axis=1), (p.argmax(axis=1) != y).astype(np.float64)
    _, tie, count = np.unique(confidence, return_inverse=True, return_counts=True)
    expected = (np.bincount(tie, weights=wrong) / count)[tie][np.argsort(-confidence, kind="stable")]
    k = np.arange(1, len(y) + 1)
    area = float((np.cumsum(expected) / k).mean())
    return area - float((np.cumsum(np.sort(wrong)) / k).mean()) if excess else area
