"""Recipes on a workbench whose networks are simulated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nni_hypens.compare import searches
from nni_hypens.compare.bench import Network
from nni_hypens.compare.edgenes import network_size
from nni_hypens.compare.method import Trained
from nni_hypens.compare.methods import METHODS, method_of, method_order
from nni_hypens.compare.outcomes import outcome
from nni_hypens.compare.pools import FORWARD_SELECT, POPULATION
from nni_hypens.errors import InputError
from nni_hypens.selection.dispatch import select
from nni_hypens.space.architecture import Sample
from nni_hypens.space.draws import neighbours, random_architectures
from nni_hypens.trials.training import network_seed
from nni_hypens.utils.seeds import Purpose, derive_seed
from tests.support.comparison_fixture import SimulatedBench, SimulatedSearch, keys, remember_sizes

SEARCH_SECONDS = 3.0


@pytest.fixture(autouse=True)
def simulated_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """NNI's searches find a random architecture in three seconds, EdgeNES takes five and one for a ranking."""

    def nni_search(bench: SimulatedBench, strategy: str, index: int = 0) -> tuple[Any, float]:
        return random_architectures(bench.structure, index + 1, 50 + bench.seed)[index], SEARCH_SECONDS

    def fixed(bench: SimulatedBench, search: Any, lam: float) -> tuple[Any, float]:
        return search.sampler.mode(lam).architecture, 2.0

    remember_sizes(monkeypatch)
    monkeypatch.setattr(searches, "nni_search", nni_search)
    monkeypatch.setattr(searches, "fixed_lam_search", fixed)
    monkeypatch.setattr(searches, "hypernetwork_search", lambda bench, name="", **changes: SimulatedSearch(bench))


def replicas_of(bench: SimulatedBench, networks: list[Any]) -> list[int]:
    """Which replica of its architecture each network is, by its seed."""
    found = []
    for network in networks:
        key = bench.structure.key(network.sample)
        found.append([network_seed(bench.seed, key, replica) for replica in range(100)].index(network.seed))
    return found


def total(trained: Trained) -> float:
    return trained.search_s + sum(network.cost for network in trained.networks)


# ---- the budget ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 5])
def test_methods_that_fill_the_budget_cost_the_same(size: int, tmp_path: Path) -> None:
    budget = 16.0
    for name, method in METHODS.items():
        bench = SimulatedBench(tmp_path / name)
        trained = method.recipe(bench, size, budget)
        if method.fills:
            assert budget - 1 < total(trained) <= budget, name
            assert trained.choose, name
        assert len(trained.networks) >= (1 if "single" in method.title else size), name
        assert len({(bench.structure.key(n.sample), n.seed) for n in trained.networks}) == len(trained.networks), name
        assert not {(bench.structure.key(n.sample), n.seed) for n in trained.networks} - set(bench.begun), name


@pytest.mark.parametrize("name", METHODS)
def test_a_recipe_repeats_without_training(name: str, tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    first = METHODS[name].recipe(bench, 3, 14.0)
    again = SimulatedBench(tmp_path, costs=(50.0,))
    second = METHODS[name].recipe(again, 3, 14.0)
    assert not again.begun
    assert total(first) == total(second) and first.supernet == second.supernet
    assert [(n.sample, n.seed, n.nll) for n in first.networks] == [(n.sample, n.seed, n.nll) for n in second.networks]


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.fills])
def test_a_little_budget_still_gives_members(name: str, tmp_path: Path) -> None:
    trained = METHODS[name].recipe(SimulatedBench(tmp_path), 3, 0.5)
    assert 3 <= len(trained.networks) <= 5  # adaptive training without a search begins with five


# ---- methods of one architecture ----------------------------------------------------------------------------------


