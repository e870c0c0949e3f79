"""Neural ensemble search by pools of networks (Zaidi et al. 2021), for comparisons: random search and evolution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from nni_hypens.method_parts import MANY, Next, Trained, fill
from nni_hypens.selection.methods import select
from nni_hypens.space.draws import neighbours, random_architectures
from nni_hypens.workbench import Network, Workbench

POPULATION = 10
"""Networks that evolution keeps (Zaidi et al. 2021 keep 50 of 400)."""
FORWARD_SELECT = "greedy"
"""ForwardSelect of Zaidi et al. 2021: step by step, without replacement, the network with which the average has the
lowest validation NLL."""


def random_pool(bench: Workbench, members: int, budget: float) -> Trained:
    """Random architectures (Random-NES of the papers), of which the best choice is taken."""
    samples = random_architectures(bench.structure, MANY, bench.seed)
    return Trained(fill(bench, members, budget, ((sample, 0) for sample in samples)))


def random_search(bench: Workbench, members: int, budget: float) -> Trained:
    """NES-RS (Zaidi et al. 2021): random architectures, of which ForwardSelect takes the members."""
    return replace(random_pool(bench, members, budget), selection=FORWARD_SELECT)


def evolution(bench: Workbench, members: int, budget: float) -> Trained:
    """NES-RE (Zaidi et al. 2021, algorithm 1): a population ages; parents are the members that ForwardSelect takes from
    it, and a child differs from its parent in one choice. ForwardSelect then takes the members of the ensemble from all
    that was trained."""
    networks: list[Network] = []
    generator = np.random.default_rng(bench.seed)

    def children() -> Iterator[Next]:
        for sample in random_architectures(bench.structure, POPULATION, bench.seed):
            yield sample, 0
        while len(networks) < MANY:
            alive = [network for network in networks[-POPULATION:] if network.finite]
            if not alive:
                return
            probs = np.stack([network.validation for network in alive])
            chosen = select(FORWARD_SELECT, probs, bench.validation_labels, size=min(members, len(alive))).members
            parent = alive[chosen[int(generator.integers(len(chosen)))]].sample
            near = neighbours(bench.structure, parent)
            sample = near[int(generator.integers(len(near)))]
            key = bench.structure.key(sample)
            yield sample, sum(bench.structure.key(network.sample) == key for network in networks)

    def remembered() -> Iterator[Next]:
        for following in children():
            yield following
            networks.append(bench.network(*following))

    return Trained(fill(bench, members, budget, remembered()), selection=FORWARD_SELECT)
