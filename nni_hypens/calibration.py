"""One temperature on an ensemble's averaged probabilities: pool, then calibrate."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from nni_hypens.errors import InputError
from nni_hypens.metrics import PROBABILITY_FLOOR, check_labels, check_probabilities

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0


def apply_temperature(probs: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Flatten (T > 1) or sharpen (T < 1) probabilities: `softmax(ln max(p, 1e-12) / T)`.

    Args:
        probs: `N x C` probabilities.
        temperature: T > 0; 1 changes nothing.

    Returns:
        `N x C` probabilities.

    Raises:
        InputError: If an argument is not of that form.
    """
    check_temperature(temperature)
    return softmax(_log(check_probabilities(probs)) / temperature, axis=1)


def fit_temperature(probs: ArrayLike, labels: ArrayLike, prior_scale: float | None = 0.5) -> float:
    """The temperature of an ensemble, fitted to its averaged probabilities ("pool then calibrate").

    Minimises the NLL of `softmax(ln p / T)` (Rahaman & Thiery 2021, section 4), summed over the examples, plus
    `(ln T)^2 / (2 prior_scale^2)`. The source has no such term. It is worth about one example, so a thousand examples
    outweigh it; but where an ensemble is right on every one of a few hundred, the NLL alone has no minimum and sends T
    to its bound, which costs dearly on the first error in test data.

    Args:
        probs: `N x C` averaged validation probabilities.
        labels: `N` integers in 0..C-1.
        prior_scale: Standard deviation of ln T before any data is seen; None for none of it (maximum likelihood).

    Returns:
        T in [0.05, 20], never worse on these data than T = 1.

    Raises:
        InputError: If an argument is not of that form.
    """
    p = check_probabilities(probs)
    y = check_labels(labels, *p.shape)
    if prior_scale is not None and not prior_scale > 0:
        raise InputError("prior_scale", prior_scale, "a number above 0, or None")
    log_p, rows = _log(p), np.arange(len(y))
    precision = 0.0 if prior_scale is None else 1 / (prior_scale**2 * len(y))

    def loss(log_temperature: float) -> float:
        nll = -log_softmax(log_p / math.exp(log_temperature), axis=1)[rows, y].mean()
        return float(nll + precision * log_temperature**2 / 2)

    low, high = math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)
    grid = np.linspace(low, high, 25)
    near = int(np.argmin([loss(value) for value in grid]))
    around = (grid[max(near - 1, 0)], grid[min(near + 1, len(grid) - 1)])
    inner = float(minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-6}).x)
    # min() keeps the first of equals, so T = 1 stays where nothing improves on it; the search never tries its ends.
    best = min((0.0, inner, low, high), key=loss)
    return min(max(math.exp(best), MIN_TEMPERATURE), MAX_TEMPERATURE)


def _log(probs: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(np.maximum(probs, PROBABILITY_FLOOR))


def check_temperature(temperature: float) -> None:
    if not (math.isfinite(temperature) and temperature > 0):
        raise InputError("temperature", temperature, "a finite number above 0")
