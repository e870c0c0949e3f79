"""Methods whose members are networks of few architectures: single networks, and several seeds of one architecture."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, takewhile
from typing import TypeVar

import numpy as np

from nni_hypens.compare import searches
from nni_hypens.compare.bench import Network, Workbench
from nni_hypens.compare.method import (
    MAX_NETWORKS,
    Bench,
    Recipe,
    Trained,
    once_each,
    one_network_of_each,
    random_samples,
    replicas,
    train_within_budget,
    with_seeds_left,
)

AnyBench = TypeVar("AnyBench", bound=Bench)


def single(strategy: str) -> Recipe:
    """One network of the architecture that a strategy of NNI finds."""

    def recipe(bench: Workbench, members: int, budget: float) -> Trained:
        sample, seconds = searches.nni_search(bench, strategy)
        return Trained([bench.network(sample)], seconds, choose=False)

    return recipe


def random_single(bench: Bench, members: int, budget: float) -> Trained:
    """One network of a random architecture."""
    return Trained([bench.network(random_samples(bench, 1)[0])], choose=False)


def deep_ensemble(strategy: str) -> Recipe:
    """Several seeds of the architecture that a strategy of NNI finds (Lakshminarayanan et al. 2017)."""

    def recipe(bench: Workbench, members: int, budget: float) -> Trained:
        sample, seconds = searches.nni_search(bench, strategy)
        return Trained([bench.network(sample, replica) for replica in range(members)], seconds, choose=False)

    return recipe


def search_ensemble_of(strategy: str) -> Recipe:
    """One network of the architecture of each of several searches by a strategy of NNI."""

    def recipe(bench: Workbench, members: int, budget: float) -> Trained:
        results = [searches.nni_search(bench, strategy, index) for index in range(members)]
        networks = one_network_of_each(bench, [sample for sample, _ in results])
        return Trained(networks, sum(seconds for _, seconds in results), choose=False)

    return recipe


def random_deep_ensemble(bench: Bench, members: int, budget: float) -> Trained:
    """Half of the budget for random architectures, the rest for new seeds of the best of them.

    On a pool it is the best of those with enough networks for all members, where there is one. When the pool has no
    further network of it, more random architectures follow.
    """
    samples = random_samples(bench, MAX_NETWORKS)
    pool = train_within_budget(bench, 1, budget / 2, once_each(samples))
    best = min(with_seeds_left(bench, pool, members), key=lambda network: network.nll)
    rest = budget - sum(network.cost for network in pool)
    seeds = takewhile(lambda training: bench.offers(*training), replicas(best.sample, 1))
    trainings = chain(seeds, once_each(samples[len(pool) :]))
    return Trained([*pool, *train_within_budget(bench, members - 1, rest, trainings)])


def base_ensemble(bench: Workbench, members: int, budget: float) -> Trained:
    """New seeds of the base of EdgeNES, as many as the budget pays for."""
    search = searches.hypernetwork_search(bench)
    seconds = search.clock.seconds
    networks = train_within_budget(bench, members, budget - seconds, replicas(search.sampler.base))
    return Trained(networks, seconds)


def best_architecture_of(ours: Callable[[AnyBench, int, float], Trained]) -> Callable[[AnyBench, int, float], Trained]:
    """The hardest baseline: new seeds of the architecture that our method found best.

    It gets that architecture for free: it is charged for the search, and spends on its networks all that our method
    spends on training, but not what finding the architecture took. On a pool it is the best of those with enough
    networks for all members; where none has, all networks of the best are the members.

    Args:
        ours: Recipe of our method.
    """

    def recipe(bench: AnyBench, members: int, budget: float) -> Trained:
        found = ours(bench, members, budget)
        by_architecture: dict[object, list[Network]] = {}
        for network in with_seeds_left(bench, found.networks, members):
            by_architecture.setdefault(bench.structure.key(network.sample), []).append(network)
        best = min(by_architecture.values(), key=lambda group: float(np.mean([network.nll for network in group])))
        networks = train_within_budget(bench, members, budget - found.search_s, replicas(best[0].sample))
        return Trained(networks, found.search_s, choose=len(networks) >= members)

    return recipe
