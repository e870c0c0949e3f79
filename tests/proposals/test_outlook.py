"""The outlook against brute force, an independent Gaussian process and what it must do in the limit."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import multivariate_normal, norm

from nni_hypens import metrics
from nni_hypens.proposals import outlook as module
from nni_hypens.proposals.outlook import (
    FITS_ALL,
    FITS_PART,
    RATIO,
    SAME,
    Outlook,
    expected_gains,
    outlook,
    pair_gains,
    spreads,
)

HOT, COLD = 2 * FITS_ALL, 0.9 * FITS_PART
"""Temperatures of networks that know their images by heart, and of those that do not."""


def probabilities(networks: int, images: int = 7, classes: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(classes), (networks, images))


def fitted(
    owner: list[int],
    nll: Any,
    features: np.ndarray | None = None,
    size: Any = None,
    temperature: float = HOT,
    flow: np.ndarray | None = None,
) -> Outlook:
    """The outlook of ten architectures without anything in common, unless `features` says otherwise."""
    features = np.eye(10) if features is None else features
    size = None if size is None else np.asarray(size, dtype=float)
    probs = probabilities(len(owner))
    return outlook(features, size, owner, probs, np.asarray(nll, dtype=float), [temperature] * len(owner), flow=flow)


def test_a_pair_gains_what_the_average_of_logarithms_gains_whatever_the_labels() -> None:
    probs = probabilities(4)
    gains = pair_gains(probs)
    for seed in range(3):
        labels = np.random.default_rng(seed).integers(0, 5, 7)
        nll = metrics.nll_of_each(probs, labels)
        for one in range(4):
            for two in range(4):
                joint = np.exp(log_softmax((np.log(probs[one]) + np.log(probs[two])) / 2, axis=1))
                expected = (nll[one] + nll[two]) / 2 - metrics.nll(joint, labels)
                assert gains[one, two] == pytest.approx(expected, abs=1e-6)
    assert np.array_equal(gains, gains.T)


def test_predictions_without_a_class_in_common_gain_a_finite_amount() -> None:
    gains = pair_gains(np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 0.0]]]))
    assert np.isfinite(gains).all() and gains[0, 1] > 10 and gains[0, 2] == 0


def test_gains_of_seeds_move_from_the_prior_to_what_is_measured() -> None:
    gains = np.full((4, 4), 0.2) - 0.2 * np.eye(4)
    assert expected_gains(gains, np.arange(4)) == pytest.approx((SAME * 0.2, 0.2))
    gains[0, 1] = gains[1, 0] = 0.05
    same, different = expected_gains(gains, np.array([0, 0, 1, 2]))
    assert different == pytest.approx(0.2) and 0.05 < same < SAME * 0.2
    many = np.full((30, 30), 0.05)
    many[:, -1] = many[-1] = 0.2
    same, different = expected_gains(many, np.array([0] * 29 + [1]))
    assert different == pytest.approx(0.2) and same == pytest.approx(0.05, rel=0.05)
    assert expected_gains(np.zeros((1, 1)), np.array([3])) == (0.0, 0.0)
    same, different = expected_gains(np.full((2, 2), 0.1), np.array([3, 3]))  # seeds only
    assert same == pytest.approx(0.1) and different == pytest.approx(0.1 / SAME)


def posterior(
    features: np.ndarray,
    traits: list[np.ndarray],
    owner: list[int],
    nll: np.ndarray,
    expected: np.ndarray,
    found: tuple[float, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation by conditioning one large normal distribution, with a very wide level."""
    spread, ratio, share, trait_share = found
    scale = (features**2).sum(axis=1).mean()
    everyone = (1 - share - trait_share) * np.eye(len(features)) + share / scale * features @ features.T
    everyone += trait_share * np.mean([np.outer(trait, trait) for trait in traits], axis=0)
    everyone = spread**2 * everyone + 1e4  # of the level
    seen = everyone[np.ix_(owner, owner)] + spread**2 * ratio**2 * np.eye(len(owner))
    gain = np.linalg.solve(seen, everyone[owner]).T
    prior = spread * expected
    mean = prior + gain @ (nll - prior[owner])
    return mean, np.sqrt(np.diag(everyone - gain @ everyone[owner]))


