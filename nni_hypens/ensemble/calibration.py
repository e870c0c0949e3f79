"""How members become one prediction: their probabilities are averaged (pooling), and temperatures calibrate them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import softmax

from nni_hypens.ensemble.names import CALIBRATIONS, LINEAR, LOG, POOLINGS
from nni_hypens.errors import InputError
from nni_hypens.metrics.inputs import PROBABILITY_FLOOR, check_predictions, check_probabilities
from nni_hypens.utils.checks import one_of

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
"""What is fitted."""
_LEAST, _MOST = 1e-3, 1e3  # what is accepted: float32 can hold ln(1e-12) divided by it


class Combination(NamedTuple):
    """How the probabilities of members become those of the ensemble: tempered, averaged, tempered again.

    Attributes:
        temperature: Applied to the average; 1 changes nothing.
        members: Temperature of each member, applied before the average.
        pooling: How they are averaged, one of `POOLINGS`.
    """

    temperature: float
    members: tuple[float, ...]
    pooling: str = LOG


def apply_temperature(probs: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Flatten (T > 1) or sharpen (T < 1) probabilities: `softmax(ln max(p, 1e-12) / T)`.

    Args:
        probs: `N x C` probabilities.
        temperature: T in 0.001..1000; 1 changes nothing.

    Returns:
        `N x C` probabilities.

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> apply_temperature([[0.9, 0.1]], 2.0).round(3)
        array([[0.75, 0.25]])
    """
    check_temperature(temperature)
    return _apply(check_probabilities(probs), temperature)


def _apply(p: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    tempered: NDArray[np.float64] = softmax(_log(p) / temperature, axis=1)
    return tempered


def fit_temperature(probs: ArrayLike, labels: ArrayLike, prior_scale: float | None = 0.5) -> float:
    """The temperature of an ensemble's averaged probabilities ("pool then calibrate") or of one member, by L-BFGS.

    Minimises the NLL of `softmax(ln p / T)` (Rahaman & Thiery 2021, section 4), summed over the examples, plus
    `(ln T)^2 / (2 prior_scale^2)`. The source has no such term. It is worth about one example, so a thousand examples
    outweigh it. But if an ensemble is right on all of a few hundred examples, the NLL alone has no minimum and drives T
    to its bound, which costs dearly on the first error in test data.

    The variable is ln T, so that the bounds and the prior are those of a scale; the gradient is exact.

    Args:
        probs: `N x C` validation probabilities.
        labels: `N` integers in 0..C-1.
        prior_scale: Standard deviation of ln T in the prior; None for no prior (maximum likelihood).

    Returns:
        T in [0.05, 20], never worse on these data than T = 1.

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> round(fit_temperature([[0.9, 0.1], [0.9, 0.1], [0.8, 0.2]], [0, 1, 0]), 2)  # overconfident
        1.27
    """
    p, y = check_predictions(probs, labels)
    if prior_scale is not None and not prior_scale > 0:
        raise InputError("prior_scale", prior_scale, "a number above 0, or None")
    return _fit(p, y, prior_scale)


def _fit(p: NDArray[np.float64], y: NDArray[np.int64], prior_scale: float | None = 0.5) -> float:
    log_p, rows = _log(p), np.arange(len(y))
    # written anew at each step: with many classes, making new arrays would take longer than the arithmetic
    z, log_q, q = (np.empty_like(log_p) for _ in range(3))
    precision = 0.0 if prior_scale is None else 1 / (prior_scale**2 * len(y))

    def loss(log_temperature: float) -> tuple[float, float]:
        """Mean loss and its derivative by ln T: with z = ln p / T, d z / d ln T = -z."""
        np.divide(log_p, math.exp(log_temperature), out=z)
        np.subtract(z, z.max(axis=1, keepdims=True), out=log_q)
        np.subtract(log_q, np.log(np.exp(log_q, out=q).sum(axis=1, keepdims=True)), out=log_q)
        np.multiply(np.exp(log_q, out=q), z, out=q)
        slope = z[rows, y].mean() - q.sum(axis=1).mean() + precision * log_temperature
        return float(-log_q[rows, y].mean() + precision * log_temperature**2 / 2), float(slope)

    low, high = math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)
    # L-BFGS finds the nearest minimum and the loss is flat far from it, so it starts at the best of a few.
    start = min(np.linspace(low, high, 9), key=lambda value: loss(value)[0])
    found = minimize(
        lambda x: loss(x[0]), [start], jac=True, method="L-BFGS-B", bounds=[(low, high)],
        options={"ftol": 1e-14, "gtol": 1e-9},
    )  # fmt: skip
    # min() keeps the first of equals, so T = 1 stays where nothing improves on it.
    best = min((0.0, float(found.x[0]), low, high), key=lambda value: loss(value)[0])
    return min(max(math.exp(best), MIN_TEMPERATURE), MAX_TEMPERATURE)


def _log(probs: NDArray[np.float64]) -> NDArray[np.float64]:
    # averages of probabilities may be a rounding error above 1
    clipped = np.clip(probs, PROBABILITY_FLOOR, 1.0)
    logs: NDArray[np.float64] = np.log(clipped, out=clipped)
    return logs


