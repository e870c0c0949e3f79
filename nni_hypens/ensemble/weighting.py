"""Weights of many members, fitted together on validation data."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from nni_hypens.ensemble.calibration import fit_temperature
from nni_hypens.errors import InputError
from nni_hypens.metrics.inputs import PROBABILITY_FLOOR, check_predictions

SCALE = 1.0
"""Standard deviation of a weight in the prior, relative to equal weights. On pools of trained networks, 0.6 to 1.2 were
best with 1,000 validation images, and none of 0.15 to 1.2 lost more than 0.4% with 150; 3 lost up to 2%."""
LEAST = 1e-4
"""A member with a smaller share of the weights adds nothing that could be measured, but costs as much as any other."""


def fit_weights(probs: ArrayLike, labels: ArrayLike, scale: float = SCALE) -> NDArray[np.float64]:
    """Weights of members whose log-probabilities are averaged (pooling "log"), by L-BFGS.

    The weighted average with one temperature is `softmax(sum_i b_i ln p_i)`, where the weights are the shares of `b_i`
    and the temperature is one over their sum. Its NLL is convex in `b` (stacking by a logistic regression without an
    intercept, Wolpert 1992, with `b_i >= 0` as in Breiman 1996). Added to the NLL, summed over the examples, is
    `sum_i (b_i / b - 1)^2 / (2 scale^2)`, where `b` is the best value for all members alike: few examples then leave
    the weights nearly equal. The sources have no such term.

    Args:
        probs: `M x N x C` validation probabilities of the members.
        labels: `N` integers in 0..C-1.
        scale: How far a weight may differ from equal weights; above 0.

    Returns:
        `M` weights that sum to 1; some may be 0.

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> good, bad = [[0.8, 0.2], [0.3, 0.7]], [[0.4, 0.6], [0.5, 0.5]]
        >>> fit_weights([good, bad], [0, 1]).round(2)
        array([0.6, 0.4])
    """
    p, y = check_predictions(probs, labels, ndim=3)
    if not scale > 0:
        raise InputError("scale", scale, "a number above 0")
    members, examples = len(p), len(y)
    log_p = np.clip(p, PROBABILITY_FLOOR, 1.0, out=p)
    np.log(log_p, out=log_p)  # in place: of many members, each copy takes much memory
    true = log_p[:, np.arange(examples), y].mean(axis=1)
    equal = np.full(members, 1 / members)
    step = 1 / (members * fit_temperature(softmax(np.tensordot(equal, log_p, axes=1), axis=1), y))

    def loss(relative: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = np.tensordot(step * relative, log_p, axes=1)
        total = logsumexp(logits, axis=1, keepdims=True)
        expected = np.einsum("mnc,nc->m", log_p, np.exp(logits - total)) / examples
        away = (relative - 1) / (scale**2 * examples)
        value = total.mean() - step * relative @ true + away @ (relative - 1) / 2
        return float(value), step * (expected - true) + away

    found = minimize(loss, np.ones(members), jac=True, method="L-BFGS-B", bounds=[(0, None)] * members).x
    weights = found / found.sum() if found.sum() > 0 else equal
    weights[weights < LEAST] = 0.0
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def weigh_all(probs: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """An ensemble of all networks: those with a weight above 0, and their weights, fitted by `fit_weights`.

    Args:
        probs: `P x N x C` validation probabilities of the networks.
        labels: `N` integers in 0..C-1.

    Returns:
        Indices of the members, increasing, and their weights, which sum to 1.

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> good, bad = [[0.9, 0.1], [0.1, 0.9]], [[0.1, 0.9], [0.9, 0.1]]
        >>> weigh_all([bad, good], [0, 1])[1].round(2)  # two images say little
        array([0.24, 0.76])
    """
    weights = fit_weights(probs, labels)
    members = np.flatnonzero(weights)
    return members, weights[members]