@pytest.mark.parametrize(("temperature", "slope"), [(HOT, 0.0), (COLD, module.SLOPE)])
@pytest.mark.parametrize("with_flow", [False, True])
def test_the_posterior_is_that_of_a_gaussian_process(temperature: float, slope: float, with_flow: bool) -> None:
    random = np.random.default_rng(1)
    features, size = random.normal(size=(9, 6)), random.normal(size=9)
    owner, nll = [0, 1, 1, 2, 3, 3], 1 + 0.1 * random.normal(size=6)
    traits, expected, flow = [size], -slope * size, None
    if with_flow:
        flow = random.normal(size=9)
        traits, expected = [size, flow], module.FLOW_SLOPE * flow - slope * size
    found = fitted(owner, nll, features, size, temperature, flow)
    own = module._fitted(features, np.column_stack(traits), np.array(owner), nll, expected)
    assert (found.between_architectures, found.between_seeds) == pytest.approx((own[0], own[0] * own[1]))
    mean, std = posterior(features, traits, owner, nll, expected, own)
    np.testing.assert_allclose(found.mean, mean, atol=1e-5)
    np.testing.assert_allclose(found.std, std, atol=1e-5)


def test_the_fit_is_the_mean_of_the_posterior_on_its_grid() -> None:
    """Against densities of `scipy`, with a very wide normal distribution for the level."""
    random = np.random.default_rng(2)
    features, owner = random.normal(size=(5, 3)), [0, 0, 1, 2]
    nll, level = np.array([1.0, 1.1, 1.3, 0.9]), 1.075
    logs, values = [], []
    for share in module.SHARES:
        for ratio in RATIO * module._RATIOS:
            for spread in module.SPREAD * level * module._SPREADS:
                scale = (features**2).sum(axis=1).mean()
                kernel = (1 - share) * np.eye(5) + share / scale * features @ features.T
                cov = spread**2 * (kernel[np.ix_(owner, owner)] + ratio**2 * np.eye(4)) + 10.0
                log = multivariate_normal(np.full(4, level), cov).logpdf(nll)
                log += norm(0, module.SPREAD_SD).logpdf(np.log(spread / (module.SPREAD * level)))
                log += norm(0, module.RATIO_SD).logpdf(np.log(ratio / RATIO))
                logs.append(log)
                values.append([np.log(spread), np.log(ratio), share])
    weights = np.exp(np.array(logs) - max(logs))
    spread, ratio, share = weights / weights.sum() @ np.array(values)
    expected = np.exp(spread), np.exp(ratio), share, 0.0
    assert module._fitted(features, np.zeros((5, 0)), np.array(owner), nll, np.zeros(5)) == pytest.approx(
        expected, rel=5e-3
    )


def test_without_replicas_the_ratio_is_the_prior_and_with_many_it_is_measured() -> None:
    random = np.random.default_rng(0)
    typical = module.SPREAD * np.sqrt(1 + RATIO**2)
    alone = fitted(list(range(10)), 1 + typical * random.normal(size=10))
    assert alone.between_seeds / alone.between_architectures == pytest.approx(RATIO, rel=0.25)
    owner = np.repeat(np.arange(10), 20)
    level = 1 + module.SPREAD * random.normal(size=10)[owner]
    for ratio in (0.5 * RATIO, 1.8 * RATIO):
        many = fitted(owner.tolist(), level + ratio * module.SPREAD * random.normal(size=200))
        assert many.between_seeds == pytest.approx(ratio * module.SPREAD, rel=0.2)


def test_many_seeds_tell_the_level_of_an_architecture_and_one_less() -> None:
    found = fitted([0] * 20 + [1, 2, 3], [0.9] * 20 + [1.0, 1.1, 1.0])
    assert found.mean[0] == pytest.approx(0.9, abs=0.01)
    assert found.std[0] < found.std[1] < found.std[5]  # of the last nothing was trained
    assert 1.0 < found.mean[2] < 1.1  # one network is drawn towards the others
    assert found.mean[5] == pytest.approx(found.mean[6])


def test_architectures_alike_in_edges_and_operations_are_expected_to_be_alike() -> None:
    features = np.zeros((10, 2))
    features[::2, 0] = features[1::2, 1] = 1.0
    nll = [1.0, 1.2, 1.01, 1.21, 1.0, 1.19]
    found = fitted(list(range(6)), nll, features)
    assert found.mean[6] < found.mean[7] - 0.05  # never trained: like the even ones, like the odd ones
    apart = fitted(list(range(6)), nll)
    assert apart.mean[6] == pytest.approx(apart.mean[7])


def test_larger_networks_are_expected_to_be_better_where_capacity_is_the_limit() -> None:
    size = np.linspace(-1.5, 1.5, 10)
    owner, nll = [4, 5], [1.0, 1.0]
    cold, hot = (fitted(owner, nll, size=size, temperature=value).mean for value in (COLD, HOT))
    assert (np.diff(cold) < 0).all() and cold[0] - cold[9] > module.SPREAD
    assert np.ptp(hot) < 0.1 * np.ptp(cold)
    between = fitted(owner, nll, size=size, temperature=(FITS_ALL + FITS_PART) / 2).mean
    assert np.ptp(hot) < np.ptp(between) < np.ptp(cold)


