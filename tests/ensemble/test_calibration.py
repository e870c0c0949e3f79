"""The temperature of an ensemble."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.optimize import minimize

from nni_hypens import metrics
from nni_hypens.ensemble.calibration import Temperatures, apply_temperature, calibrate, combine, fit_temperature
from nni_hypens.ensemble.names import CALIBRATIONS
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


def test_ways_to_calibrate() -> None:
    pool = [draw(seed, 300, 4, sharpness) for seed, sharpness in ((0, 0.5), (0, 3.0))]
    labels = pool[0][1]
    probs, weights = np.stack([p for p, _ in pool]), [0.25, 0.75]
    average = np.tensordot(weights, probs, axes=1)
    found = {method: calibrate(method, probs, weights, labels) for method in CALIBRATIONS}
    assert found["none"] == Temperatures(1.0, (1.0, 1.0))
    assert found["ensemble"] == Temperatures(fit_temperature(average, labels), (1.0, 1.0))
    assert found["members"] == Temperatures(1.0, tuple(fit_temperature(p, labels) for p in probs))
    assert found["members"].members[0] < 1 < found["members"].members[1]
    assert np.array_equal(combine(probs, weights, found["none"]), average)
    assert combine(probs, weights, found["ensemble"]) == pytest.approx(
        apply_temperature(average, found["ensemble"].ensemble)
    )
    tempered = [apply_temperature(p, t) for p, t in zip(probs, found["members"].members, strict=True)]
    assert combine(probs, weights, found["members"]) == pytest.approx(np.tensordot(weights, tempered, axes=1))
    nll = {method: metrics.nll(combine(probs, weights, found[method]), labels) for method in CALIBRATIONS}
    assert nll["ensemble"] <= nll["none"] and nll["members"] <= nll["none"]
    with pytest.raises(InputError, match="calibration: got 'both'"):
        calibrate("both", probs, weights, labels)
    with pytest.raises(InputError, match="one per member"):
        combine(probs, weights, Temperatures(1.0, (1.0,)))
