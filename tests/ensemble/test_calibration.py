"""The temperature of an ensemble."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.optimize import minimize
from scipy.stats import gmean

from nni_hypens import metrics
from nni_hypens.ensemble.calibration import (
    Combination,
    apply_temperature,
    calibrate,
    calibrated_alone,
    combine,
    fit_temperature,
    own_temperatures,
)
from nni_hypens.ensemble.names import CALIBRATIONS, POOLINGS
from nni_hypens.errors import InputError

SEEDS = st.integers(0, 2**32 - 1)


def draw(seed: int, n: int, c: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the softmax of logits, and the probabilities of those logits times `sharpness`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, c)) * 2
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(c, p=row) for row in true])
    sharp = np.exp(logits * sharpness - (logits * sharpness).max(1, keepdims=True))
    return sharp / sharp.sum(1, keepdims=True), labels


@pytest.mark.parametrize("prior_scale", [None, 0.5])
@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_temperature_matches_other_optimisers(seed: int, sharpness: float, prior_scale: float | None) -> None:
    probs, labels = draw(seed, 400, 4, sharpness)
    fitted = fit_temperature(probs, labels, prior_scale)

    def loss(temperature: float) -> float:
        powers = probs ** (1 / temperature)
        chosen = (powers / powers.sum(1, keepdims=True))[np.arange(len(labels)), labels]
        prior = 0.0 if prior_scale is None else np.log(temperature) ** 2 / (2 * prior_scale**2)
        return float(-np.log(chosen).mean() + prior / len(labels))

    grid = np.geomspace(0.05, 20, 2001)
    assert fitted == pytest.approx(grid[np.argmin([loss(t) for t in grid])], rel=0.004)
    simplex = minimize(
        lambda x: loss(np.exp(x[0])), [0.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-12}
    )
    assert fitted == pytest.approx(np.exp(simplex.x[0]), rel=1e-4)


def test_temperature_undoes_a_known_one() -> None:
    probs, labels = draw(0, 20_000, 5, 2.5)
    assert fit_temperature(probs, labels) == pytest.approx(2.5, rel=0.05)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, n=st.integers(1, 30), c=st.integers(2, 5), alpha=st.sampled_from([0.01, 0.3, 1.0, 10.0]))
def test_temperature_is_never_worse_than_one(seed: int, n: int, c: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    probs, labels = rng.dirichlet(np.full(c, alpha), size=n), rng.integers(0, c, n)
    temperature = fit_temperature(probs, labels)
    assert 0.05 <= temperature <= 20
    assert metrics.nll(apply_temperature(probs, temperature), labels) <= metrics.nll(probs, labels) + 1e-9


def test_temperature_ends() -> None:
    right = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert fit_temperature(right, np.array([0, 1]), None) == pytest.approx(0.05)
    assert fit_temperature(right, np.array([1, 0]), None) == pytest.approx(20)
    assert fit_temperature(np.full((3, 2), 0.5), np.array([0, 1, 0])) == 1


def test_prior_holds_where_every_example_is_right_and_fades_with_data() -> None:
    right = np.tile([[0.9, 0.1], [0.2, 0.8]], (150, 1))
    labels = np.tile([0, 1], 150)
    assert 0.15 < fit_temperature(right, labels) < 1
    assert fit_temperature(right[:2], labels[:2]) > fit_temperature(right, labels)
    probs, drawn = draw(0, 20_000, 4, 3.0)
    assert fit_temperature(probs, drawn) == pytest.approx(fit_temperature(probs, drawn, None), rel=0.01)
    with pytest.raises(InputError, match="prior_scale"):
        fit_temperature(right, labels, 0.0)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, temperature=st.floats(0.05, 20))
def test_applied_temperature_is_a_power(seed: int, temperature: float) -> None:
    probs = np.random.default_rng(seed).dirichlet(np.ones(4), size=6)
    powers = np.maximum(probs, 1e-12) ** (1 / temperature)
    result = apply_temperature(probs, temperature)
    assert result == pytest.approx(powers / powers.sum(1, keepdims=True), abs=1e-9)
    assert np.array_equal(result.argmax(1), probs.argmax(1))
    assert apply_temperature(probs, 1.0) == pytest.approx(probs, abs=1e-11)


def average_of(probs: np.ndarray, weights: np.ndarray, pooling: str) -> np.ndarray:
    """The average of members, `M x N x C` to `N x C`, by numpy's and scipy's own means."""
    if pooling == "linear":
        return np.average(probs, axis=0, weights=weights)
    mean = gmean(
        np.maximum(probs, 1e-12), axis=0, weights=np.broadcast_to(np.reshape(weights, (-1, 1, 1)), probs.shape)
    )
    return mean / mean.sum(axis=1, keepdims=True)


def two_members() -> tuple[np.ndarray, list[float], np.ndarray]:
    """Probabilities of an underconfident and an overconfident member, their weights, and labels."""
    pool = [draw(seed, 300, 4, sharpness) for seed, sharpness in ((0, 0.5), (0, 3.0))]
    return np.stack([p for p, _ in pool]), [0.25, 0.75], pool[0][1]


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("seed", range(3))
def test_members_are_averaged_as_scipy_does(seed: int, pooling: str) -> None:
    """Some classes have no probability at one of the members: the floor of 1e-12 holds."""
    rng = np.random.default_rng(seed)
    probs, weights = rng.dirichlet(np.full(5, 0.5), (3, 40)), rng.dirichlet(np.ones(3))
    probs[0, :10] = np.eye(5)[rng.integers(0, 5, 10)]
    temperatures = (0.7, 1.0, 2.0)
    tempered = np.stack([apply_temperature(p, t) for p, t in zip(probs, temperatures, strict=True)])
    wanted = average_of(tempered, weights, pooling)
    assert combine(probs, weights, Combination(1.0, temperatures, pooling)) == pytest.approx(wanted, abs=1e-12)
    whole = combine(probs, weights, Combination(1.7, temperatures, pooling))
    assert whole == pytest.approx(apply_temperature(wanted, 1.7), abs=1e-9)


def test_a_mean_of_logarithms_is_a_veto_and_a_mixture_is_not() -> None:
    members = [[[1.0, 0.0]], [[0.4, 0.6]]]
    log, linear = (combine(members, [0.5, 0.5], Combination(1.0, (1.0, 1.0), pooling)) for pooling in POOLINGS)
    assert log[0, 1] < 2e-6 and linear[0, 1] == pytest.approx(0.3)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_ways_to_calibrate(pooling: str) -> None:
    probs, weights, labels = two_members()
    average = average_of(probs, np.array(weights), pooling)
    found = {method: calibrate(method, probs, weights, labels, pooling) for method in CALIBRATIONS}
    assert found["none"] == Combination(1.0, (1.0, 1.0), pooling)
    assert found["ensemble"] == (pytest.approx(fit_temperature(average, labels)), (1.0, 1.0), pooling)
    own = tuple(fit_temperature(p, labels) for p in probs)
    tempered = average_of(
        np.stack([apply_temperature(p, t) for p, t in zip(probs, own, strict=True)]), weights, pooling
    )
    assert found["members"] == (pytest.approx(fit_temperature(tempered, labels)), own, pooling)
    assert own == own_temperatures(probs, labels) and own[0] < 1 < own[1]
    assert combine(probs, weights, found["none"]) == pytest.approx(average, abs=1e-12)
    for method, untempered in (("ensemble", average), ("members", tempered)):
        wanted = apply_temperature(untempered, found[method].temperature)
        assert combine(probs, weights, found[method]) == pytest.approx(wanted, abs=1e-9)
        # what is fitted last is never worse on the data that it is fitted on than a temperature of 1
        plain = found[method]._replace(temperature=1.0)
        nll = [metrics.nll(combine(probs, weights, one), labels) for one in (found[method], plain)]
        assert nll[0] <= nll[1] + 1e-9


def test_the_default_is_the_mean_of_logarithms() -> None:
    probs, weights, labels = two_members()
    assert calibrate("ensemble", probs, weights, labels) == calibrate("ensemble", probs, weights, labels, "log")
    assert Combination(1.0, (1.0,)).pooling == "log"


def test_what_is_no_way_to_combine_is_refused() -> None:
    probs, weights, labels = two_members()
    with pytest.raises(InputError, match="calibration: got 'both'"):
        calibrate("both", probs, weights, labels)
    for work in (
        lambda: calibrate("none", probs, weights, labels, "geometric"),
        lambda: combine(probs, weights, Combination(1.0, (1.0, 1.0), "geometric")),
    ):
        with pytest.raises(InputError, match="^pooling: got 'geometric'; expected one of log, linear"):
            work()
    with pytest.raises(InputError, match="one per member"):
        combine(probs, weights, Combination(1.0, (1.0,)))


def test_each_network_is_calibrated_alone_and_one_that_diverged_is_left() -> None:
    probs, _, labels = two_members()
    lost = np.full_like(probs[0], 1 / 4)
    lost[3, 2] = np.nan
    found = calibrated_alone(np.stack([probs[0], lost, probs[1]]), labels)
    for own, row in ((probs[0], 0), (probs[1], 2)):
        assert found[row] == pytest.approx(apply_temperature(own, fit_temperature(own, labels)), abs=1e-12)
    assert np.array_equal(found[1], lost, equal_nan=True)
    assert np.array_equal(calibrated_alone(lost[None], labels)[0], lost, equal_nan=True)