def test_one_network_is_enough() -> None:
    found = fitted([3], [0.8])
    np.testing.assert_allclose(found.mean, 0.8)
    assert found.between_architectures == pytest.approx(0.8 * module.SPREAD, rel=0.05)
    assert (found.same, found.different) == (0.0, 0.0) and found.gains.shape == (1, 1)


def test_networks_that_are_always_right_are_an_outlook_too() -> None:
    found = fitted([0, 1, 1], [0.0, 0.0, 0.0])
    np.testing.assert_allclose(found.mean, 0.0, atol=1e-9)
    assert np.isfinite(found.std).all()


def test_the_unit_of_the_nll_does_not_matter() -> None:
    owner, nll = [0, 1, 1, 2, 3], np.array([0.5, 0.55, 0.52, 0.47, 0.6])
    size = np.linspace(-1, 1, 10)
    one, ten = (fitted(owner, scale * nll, size=size, temperature=COLD) for scale in (1.0, 10.0))
    for name in ("mean", "std", "between_architectures", "between_seeds"):
        np.testing.assert_allclose(getattr(ten, name), 10 * np.asarray(getattr(one, name)), rtol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_spreads_of_architectures_of_which_nothing_is_known_are_those_of_the_outlook(seed: int) -> None:
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, 5, 12)
    nll = 0.5 + 0.05 * rng.standard_normal(5)[owner] + 0.02 * rng.standard_normal(12)
    found = fitted(owner.tolist(), nll, np.zeros((5, 1)))
    assert spreads(owner, nll) == pytest.approx((found.between_architectures, found.between_seeds), rel=1e-9)


def test_gains_that_are_known_are_not_measured_again() -> None:
    probs = probabilities(6)
    whole = pair_gains(probs)
    assert np.array_equal(pair_gains(probs, whole[:4, :4]), whole)
    assert np.array_equal(pair_gains(probs, whole), whole)
    assert pair_gains(probs, np.full((2, 2), 9.0))[1, 0] == 9.0  # taken as they are


def test_what_a_network_gains_beyond_others_moves_into_its_nll(monkeypatch: pytest.MonkeyPatch) -> None:
    random, owner = np.random.default_rng(0), np.arange(7)
    nll, share = random.random(7), 0.1 * random.random(7)
    gains = np.add.outer(share, share)
    np.fill_diagonal(gains, 0.0)
    pairs = ~np.eye(7, dtype=bool)
    monkeypatch.setattr(module, "EXTRA_PAIRS", 0.0)
    found, rest = module.effective(nll, gains, owner, 5)
    np.testing.assert_allclose(found, nll - 3.2 * (share - gains[pairs].mean() / 2))
    np.testing.assert_allclose(rest[pairs], gains[pairs].mean())  # nothing is left to tell pairs apart


@pytest.mark.parametrize("members", [2, 3, 5])
def test_effective_nll_and_the_rest_of_the_gains_give_the_same_ensembles(members: int) -> None:
    random = np.random.default_rng(members)
    owner, nll = np.array([0, 1, 1, 2, 3, 3]), random.random(6)
    gains = np.triu(random.random((6, 6)), 1)
    gains += gains.T
    found, rest = module.effective(nll, gains, owner, members)
    for chosen in combinations(range(6), members):
        one = np.ix_(chosen, chosen)
        before, after = (
            (values[list(chosen)].mean() - 4 * pairs[one].sum() / 2 / members**2)
            for values, pairs in ((nll, gains), (found, rest))
        )
        assert after == pytest.approx(before)
    assert np.argmax(found - nll) == np.argmin(_mean_gain(gains, owner))


def _mean_gain(gains: np.ndarray, owner: np.ndarray) -> np.ndarray:
    other = np.not_equal.outer(owner, owner)
    return np.where(other, gains, 0.0).sum(axis=1) / other.sum(axis=1)


def test_seeds_of_one_architecture_alone_say_nothing_of_others() -> None:
    nll, gains = np.array([0.4, 0.5]), np.array([[0.0, 0.1], [0.1, 0.0]])
    found, rest = module.effective(nll, gains, np.array([3, 3]), 5)
    assert found is nll and rest is gains


def test_architectures_are_judged_by_their_networks_with_new_weights() -> None:
    """One that was trained further says nothing about what a new network of its architecture would give."""
    probs, nll = probabilities(4), np.array([0.5, 0.6, 0.7, 0.1])
    new = outlook(np.eye(10), None, [0, 1, 2], probs[:3], nll[:3], [1.2] * 3)
    every = outlook(np.eye(10), None, [0, 1, 2, 1], probs, nll, [1.2, 1.2, 1.2, 3.0], parents=[None, None, None, 1])
    assert every.mean == pytest.approx(new.mean) and every.std == pytest.approx(new.std)
    assert (every.same, every.different) != (0.0, 0.0) and every.change.mean < new.change.mean
    assert every.kin != pytest.approx(new.kin)
