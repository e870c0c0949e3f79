"""Methods that choose members from a pool of different architectures: random ones, and those of evolution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from nni_hypens.compare import searches
from nni_hypens.compare.bench import Network, Workbench
from nni_hypens.compare.method import (
    MAX_NETWORKS,
    Bench,
    Trained,
    Training,
    once_each,
    random_samples,
    train_within_budget,
)
from nni_hypens.selection.dispatch import select
from nni_hypens.space.draws import neighbours
from nni_hypens.utils.seeds import Purpose, derive_seed

DEVIATION = 2
"""Edges in which random deviations differ from the base."""
POPULATION = 10
"""Networks that evolution keeps (Zaidi et al. 2021 keep 50 of 400)."""
FORWARD_SELECT = "greedy"
"""ForwardSelect of Zaidi et al. 2021: step by step, without replacement, add the network with which the average has the
lowest validation NLL."""


def random_pool(bench: Bench, members: int, budget: float) -> Trained:
    """Random architectures (Random-NES of the papers)."""
    samples = random_samples(bench, MAX_NETWORKS)
    return Trained(train_within_budget(bench, members, budget, once_each(samples)))


def random_search(bench: Bench, members: int, budget: float) -> Trained:
    """NES-RS (Zaidi et al. 2021): random architectures, from which ForwardSelect takes the members."""
    return replace(random_pool(bench, members, budget), selection=FORWARD_SELECT)


def random_deviations(bench: Workbench, members: int, budget: float) -> Trained:
    """The base of EdgeNES and random architectures that differ from it in two edges (RandomD-NES of the papers)."""
    search = searches.hypernetwork_search(bench)
    generator = np.random.default_rng(derive_seed(bench.seed, Purpose.RANDOM_DEVIATIONS))
    base, structure = search.sampler.base, bench.structure
    wanted = max(structure.n_edges - DEVIATION, 0)

    def deviations() -> Iterator[Training]:
        seen = {structure.key(base)}
        yield base, 0
        for _ in range(100 * MAX_NETWORKS):
            sample = base
            while structure.shared_edges(base, sample) > wanted:
                near = neighbours(structure, sample)
                sample = near[int(generator.integers(len(near)))]
            if structure.shared_edges(base, sample) == wanted and structure.key(sample) not in seen:
                seen.add(structure.key(sample))
                yield sample, 0

    seconds = search.clock.seconds
    networks = train_within_budget(bench, members, budget - seconds, deviations())
    return Trained(networks, seconds, supernet=search.name)


def evolution(bench: Bench, members: int, budget: float) -> Trained:
    """NES-RE (Zaidi et al. 2021, algorithm 1): regularised evolution of a population.

    Parents are the members that ForwardSelect takes from the youngest networks, and a child differs from its parent in
    one choice; on a pool, a child is one of those left that share most edges with its parent. ForwardSelect then takes
    the members of the ensemble from all trained networks.
    """
    networks: list[Network] = []
    generator = np.random.default_rng(derive_seed(bench.seed, Purpose.EVOLUTION))

    def children() -> Iterator[Training]:
        yield from once_each(random_samples(bench, POPULATION))
        while len(networks) < MAX_NETWORKS:
            alive = [network for network in networks[-POPULATION:] if network.finite]
            if not alive:
                return
            probs = np.stack([network.validation for network in alive])
            chosen = select(FORWARD_SELECT, probs, bench.validation_labels, size=min(members, len(alive))).members
            parent = alive[chosen[int(generator.integers(len(chosen)))]].sample
            near = bench.neighbours(parent, [network.sample for network in networks])
            if not near:
                return
            child = near[int(generator.integers(len(near)))]
            key = bench.structure.key(child)
            yield child, sum(bench.structure.key(network.sample) == key for network in networks)

    def recorded() -> Iterator[Training]:
        for training in children():
            yield training
            networks.append(bench.network(*training))

    return Trained(train_within_budget(bench, members, budget, recorded()), selection=FORWARD_SELECT)
