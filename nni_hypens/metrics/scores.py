"""Metrics of predicted probabilities: accuracy, NLL, ECE, Brier score, AURC, disagreement and oracle accuracy.

Pure functions of numpy arrays. torchmetrics computes what it has (accuracy, calibration error); the rest is written
out here with its formula. `N` is the number of examples, `C` of classes, `M` of members.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

from nni_hypens.errors import InputError

PROBABILITY_FLOOR = 1e-12
"""Probabilities are raised to this before a logarithm, so one example costs at most 27.6 nats."""

SUM_TOLERANCE = 1e-3
"""How far the probabilities of one example may be from summing to 1."""

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


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


def check_probabilities(probs: ArrayLike, name: str = "probs", ndim: int = 2) -> FloatArray:
    """Check an array of probabilities and return it as float64.

    Args:
        probs: `N x C` (or `M x N x C`) probabilities; along the last axis they are >= 0 and sum to 1 within 1e-3.
        name: Name of the argument, for the error.
        ndim: Number of axes wanted.

    Returns:
        The same values in [0, 1], float64. Rounding above 1 (1.0000001) is cut off.

    Raises:
        InputError: If the shape, a value or a sum is not that of probabilities.
    """
    array = np.asarray(probs)
    layout = "members x examples x classes" if ndim == 3 else "examples x classes"
    if array.ndim != ndim or array.size == 0 or array.shape[-1] < 2:
        raise InputError(name, f"shape {array.shape}", f"a non-empty array {layout} with at least 2 classes")
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(name, f"dtype {array.dtype}", "floating-point probabilities")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise InputError(name, f"{np.count_nonzero(~np.isfinite(array))} NaN or infinite values", "finite values")
    if array.min() < 0:
        raise InputError(name, f"a negative value, {array.min():.6g}", "probabilities, all >= 0 (not logits)")
    sums = array.sum(axis=-1)
    worst = sums.flat[np.abs(sums - 1).argmax()]
    if abs(worst - 1) > SUM_TOLERANCE:
        raise InputError(name, f"an example whose probabilities sum to {worst:.6g}", "sums of 1 (apply softmax)")
    capped: FloatArray = np.minimum(array, 1.0)
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
    """
    array = np.asarray(labels)
    if array.shape != (examples,):
        raise InputError(name, f"shape {array.shape}", f"shape ({examples},), one label per example")
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(name, f"dtype {array.dtype}", "integer class labels")
    if array.min() < 0 or array.max() >= classes:
        raise InputError(name, f"values {array.min()}..{array.max()}", f"values 0..{classes - 1}")
    return array.astype(np.int64)


def accuracy(probs: ArrayLike, labels: ArrayLike) -> float:
    """Share of examples whose most probable class is the label (torchmetrics, micro average).

    Args:
        probs: `N x C` probabilities; the first of equal maxima counts.
        labels: `N` integers in 0..C-1.

    Returns:
        Accuracy in [0, 1].

    Raises:
        InputError: If an argument is not of that form.
    """
    p, y = _checked(probs, labels)
    top, target = torch.from_numpy(p.argmax(axis=1)), torch.from_numpy(y)
    return float(multiclass_accuracy(top, target, num_classes=p.shape[1], average="micro"))


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
    """
    p, y = _checked(probs, labels)
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], PROBABILITY_FLOOR)).mean())


def nll_of_each(probs: ArrayLike, labels: ArrayLike) -> FloatArray:
    """NLL of each of several networks, see :func:`nll`.

    Args:
        probs: `P x N x C` probabilities.
        labels: `N` integers in 0..C-1.

    Returns:
        `P` values.

    Raises:
        InputError: If an argument is not of that form.
    """
    p = check_probabilities(probs, ndim=3)
    y = check_labels(labels, *p.shape[1:])
    each: FloatArray = -np.log(np.maximum(p[:, np.arange(len(y)), y], PROBABILITY_FLOOR)).mean(axis=1)
    return each


def ece(probs: ArrayLike, labels: ArrayLike, n_bins: int = 15) -> float:
    """Expected calibration error of the top class: equal-width bins, L1 (Guo et al. 2017, eq. 3; torchmetrics).

    `sum_b n_b / N * |accuracy_b - confidence_b|`. torchmetrics bins in single precision and gives a confidence of
    exactly 1 a bin of its own; `reliability` counts it in the last bin.

    Args:
        probs: `N x C` probabilities.
        labels: `N` integers in 0..C-1.
        n_bins: Number of equal bins of [0, 1], >= 1.

    Returns:
        ECE in [0, 1].

    Raises:
        InputError: If an argument is not of that form.
    """
    p, y = _checked(probs, labels)
    _check_bins(n_bins)
    # Values must stay within [0, 1]: torchmetrics takes anything beyond for logits and applies a softmax.
    return float(
        multiclass_calibration_error(
            torch.from_numpy(p), torch.from_numpy(y), num_classes=p.shape[1], n_bins=n_bins, norm="l1"
        )
    )


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
    """
    p, y = _checked(probs, labels)
    difference = p.copy()
    difference[np.arange(len(y)), y] -= 1
    return float(np.square(difference).sum(axis=1).mean())


