"""How a method spends its budget."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nni_hypens.compare.method import replicas, train_within_budget
from nni_hypens.space.draws import random_architectures
from tests.support.comparison_fixture import SimulatedBench


@pytest.mark.parametrize("budget", [0.0, 2.5, 7.0, 7.9, 20.0])
@pytest.mark.parametrize("costs", [(1.0,), (0.5, 2.0, 1.0), (3.0, 0.1)])
def test_the_budget_is_kept(budget: float, costs: tuple[float, ...], tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path, costs=costs)
    sample = random_architectures(bench.structure, 1, 0)[0]
    networks = train_within_budget(bench, 3, budget, replicas(sample))
    spent = np.cumsum([network.cost for network in networks])
    assert len(networks) >= 3
    for count in range(3, len(networks)):  # each after the third was expected to fit
        assert spent[count - 1] * (count + 1) / count <= budget
    assert spent[-1] * (len(networks) + 1) / len(networks) > budget  # and one more was not


def test_a_source_that_runs_dry_ends_the_training(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    sample = random_architectures(bench.structure, 1, 0)[0]
    assert len(train_within_budget(bench, 3, 100.0, iter([(sample, 0), (sample, 1)]))) == 2


def test_diverged_networks_are_charged_but_do_not_count_as_members(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path, diverging=[0, 2])
    networks = train_within_budget(bench, 3, 0.0, replicas(random_architectures(bench.structure, 1, 0)[0]))
    assert [network.finite for network in networks] == [False, True, False, True, True]
    hopeless = SimulatedBench(tmp_path / "hopeless", diverging=range(100))
    assert len(train_within_budget(hopeless, 3, 0.0, replicas(random_architectures(bench.structure, 1, 0)[0]))) == 9
