"""Methods that choose from a pool, on a workbench whose networks are simulated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nni_hypens.compare.methods import METHODS
from nni_hypens.compare.outcomes import outcome
from nni_hypens.compare.pools import FORWARD_SELECT, POPULATION
from nni_hypens.selection.dispatch import select
from nni_hypens.space.draws import neighbours, random_architectures
from tests.support.comparison_fixture import SimulatedBench, SimulatedSearch, keys

pytestmark = pytest.mark.usefixtures("simulated_searches")


def test_random_deviations_differ_from_the_base_by_two_edges(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    trained = METHODS["random_deviations"].recipe(bench, 3, 45.0)
    base, *others = trained.networks
    assert base.sample == SimulatedSearch(bench).sampler.base and len(others) == 39
    shared = {bench.structure.shared_edges(base.sample, network.sample) for network in others}
    assert shared == {bench.structure.n_edges - 2}
    assert len(set(keys(bench, trained.networks))) == 40


def test_a_random_pool_holds_no_architecture_twice(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    trained = METHODS["random_pool"].recipe(bench, 3, 50.0)
    assert len(set(keys(bench, trained.networks))) == len(trained.networks) == 50


def test_evolution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every child is a neighbour of a member that forward selection takes from the ten youngest, as it was then."""
    bench = SimulatedBench(tmp_path, diverging=[4])
    trained = METHODS["evolution"].recipe(bench, 3, 40.0)
    networks = trained.networks
    assert len(networks) == 40 and len(set(keys(bench, networks[:POPULATION]))) == POPULATION
    labels = bench.plan.data.labels("validation")
    for born in range(POPULATION, len(networks)):
        alive = [network for network in networks[born - POPULATION : born] if network.finite]
        chosen = forward_selection(np.stack([network.validation for network in alive]), labels, 3)
        parents = [alive[index].sample for index in chosen]
        child = bench.structure.key(networks[born].sample)
        near = [{bench.structure.key(other) for other in neighbours(bench.structure, parent)} for parent in parents]
        assert any(child in keys_near for keys_near in near)


def forward_selection(probs: np.ndarray, labels: np.ndarray, size: int) -> list[int]:
    """Greedy without replacement by the NLL of the average."""
    chosen: list[int] = []
    for _ in range(size):
        scores = {}
        for index in set(range(len(probs))) - set(chosen):
            mean = probs[[*chosen, index]].astype(float).mean(axis=0)
            scores[index] = -np.log(mean[np.arange(len(labels)), labels]).mean()
        chosen.append(min(scores, key=scores.__getitem__))
    return chosen


def test_evolution_goes_on_while_anything_lives(tmp_path: Path) -> None:
    trained = METHODS["evolution"].recipe(SimulatedBench(tmp_path, diverging=range(POPULATION)), 3, 40.0)
    assert len(trained.networks) == POPULATION  # nothing lives: there is no parent


def test_forward_selection_is_that_of_the_package(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    networks = [bench.network(sample) for sample in random_architectures(bench.structure, 8, 0)]
    probs, labels = np.stack([network.validation for network in networks]), bench.plan.data.labels("validation")
    assert sorted(select(FORWARD_SELECT, probs, labels, size=3).members) == sorted(forward_selection(probs, labels, 3))


@pytest.mark.parametrize("name", ["random_search", "evolution"])
def test_the_ensemble_is_what_forward_selection_takes_from_all_that_was_trained(name: str, tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path, diverging=[3])
    trained = METHODS[name].recipe(bench, 4, 30.0)
    finite = [network for network in trained.networks if network.finite]
    assert len(finite) == 29
    labels = bench.plan.data.labels("validation")
    own = np.stack([network.alone for network in finite if network.alone is not None])  # with its own temperature
    chosen = forward_selection(own, labels, 4)
    found = outcome(bench, trained, 4)
    assert found["chosen"] == [bench.structure.describe(finite[index].sample) for index in chosen]


def test_random_search_trains_what_a_random_pool_trains(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    search, pool = (METHODS[name].recipe(bench, 3, 15.0) for name in ("random_search", "random_pool"))
    assert [(n.sample, n.nll) for n in search.networks] == [(n.sample, n.nll) for n in pool.networks]
    assert search.choose and pool.choose and (search.selection, pool.selection) == (FORWARD_SELECT, None)