def aurc(probs: ArrayLike, labels: ArrayLike, excess: bool = False) -> float:
    """Area under the risk-coverage curve (Geifman, Uziel & El-Yaniv 2019, section 2): can the sure answers be trusted?

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
    """
    p, y = _checked(probs, labels)
    confidence, wrong = p.max(axis=1), (p.argmax(axis=1) != y).astype(np.float64)
    _, tie, count = np.unique(confidence, return_inverse=True, return_counts=True)
    expected = (np.bincount(tie, weights=wrong) / count)[tie][np.argsort(-confidence, kind="stable")]
    k = np.arange(1, len(y) + 1)
    area = float((np.cumsum(expected) / k).mean())
    return area - float((np.cumsum(np.sort(wrong)) / k).mean()) if excess else area


def summary(probs: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """The metrics that every result carries.

    Args:
        probs: `N x C` probabilities.
        labels: `N` integers in 0..C-1.

    Returns:
        `accuracy`, `nll`, `ece` (15 bins), `brier` and `aurc`, as Python floats.

    Raises:
        InputError: If an argument is not of that form.
    """
    return {
        "accuracy": accuracy(probs, labels),
        "nll": nll(probs, labels),
        "ece": ece(probs, labels),
        "brier": brier(probs, labels),
        "aurc": aurc(probs, labels),
    }


def disagreement(a: ArrayLike, b: ArrayLike) -> float:
    """Fraction of examples on which two networks' most probable classes differ.

    Args:
        a: `N x C` probabilities.
        b: `N x C` probabilities.

    Returns:
        Disagreement in [0, 1].

    Raises:
        InputError: If an argument is not of that form, or the shapes differ.
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
    """
    top = check_probabilities(probs, ndim=3).argmax(axis=2)
    return np.stack([(top != row).mean(axis=1) for row in top])


def oracle_accuracy(probs: ArrayLike, labels: ArrayLike) -> float:
    """Share of examples that at least one member has right: what a perfect choice among members would reach.

    Args:
        probs: `M x N x C` probabilities.
        labels: `N` integers in 0..C-1.

    Returns:
        Oracle accuracy in [0, 1], at least the best member's accuracy.

    Raises:
        InputError: If an argument is not of that form.
    """
    p = check_probabilities(probs, ndim=3)
    y = check_labels(labels, p.shape[1], p.shape[2])
    return float((p.argmax(axis=2) == y).any(axis=0).mean())


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
    """
    p, y = _checked(probs, labels)
    _check_bins(n_bins)
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


def _checked(probs: ArrayLike, labels: ArrayLike) -> tuple[FloatArray, IntArray]:
    p = check_probabilities(probs)
    return p, check_labels(labels, *p.shape)


def _check_bins(n_bins: int) -> None:
    if isinstance(n_bins, bool) or not isinstance(n_bins, int) or n_bins < 1:
        raise InputError("n_bins", n_bins, "an integer of at least 1")
