"""NES-RS and NES-RE on a workbench whose networks are simulated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nni_hypens.baselines import METHODS
from nni_hypens.baselines_nes import FORWARD_SELECT, POPULATION
from nni_hypens.comparison import outcome
from nni_hypens.method_parts import Trained
from nni_hypens.selection.methods import select
from nni_hypens.space.architecture import Sample
from nni_hypens.space.draws import neighbours, random_architectures
from nni_hypens.workbench import Network
from tests.support.comparison_fixture import SimulatedBench, keys


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
    chosen = forward_selection(np.stack([network.validation for network in finite]), labels, 4)
    found = outcome(bench, trained, 4)
    assert found["chosen"] == [bench.structure.describe(finite[index].sample) for index in chosen]


def test_random_search_trains_what_a_random_pool_trains(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    search, pool = (METHODS[name].recipe(bench, 3, 15.0) for name in ("random_search", "random_pool"))
    assert [(n.sample, n.nll) for n in search.networks] == [(n.sample, n.nll) for n in pool.networks]
    assert search.choose and pool.choose and (search.selection, pool.selection) == (FORWARD_SELECT, None)


def test_forward_selection_may_miss_the_best_choice(tmp_path: Path) -> None:
    """The best network alone is no member of the best pair: each of the pair knows the half that the other does not."""
    bench = SimulatedBench(tmp_path)
    labels = bench.validation_labels
    left = np.arange(len(labels)) % 2 == 0

    def network(known: np.ndarray, sample: Sample) -> Network:
        """Gives the true class so much."""
        probs = np.repeat(((1 - known) / 9)[:, None], 10, axis=1)
        probs[np.arange(len(labels)), labels] = known
        return Network(sample, 0, probs, probs[: len(bench.test_labels)], float(-np.log(known).mean()), 1.0)

    known = [np.full(len(labels), 0.45), np.where(left, 0.99, 0.15), np.where(left, 0.15, 0.99)]
    samples = random_architectures(bench.structure, 3, 0)
    networks = [network(given, sample) for given, sample in zip(known, samples, strict=True)]
    texts = [bench.structure.describe(sample) for sample in samples]
    assert networks[0].nll < min(networks[1].nll, networks[2].nll)
    forward, best = (outcome(bench, Trained(networks, selection=how), 2) for how in (FORWARD_SELECT, None))
    assert texts[0] in forward["chosen"] and set(best["chosen"]) == set(texts[1:])
    assert best["validation_nll"] < forward["validation_nll"]
