"""The rank correlation of a supernet with what was trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nni_hypens.space.architecture import Sample
from nni_hypens.space.draws import random_architectures
from nni_hypens.supernet_truth import supernet_truth
from tests.support.comparison_fixture import SimulatedBench, SimulatedSearch


class ToldSearch(SimulatedSearch):
    """Its supernet gives the true class the probability that it is told, architecture by architecture."""

    def __init__(self, bench: SimulatedBench, told: list[tuple[Sample, float]]) -> None:
        super().__init__(bench)
        self.told, self.asked = told, 0

    def predict(self, samples: list[Sample], charged: bool = True) -> np.ndarray:
        assert not charged
        self.asked += len(samples)
        labels = self.bench.validation_labels
        probs = np.zeros((len(samples), len(labels), 10))
        for place, sample in enumerate(samples):
            level = next(level for one, level in self.told if one == sample)
            probs[place] = (1 - level) / 9
            probs[place, np.arange(len(labels)), labels] = level
        return probs


def test_architectures_are_counted_once_and_the_diverged_not_at_all(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path, diverging=[15])
    samples = random_architectures(bench.structure, 6, 0)
    networks = [bench.network(sample, replica) for sample in samples[:5] for replica in range(3)]
    assert not bench.network(samples[5]).finite
    after = [np.mean([network.nll for network in networks[3 * k : 3 * k + 3]]) for k in range(5)]
    level = [0.3, 0.1, 0.5, 0.2, 0.4]
    search = ToldSearch(bench, list(zip(samples, level, strict=False)))
    ranks = np.argsort(np.argsort(after)) - np.argsort(np.argsort([-one for one in level]))
    expected = 1 - 6 * (ranks**2).sum() / (5 * 24)
    assert supernet_truth(bench, search) == (pytest.approx(expected), 5)
    assert supernet_truth(bench, search) == (pytest.approx(expected), 5) and search.asked == 5  # nothing twice


def test_few_or_equal_architectures_give_no_correlation(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    samples = random_architectures(bench.structure, 5, 0)
    search = ToldSearch(bench, [(sample, 0.5) for sample in samples])
    assert supernet_truth(bench, search) == (None, 0)
    for n, sample in enumerate(samples, 1):
        bench.network(sample)
        assert supernet_truth(bench, search) == (None, n)