def check_temperature(temperature: float) -> None:
    """Check that a temperature is a number in 0.001..1000.

    Raises:
        InputError: It is not.
    """
    if not _LEAST <= temperature <= _MOST:
        raise InputError("temperature", temperature, f"a number in {_LEAST}..{_MOST:g}")


def calibrate(method: str, probs: ArrayLike, weights: ArrayLike, labels: ArrayLike, pooling: str = LOG) -> Combination:
    """Fit the temperatures of a calibration method.

    Args:
        method: One of `CALIBRATIONS`. "members" fits the temperature of each member first, then that of their average.
        probs: `M x N x C` validation probabilities of the members.
        weights: Weight of each member; they sum to 1.
        labels: `N` integers in 0..C-1.
        pooling: How members are averaged, one of `POOLINGS`.

    Returns:
        The combination, with temperatures of 1 where the method has none.

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> members = [[[0.9, 0.1], [0.9, 0.1]], [[0.8, 0.2], [0.6, 0.4]]]
        >>> calibrate("none", members, [0.5, 0.5], [0, 1])
        Combination(temperature=1.0, members=(1.0, 1.0), pooling='log')
    """
    one_of("calibration", method, CALIBRATIONS)
    one_of("pooling", pooling, POOLINGS)
    p, y = check_predictions(probs, labels, ndim=3)
    if method == "none":
        return Combination(1.0, (1.0,) * len(p), pooling)
    own = own_temperatures(p, y) if method == "members" else (1.0,) * len(p)
    average = _average(_tempered(p, own), np.asarray(weights), pooling)
    return Combination(_fit(average, y), own, pooling)


def own_temperatures(probs: ArrayLike, labels: ArrayLike) -> tuple[float, ...]:
    """The temperature of each network alone, as `fit_temperature` fits it.

    Args:
        probs: `M x N x C` validation probabilities of the networks.
        labels: `N` integers in 0..C-1.

    Raises:
        InputError: If an argument is not of that form.
    """
    p, y = check_predictions(probs, labels, ndim=3)
    return tuple(_fit(member, y) for member in p)


def calibrated_alone(probs: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Validation probabilities `M x N x C` of networks, each with its own temperature, as selection compares them.

    Members chosen by them make better ensembles than those chosen by raw probabilities, among which those win that
    happen to be calibrated. A network that answers NaN is left as it is: selection passes over it.

    Args:
        probs: `M x N x C` validation probabilities of the networks.
        labels: `N` integers in 0..C-1.

    Raises:
        InputError: If an argument is not of that form.
    """
    p = np.array(probs, dtype=np.float64)
    if p.ndim != 3:
        check_probabilities(p, ndim=3)  # says what is wrong
    for member in p:  # in place, one after the other: of many networks, each copy takes much memory
        if np.isfinite(member).all():
            temperature = _fit(*check_predictions(member, labels))
            member[:] = member if temperature == 1 else _apply(member, temperature)
    return p


def combine(probs: ArrayLike, weights: ArrayLike, combination: Combination) -> NDArray[np.float64]:
    """The ensemble's probabilities from those of its members.

    Args:
        probs: `M x N x C` probabilities of the members.
        weights: Weight of each member; they sum to 1.
        combination: Temperatures of the ensemble and of each member, and how they are averaged.

    Returns:
        `N x C` probabilities.

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> members = [[[0.9, 0.1]], [[0.7, 0.3]]]
        >>> combine(members, [0.5, 0.5], Combination(temperature=2.0, members=(1.0, 1.0), pooling="linear")).round(3)
        array([[0.667, 0.333]])
        >>> combine(members, [0.5, 0.5], Combination(temperature=1.0, members=(1.0, 1.0), pooling="log")).round(3)
        array([[0.821, 0.179]])
    """
    check_temperature(combination.temperature)
    one_of("pooling", combination.pooling, POOLINGS)
    tempered = temper_members(probs, combination.members)
    p = _average(tempered, np.asarray(weights), combination.pooling)
    return p if combination.temperature == 1 else _apply(p, combination.temperature)


def _average(p: NDArray[np.float64], weights: NDArray[Any], pooling: str) -> NDArray[np.float64]:
    """Average `M x N x C` probabilities: a mixture, or the renormalised geometric mean (Genest & Zidek 1986)."""
    if pooling == LINEAR:
        return np.tensordot(weights, p, axes=1)
    average: NDArray[np.float64] = softmax(np.tensordot(weights, _log(p), axes=1), axis=1)
    return average


def temper_members(probs: ArrayLike, temperatures: Sequence[float]) -> NDArray[np.float64]:
    """Members' probabilities with the temperature of each, `M x N x C` to `M x N x C`.

    Raises:
        InputError: If an argument is not of that form.
    """
    p = check_probabilities(probs, ndim=3)
    if len(temperatures) != len(p):
        raise InputError("temperatures", f"{len(temperatures)} of them", f"{len(p)}, one per member")
    for temperature in temperatures:
        check_temperature(temperature)
    return _tempered(p, temperatures)


def _tempered(p: NDArray[np.float64], temperatures: Sequence[float]) -> NDArray[np.float64]:
    # A temperature of 1 is skipped: the logarithm with its floor would change the last digits.
    if all(t == 1 for t in temperatures):
        return p
    pairs = zip(p, temperatures, strict=True)
    return np.stack([member if t == 1 else _apply(member, t) for member, t in pairs])
