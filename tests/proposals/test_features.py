"""Descriptions of architectures, against counts of their edges and the sizes of their networks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from nni.nas.nn.pytorch import ModelSpace
from scipy.stats import spearmanr

from nni_hypens.proposals.features import architecture_features, log_sizes, standardised
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.cost import NetworkSize
from nni_hypens.space.draws import random_architectures
from search_spaces import OneCell, darts


@pytest.mark.parametrize("space", [OneCell(channels=2), darts("tiny")], ids=["one_cell", "darts"])
def test_features_count_shared_edges_and_operations(space: ModelSpace) -> None:
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


def test_sizes_are_carried_to_all_from_those_that_were_measured(structure: EdgeStructure) -> None:
    samples = random_architectures(structure, 60, seed=0)
    size = NetworkSize(OneCell(channels=2, nodes=4), (3, 16, 16))
    truth = [size(sample) for sample in samples]
    features, _ = architecture_features(structure, samples)
    measured = {place: truth[place] for place in range(0, 60, 2)}
    found = log_sizes(features, measured)
    rows = list(measured)
    assert found.shape == (60,)
    assert found[rows].mean() == pytest.approx(0, abs=1e-9) and found[rows].std() == pytest.approx(1)
    logs = np.log(truth)
    mean = ((logs - logs.mean(axis=0)) / logs.std(axis=0)).mean(axis=1)
    assert spearmanr(found, mean).statistic > 0.95
    few = list(range(0, 60, 2))  # whatever else is on the table
    shared = {place: truth[place] for place in range(0, 60, 6)}
    part = log_sizes(features[few], {few.index(place): value for place, value in shared.items()})
    np.testing.assert_allclose(part, log_sizes(features, shared)[few])


def test_networks_of_one_size_have_size_zero() -> None:
    np.testing.assert_array_equal(log_sizes(np.eye(3), dict.fromkeys(range(3), (5.0, 7.0))), 0.0)


def test_a_number_is_carried_to_all_from_those_that_have_it(structure: EdgeStructure) -> None:
    samples = random_architectures(structure, 40, 0)
    features, _ = architecture_features(structure, samples)
    true = features @ np.random.default_rng(0).normal(size=features.shape[1])  # a sum over edges and operations
    measured = dict(enumerate(true[:30]))
    found = standardised(features, measured)
    assert found is not None
    assert found[:30].mean() == pytest.approx(0, abs=1e-9) and found[:30].std() == pytest.approx(1)
    assert np.corrcoef(found[30:], true[30:])[0, 1] > 0.8
    with_gap = standardised(features, {**measured, 30: np.nan})
    np.testing.assert_array_equal(found, with_gap)
    assert standardised(features, {}) is None and standardised(features, {0: 1.0, 1: np.inf}) is None
