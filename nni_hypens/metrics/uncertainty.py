"""What an ensemble does not know, and what each member gives it.

Pure functions of numpy arrays, as in :mod:`nni_hypens.metrics`. `M` is the number of members, `N` of examples, `C` of
classes. torchmetrics and scikit-learn have none of these but the AUROC, which is scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr
from sklearn.metrics import roc_auc_score

from nni_hypens.errors import InputError
from nni_hypens.metrics.scores import FloatArray, check_labels, check_probabilities, nll, pairwise_disagreement


class Entropy(NamedTuple):
    """Predictive uncertainty of each example, `N` values each, in nats: `total = aleatoric + epistemic`.

    Attributes:
        total: Entropy of the averaged probabilities, 0..ln C.
        aleatoric: Mean of the members' entropies: what each member for itself finds ambiguous.
        epistemic: Mutual information of prediction and member: what the members disagree about, 0..ln M.
    """

    total: FloatArray
    aleatoric: FloatArray
    epistemic: FloatArray


def entropy_split(probs: ArrayLike, weights: ArrayLike | None = None) -> Entropy:
    """Split the entropy of a mixture into expected entropy and mutual information (Depeweg et al. 2018, eq. 10).

    The split is of the mixture itself: a temperature on the averaged probabilities has no part in it.

    Args:
        probs: `M x N x C` probabilities of the members.
        weights: `M` weights that sum to 1; None for equal ones.

    Returns:
        The three parts; rounding below 0 in the difference is cut off.

    Raises:
        InputError: If an argument is not of that form.
    """
    p = check_probabilities(probs, ndim=3)
    w = _weights(weights, len(p))
    total = entr(np.tensordot(w, p, axes=1)).sum(axis=1)
    aleatoric = np.tensordot(w, entr(p).sum(axis=2), axes=1)
    return Entropy(total, np.minimum(aleatoric, total), np.maximum(total - aleatoric, 0.0))


def ood_auroc(inside: ArrayLike, outside: ArrayLike) -> float:
    """How well a score tells images from elsewhere from test images (Hendrycks & Gimpel 2017): scikit-learn's AUROC.

    Args:
        inside: Scores of test images, higher for less familiar; at least one, finite.
        outside: Scores of images from elsewhere.

    Returns:
        The probability that an image from elsewhere has the higher score (ties count half): 0.5 is chance, 1 perfect.

    Raises:
        InputError: If a list is empty or has values that are not finite.
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
    """
    split = entropy_split(probs, weights)
    top = check_probabilities(calibrated, "calibrated").max(axis=1)
    return {"entropy": split.total, "mutual_information": split.epistemic, "confidence": 1 - top}


def without(probs: FloatArray, weights: FloatArray, index: int) -> FloatArray:
    """The average of all members but one, their weights divided by what is left of them; `N x C`."""
    rest = np.delete(weights, index)
    return np.tensordot(rest / rest.sum(), np.delete(probs, index, axis=0), axes=1)


def marginal_gains(probs: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> list[float | None]:
    """What each member gives: NLL of the ensemble without it minus NLL with it, in nats; above 0 it helps.

    Args:
        probs: `M x N x C` probabilities of the members.
        labels: `N` integers in 0..C-1.
        weights: `M` weights that sum to 1; None for equal ones.

    Returns:
        One gain per member, and [None] for a single member, without which there is nothing.

    Raises:
        InputError: If an argument is not of that form.
    """
    p = check_probabilities(probs, ndim=3)
    if len(p) == 1:
        return [None]
    w = _weights(weights, len(p))
    whole = nll(np.tensordot(w, p, axes=1), labels)
    return [nll(without(p, w, index), labels) - whole for index in range(len(p))]


def swap_gains(
    probs: ArrayLike, others: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None
) -> list[tuple[float, int] | None]:
    """What each member is ahead of the best candidate that could take its place.

    Args:
        probs: `M x N x C` probabilities of the members.
        others: `K x N x C` probabilities of the candidates that are no members; K may be 0.
        labels: `N` integers in 0..C-1.
        weights: `M` weights that sum to 1; None for equal ones.

    Returns:
        For each member the lowest NLL with it replaced, minus the NLL as it is, and the position in `others` of the
        replacement; None without others. Not below 0 on the data of an exhaustive search for the lowest NLL.

    Raises:
        InputError: If an argument is not of that form.
    """
    p = check_probabilities(probs, ndim=3)
    if len(cast(Sized, others)) == 0:
        return [None] * len(p)
    spare, w = check_probabilities(others, "others", ndim=3), _weights(weights, len(p))
    average = np.tensordot(w, p, axes=1)
    whole = nll(average, labels)
    found: list[tuple[float, int] | None] = []
    for member, weight in zip(p, w, strict=True):
        # Rounding may leave a probability a hair below 0.
        losses = [nll(np.maximum(average + weight * (other - member), 0.0), labels) for other in spare]
        best = int(np.argmin(losses))
        found.append((losses[best] - whole, best))
    return found


def contributions(probs: ArrayLike, labels: ArrayLike) -> list[dict[str, Any]]:
    """What each member knows and the others do not.

    Args:
        probs: `M x N x C` probabilities of the members.
        labels: `N` integers in 0..C-1.

    Returns:
        One row per member: `disagreement`, its mean disagreement with the others (0..1, None for a single member),
        `right_alone`, the examples that it has right and no other member, `wrong_alone`, those that it has wrong and
        every other has right, and `right_of_majority_wrong`, those it has right and more than half of the others have
        wrong.

    Raises:
        InputError: If an argument is not of that form.
    """
    p = check_probabilities(probs, ndim=3)
    right = p.argmax(axis=2) == check_labels(labels, p.shape[1], p.shape[2])
    pairs, rest = pairwise_disagreement(p), len(p) - 1
    rows = []
    for index, own in enumerate(right):
        others = right.sum(axis=0) - own
        rows.append(
            {
                "disagreement": float(pairs[index].sum() / rest) if rest else None,
                "right_alone": int((own & (others == 0)).sum()) if rest else None,
                "wrong_alone": int((~own & (others == rest)).sum()) if rest else None,
                "right_of_majority_wrong": int((own & (2 * others < rest)).sum()) if rest else None,
            }
        )
    return rows


def _weights(weights: ArrayLike | Sequence[float] | None, members: int) -> FloatArray:
    w = np.full(members, 1 / members) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (members,) or not (w >= 0).all() or abs(w.sum() - 1) > 1e-6:
        raise InputError("weights", weights, f"{members} numbers of at least 0 that sum to 1, one per member")
    return w