def test_singles_and_deep_ensembles(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    for name in ("darts", "gumbel_darts", "enas", "random"):
        trained = METHODS[name].recipe(bench, 5, 100.0)
        assert len(trained.networks) == 1 and not trained.choose
        assert trained.search_s == (0.0 if name == "random" else SEARCH_SECONDS)
    deep = METHODS["darts_deep_ensemble"].recipe(bench, 4, 100.0)
    assert len(set(keys(bench, deep.networks))) == 1 and len({network.seed for network in deep.networks}) == 4
    assert not deep.choose and total(deep) == SEARCH_SECONDS + 4


def test_several_searches_are_all_charged_and_twins_get_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = SimulatedBench(tmp_path)
    different = METHODS["darts_ensemble"].recipe(bench, 4, 100.0)
    assert different.search_s == 4 * SEARCH_SECONDS and len(set(keys(bench, different.networks))) == 4
    assert replicas_of(bench, different.networks) == [0] * 4
    sample = random_architectures(bench.structure, 1, 0)[0]
    monkeypatch.setattr(searches, "nni_search", lambda *_: (sample, SEARCH_SECONDS))
    twins = METHODS["enas_ensemble"].recipe(bench, 3, 100.0)
    assert replicas_of(bench, twins.networks) == [0, 1, 2]


def test_a_random_deep_ensemble_takes_the_best_it_has_seen(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    trained = METHODS["random_deep_ensemble"].recipe(bench, 3, 20.0)
    found = keys(bench, trained.networks)
    pool, rest = trained.networks[:10], trained.networks[10:]
    assert len(set(found[:10])) == 10
    best = min(pool, key=lambda network: network.nll)
    assert set(keys(bench, rest)) == {bench.structure.key(best.sample)}
    assert replicas_of(bench, rest) == list(range(1, len(rest) + 1))


def test_searches_at_fixed_lam_are_each_charged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, lams = SimulatedBench(tmp_path), []
    search = searches.fixed_lam_search
    monkeypatch.setattr(searches, "fixed_lam_search", lambda b, s, lam: lams.append(lam) or search(b, s, lam))
    trained = METHODS["fixed_lam"].recipe(bench, 5, 100.0)
    assert lams == [1.0, 1.5, 2.0, 2.5, 3.0] and trained.search_s == 5.0 + 5 * 2.0
    assert len(trained.networks) == 5 and not trained.choose
    METHODS["fixed_lam"].recipe(bench, 3, 100.0)
    assert lams[5:] == [1.0, 2.0, 3.0]


# ---- pools --------------------------------------------------------------------------------------------------------


def test_random_deviations_differ_from_the_base_by_two_edges(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    trained = METHODS["random_deviations"].recipe(bench, 3, 45.0)
    base, *others = trained.networks
    assert base.sample == SimulatedSearch(bench).sampler.base and len(others) == 39
    shared = {bench.structure.shared_edges(base.sample, network.sample) for network in others}
    assert shared == {bench.structure.n_edges - 2}
    assert len(set(keys(bench, trained.networks))) == 40


# ---- EdgeNES ------------------------------------------------------------------------------------------------------


def test_edgenes_trains_the_base_and_what_was_ranked(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    trained = METHODS["edgenes"].recipe(bench, 3, 16.0)
    assert trained.search_s == 6.0  # the search and one ranking
    assert trained.networks[0].sample == SimulatedSearch(bench).sampler.base
    assert len(set(keys(bench, trained.networks))) == len(trained.networks) == 10


def test_edgenes_goes_on_where_candidates_are_cheaper_than_the_base(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path, costs=(4.0,) + (1.0,) * 1000)
    trained = METHODS["edgenes"].recipe(bench, 3, 30.0)
    assert 28 < total(trained) <= 30
    assert len(trained.networks) == 20  # by the cost of the base there would be 6
    assert len(set(keys(bench, trained.networks))) == 20


def test_seeds_of_the_base(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    trained = METHODS["base_ensemble"].recipe(bench, 3, 15.0)
    assert trained.search_s == 5.0 and len(trained.networks) == 10  # nothing is ranked
    assert set(keys(bench, trained.networks)) == {bench.structure.key(SimulatedSearch(bench).sampler.base)}


def test_adaptive_training_may_repeat_an_architecture(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path, diverging=[1])
    trained = METHODS["adaptive"].recipe(bench, 3, 30.0)
    found = keys(bench, trained.networks)
    assert len(set(found[:3])) == 3
    assert found.count(found[1]) == 1  # what diverged is not trained again


def test_adaptive_edgenes_begins_with_what_is_best_by_supernet_and_size_together(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    search, size, labels = SimulatedSearch(bench), network_size(bench), bench.plan.data.labels("validation")
    seed = derive_seed(bench.seed, Purpose.CANDIDATES, 0)
    pool = [one.architecture for one in search.sampler.pool(16, search.plan.lam_range, seed, at_least=1)]
    volume = {}
    for sample in random_architectures(bench.structure, 60, seed):
        volume[bench.structure.key(sample)] = size(sample)[0] * size(sample)[1], sample
    pool += [sample for _, sample in sorted(volume.values(), key=lambda pair: -pair[0])[:8]]
    known = {bench.structure.key(sample): sample for sample in pool}
    probs = search.predict(list(known.values()))[:, np.arange(len(labels)), labels]
    by_nll = [key for _, key in sorted(zip(-np.log(probs).mean(axis=1), known, strict=True), key=lambda pair: pair[0])]
    sizes = {key: size(sample)[0] * size(sample)[1] for key, sample in known.items()}

    def rank(key: object) -> float:  # places of those of one size are shared
        larger, same = (sum(test(other) for other in sizes.values())
                        for test in (sizes[key].__lt__, sizes[key].__eq__))  # fmt: skip
        return by_nll.index(key) + larger + (same - 1) / 2

    trained = METHODS["adaptive"].recipe(bench, 3, 30.0)
    found = keys(bench, trained.networks)
    assert [rank(key) for key in found[:3]] == sorted(rank(key) for key in known)[:3]
    for place in range(3, 6):  # then new seeds of the one that is ahead
        means = {key: np.mean([n.nll for n, own in zip(trained.networks[:place], found, strict=False) if own == key])
                 for key in found[:3]}  # fmt: skip
        assert found[place] == min(means, key=means.__getitem__)
    assert len(set(found[6:]) - set(found[:3])) > 0  # and then whatever is expected to help


def test_a_method_whose_networks_are_trained_for_longer_has_networks_of_its_own(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    factors: list[int] = []

    def evaluators(factor: int) -> Any:
        factors.append(factor)
        return bench.plan.evaluator

    bench.evaluators = evaluators
    short = method_of("random_pool").recipe(bench, 3, 8.0)
    long = method_of("random_pool@3").recipe(bench, 3, 8.0)
    assert factors == [3]
    assert method_of("random_pool@3").title == "Random-NES, 3x"
    assert keys(bench, short.networks) == keys(bench, long.networks)
    assert len(bench.begun) == 2 * len(short.networks)  # none is taken for the other
    with pytest.raises(ValueError, match="evaluators: got None"):
        bench.longer(3).longer(2)


@pytest.mark.parametrize("name", ["nothing", "adaptive@", "adaptive@1", "adaptive@two", "nothing@3", "adaptive@-2"])
def test_an_unknown_method_is_told(name: str) -> None:
    with pytest.raises(InputError, match=r"methods: got '.*'; expected one of adaptive, .*@2"):
        method_of(name)


def test_methods_are_sorted_as_in_the_list_each_with_its_longer_trainings() -> None:
    names = ["random_pool@10", "later", "random_pool@3", "evolution", "random_pool", "adaptive@3"]
    found = sorted(names, key=method_order)
    assert found == ["adaptive@3", "random_pool", "random_pool@3", "random_pool@10", "evolution", "later"]


def test_the_hardest_baseline_spends_what_adaptive_edgenes_spends(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    ours = METHODS["adaptive"].recipe(bench, 3, 30.0)
    trained = METHODS["best_architecture"].recipe(bench, 3, 30.0)
    assert total(trained) == total(ours)
    (key,) = set(keys(bench, trained.networks))
    means = {
        other: np.mean([n.nll for n in ours.networks if bench.structure.key(n.sample) == other])
        for other in keys(bench, ours.networks)
    }
    assert key == min(means, key=means.__getitem__)


@pytest.mark.parametrize("name", ["adaptive", "edgenes", "edgenes_js", "random_deviations", "fixed_lam"])
def test_what_was_ranked_on_the_supernet_is_paid_for(name: str, tmp_path: Path) -> None:
    trained = METHODS[name].recipe(SimulatedBench(tmp_path), 3, 30.0)
    searches = {"random_deviations": 5.0, "fixed_lam": 5.0 + 3 * 2.0}
    sizes = sum(json.loads(path.read_text()) for path in tmp_path.glob("charges/*.json"))  # of networks: adaptive alone
    assert trained.search_s == pytest.approx(searches.get(name, 6.0) + sizes)  # EdgeNES alone pays for a ranking
    assert (sizes > 0) == (name == "adaptive") and trained.supernet == "simulated"


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
