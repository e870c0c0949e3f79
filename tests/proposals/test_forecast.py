"""Forecasts against brute force, closed forms and a simulated truth."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import spearmanr

from nni_hypens import metrics
from nni_hypens.proposals.forecast import (
    architecture_features,
    ensemble_nll,
    forecast,
    pair_gains,
    predicted_nll,
    trait_features,
)
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.cost import NetworkSize
from nni_hypens.space.draws import random_architectures
from search_spaces import OneCell, darts
from tests.support.simulated_truth import LABELS, pool


@pytest.mark.parametrize("space", [OneCell(channels=2), darts("tiny")], ids=["one_cell", "darts"])
def test_features_count_shared_edges_and_operations(space) -> None:
    structure = EdgeStructure.from_space(space)
    samples = random_architectures(structure, 12, seed=1)
    features, shared = architecture_features(structure, samples)
    for one, first in enumerate(samples):
        for two, second in enumerate(samples):
            edges = structure.shared_edges(first, second)
            bags = [Counter(str(edge[2]) for edge in structure.edges(sample)) for sample in (first, second)]
            operations = (bags[0] & bags[1]).total()
            assert shared[one, two] == pytest.approx(edges / structure.n_edges)
            assert features[one] @ features[two] == pytest.approx((edges + operations) / (2 * structure.n_edges))


def test_gains_of_pairs_and_what_they_say_of_an_average(structure: EdgeStructure) -> None:
    _, probs = pool(structure, 5)
    true = probs[:, np.arange(len(LABELS)), LABELS]
    gains = pair_gains(true)
    nll = np.array([metrics.nll(one, LABELS) for one in probs])
    for one in range(5):
        for two in range(5):
            joint = metrics.nll((probs[one] + probs[two]) / 2, LABELS)
            assert gains[one, two] == pytest.approx((nll[one] + nll[two]) / 2 - joint, abs=1e-6)
    pair = [0, 3]  # exact for two, near for more
    assert ensemble_nll(nll[pair], gains[np.ix_(pair, pair)]) == pytest.approx(
        metrics.nll(probs[pair].mean(axis=0), LABELS), abs=1e-6
    )
    assert ensemble_nll(nll, gains) == pytest.approx(metrics.nll(probs.mean(axis=0), LABELS), abs=0.05)
    assert ensemble_nll(nll[:1], gains[:1, :1]) == pytest.approx(nll[0])


def test_quality_is_carried_to_architectures_that_were_not_trained(structure: EdgeStructure) -> None:
    samples, probs = pool(structure, 60)
    features, _ = architecture_features(structure, samples)
    nll = np.array([metrics.nll(one, LABELS) for one in probs])
    mean, std = predicted_nll(features, np.arange(20), nll[:20])
    assert spearmanr(mean[20:], nll[20:])[0] > 0.6
    assert (std > 0).all() and std[20:].mean() > std[:20].mean()  # surer of what it has seen


def test_spreads_are_those_of_the_posterior(structure: EdgeStructure) -> None:
    """Against its closed form (Bishop 2006, 3.58 and 3.59), and the fixed point of its precisions (MacKay 1992)."""
    samples, probs = pool(structure, 40)
    features, _ = architecture_features(structure, samples)
    nll = np.array([metrics.nll(one, LABELS) for one in probs[:6]])
    mean, std = predicted_nll(features, np.arange(6), nll)
    scale = max(np.log(nll).std(), 0.02)
    target = (np.log(nll) - np.log(nll).mean()) / scale
    inputs = features - features[:6].mean(axis=0)
    noise, weight = 1.0, 1.0
    for _ in range(1000):
        covariance = np.linalg.inv(noise * inputs[:6].T @ inputs[:6] + weight * np.eye(inputs.shape[1]))
        coefficients = noise * covariance @ inputs[:6].T @ target
        effective = inputs.shape[1] - weight * np.trace(covariance)
        weight = (effective + 2) / (coefficients @ coefficients + 2)
        noise = (6 - effective + 2) / (((target - inputs[:6] @ coefficients) ** 2).sum() + 2)
    spread = np.sqrt(np.einsum("pf,fg,pg->p", inputs, covariance, inputs) + 1 / noise)
    np.testing.assert_allclose(mean, np.exp(inputs @ coefficients * scale + np.log(nll).mean()), rtol=1e-3)
    np.testing.assert_allclose(std, spread * scale * mean, rtol=1e-3)


def test_the_expected_gain_agrees_with_what_happens(structure: EdgeStructure) -> None:
    samples, probs = pool(structure, 60)
    features, shared = architecture_features(structure, samples)
    found = forecast(features, shared, list(range(15)), probs[:15], LABELS, members=3)
    assert (found.gain >= 0).all()

    def best(n: list[int]) -> float:
        from nni_hypens.selection.dispatch import select

        return select("exhaustive", probs[n], LABELS, size=3).score

    now = best(list(range(15)))
    real = np.array([now - best([*range(15), other]) for other in range(15, 60)])
    top = np.argsort(-found.gain[15:])[:10]
    assert real[top].mean() > 2 * real.mean() > 0


def test_traits_are_carried_to_all_from_those_that_were_measured(structure: EdgeStructure) -> None:
    samples = random_architectures(structure, 120, seed=0)
    size = NetworkSize(OneCell(channels=2, nodes=4), (3, 16, 16))
    features, _ = architecture_features(structure, samples)
    measured = {place: size(samples[place]) for place in range(0, 120, 3)}
    columns = trait_features(features, measured)
    assert columns.shape == (120, 2)
    of_measured = columns[list(measured)]
    np.testing.assert_allclose(of_measured.mean(axis=0), 0, atol=0.01)
    np.testing.assert_allclose(of_measured.std(axis=0), 1 / np.sqrt(2), rtol=0.01)  # together as much as the edges
    few = list(range(0, 120, 2))
    part = trait_features(features[few], {few.index(place): size(samples[place]) for place in range(0, 120, 6)})
    whole = trait_features(features, {place: size(samples[place]) for place in range(0, 120, 6)})
    np.testing.assert_allclose(part, whole[few])  # whatever else is on the table
    truth = np.log([size(sample) for sample in samples])
    for place in range(2):
        assert spearmanr(columns[:, place], truth[:, place]).statistic > 0.98


def test_traits_help_where_size_decides(structure: EdgeStructure) -> None:
    size = NetworkSize(OneCell(channels=2, nodes=4), (3, 16, 16))
    samples = random_architectures(structure, 150, seed=0)
    logs = np.log([size(sample)[1] for sample in samples])
    features, _ = architecture_features(structure, samples)
    with_traits = np.column_stack([features, trait_features(features, dict(enumerate(map(size, samples))))])
    noise = np.random.default_rng(0).normal(0, 0.05, len(samples))
    nll = np.exp(-0.3 * (logs - logs.mean()) / logs.std() + noise)
    owner = np.arange(6)
    without, _ = predicted_nll(features, owner, nll[owner])
    known, _ = predicted_nll(with_traits, owner, nll[owner])
    assert spearmanr(known, nll).statistic > max(0.8, spearmanr(without, nll).statistic)
