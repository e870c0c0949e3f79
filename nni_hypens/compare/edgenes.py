"""EdgeNES as methods of a comparison.

They draw, rank and propose by the functions that a run calls (`nni_hypens.proposals`). Only the end differs: a run
trains a number of candidates, a method of a comparison trains until its budget is spent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from nni_hypens.compare import searches
from nni_hypens.compare.bench import Clock, Network, Workbench
from nni_hypens.compare.method import (
    MAX_NETWORKS,
    Bench,
    Recipe,
    Trained,
    once_each,
    one_network_of_each,
    random_samples,
    train_until_spent,
    train_within_budget,
)
from nni_hypens.proposals.adaptive import AdaptiveTraining, Proposal, begin_adaptive_training
from nni_hypens.proposals.pool import OVERSAMPLE, draw_pool
from nni_hypens.proposals.ranking import rank_pool
from nni_hypens.proposals.start import first_by_traits
from nni_hypens.run.settings import DEFAULT_DRAWN
from nni_hypens.space.architecture import Sample

RANDOM_START_POOL = 60
"""Random architectures from which adaptive training without a search takes its start."""


def edgenes(name: str, **changes: Any) -> Recipe:
    """The papers' EdgeNES: a run with `ranking=spread`, with as many candidates as the budget pays for.

    Args:
        name: Name of the search.
        **changes: Changes to the plan of the search.
    """

    def recipe(bench: Workbench, members: int, budget: float) -> Trained:
        search = searches.hypernetwork_search(bench, name, **changes)
        base = bench.network(search.sampler.base)
        n = max(members, int((budget - search.clock.seconds) / base.cost))
        size = bench.traits()
        pool = draw_pool(search.sampler, size, "spread", n, search.plan.lam_range, bench.seed)
        ranked = rank_pool(pool, search.predict, bench.validation_labels, "spread", n, size)
        rest = [index for index in range(len(pool)) if index not in ranked.chosen]
        rest.sort(key=lambda index: ranked.supernet_nll[index])  # trained if networks are cheaper than the base
        order = [pool[index].architecture for index in (*ranked.chosen, *rest)]
        seconds = search.clock.seconds
        networks = train_within_budget(bench, members, budget - seconds, once_each(order))
        return Trained(networks, seconds, supernet=search.name)

    return recipe


def adaptive(bench: Workbench, members: int, budget: float) -> Trained:
    """EdgeNES with adaptive training: a run with default settings that goes on until the budget is spent."""
    search = searches.hypernetwork_search(bench)
    clock, size, plan = Clock(), bench.traits(), search.plan
    with bench.charged(f"pool-{OVERSAMPLE * DEFAULT_DRAWN}", clock):
        pool = draw_pool(search.sampler, size, "none", DEFAULT_DRAWN, plan.lam_range, bench.seed)
        predict = partial(search.predict, charged=False)  # this block charges its seconds
        ranked = rank_pool(pool, predict, bench.validation_labels, "none", DEFAULT_DRAWN, size)
    start = [candidate.architecture for candidate in ranked.candidates]
    with bench.charged(f"adaptive-{OVERSAMPLE * plan.settings.candidates}", clock):
        rule = begin_adaptive_training(
            search.sampler,
            start,
            bench.validation_labels,
            size,
            "none",
            plan.settings.candidates,
            members,
            plan.lam_range,
            bench.seed,
            plan.budget(),
        )
    seconds = search.clock.seconds + clock.seconds
    networks = train_proposals(bench, rule, members, budget - seconds)
    return Trained(networks, seconds, supernet=search.name)


def adaptive_random(bench: Bench, members: int, budget: float, goes_on: bool = True) -> Trained:
    """Adaptive training alone, which starts with random architectures and without any search.

    Args:
        bench: Trains networks.
        members: Members of the ensemble.
        budget: Seconds.
        goes_on: Whether a network can be trained further; otherwise each begins with new weights.
    """
    clock, size = Clock(), bench.traits()
    with bench.charged(f"start-{DEFAULT_DRAWN}", clock):
        samples = random_samples(bench, RANDOM_START_POOL)
        first = first_by_traits(samples, size, bench.flow())
        order = dict.fromkeys([*first, *range(len(samples))])
        start = [samples[index] for index in order][:DEFAULT_DRAWN]
    with bench.charged(f"sizes-{len(start)}-0", clock):
        rule = AdaptiveTraining(
            bench.structure,
            start,
            bench.architectures or [],
            bench.validation_labels,
            members,
            bench.seed,
            traits=size,
            closed=bench.architectures is not None,
            flow=bench.flow(),
        )
    networks = train_proposals(bench, rule, members, budget - clock.seconds, goes_on)
    return Trained(networks, clock.seconds)


def fixed_lam(bench: Workbench, members: int, budget: float) -> Trained:
    """EdgeNES without its hypernetwork: a separate search for each member, at lam spread over 1..n_edges - 1.

    Each starts with base and supernet of EdgeNES, which is charged as well. Where a space has so few edges that members
    have the same lam, they come from one search, which is charged once.
    """
    search = searches.hypernetwork_search(bench)
    lams = np.linspace(1, max(bench.structure.n_edges - 1, 1), members).round(2)
    found = {lam: searches.fixed_lam_search(bench, search, lam) for lam in dict.fromkeys(lams.tolist())}
    networks = one_network_of_each(bench, [found[lam][0] for lam in lams.tolist()])
    seconds = search.clock.seconds + sum(seconds for _, seconds in found.values())
    return Trained(networks, seconds, choose=False, supernet=search.name)


def train_proposals(
    bench: Bench, rule: AdaptiveTraining, members: int, budget: float, goes_on: bool = True
) -> list[Network]:
    """Train what adaptive training proposes until the budget is spent.

    Once a pool has no more networks of an architecture, that architecture is no longer proposed. Training ends when the
    pool is used up.
    """
    networks: list[Network] = []
    parents: dict[int, int] = {}  # position of a network -> of the one that it goes on from
    n_architectures = None if bench.architectures is None else len(bench.architectures)

    def training(proposal: Proposal, parent: int | None) -> Callable[[], Network] | None:
        if parent is not None:
            return partial(bench.further, networks[parent])
        if not bench.offers(proposal.sample, proposal.replica):
            return None
        return partial(bench.network, proposal.sample, proposal.replica, may_go_on=True)

    def trainings() -> Iterator[Callable[[], Network]]:
        while len(networks) < MAX_NETWORKS:
            places = [place for place, network in enumerate(networks) if network.finite]
            trained = [networks[place] for place in places]
            probs = np.stack([network.validation for network in trained]) if trained else np.empty((0, 0, 0))
            failed = [network.sample for network in networks if not network.finite]
            new = [network for place, network in enumerate(networks) if place not in parents]
            lost = [*failed, *_used_up(bench, new)]
            ended = {bench.structure.key(sample) for sample in failed}
            may_go_on = [
                position
                for position, place in enumerate(places)
                if goes_on
                and place not in parents.values()
                and bench.structure.key(networks[place].sample) not in ended
                and bench.offers_further(networks[place])
            ]
            if len({bench.structure.key(sample) for sample in lost}) == n_architectures and not may_go_on:
                return
            told = [places.index(parents[place]) if place in parents else None for place in places]
            left = _left(networks, members, budget)
            proposal = rule.propose(_samples(trained), probs, left, failed=lost, parents=told, further=may_go_on)
            parent = None if proposal.parent is None else places[proposal.parent]
            train = training(proposal, parent)
            if train is None:
                return
            yield train
            if parent is not None:
                parents[len(networks)] = parent
            networks.append(train())

    return train_until_spent(members, budget, trainings())


def _left(networks: list[Network], members: int, budget: float) -> int:
    """How many more networks the budget is expected to pay for, if they cost what those so far have cost."""
    spent = sum(network.cost for network in networks)
    paid = int(min(budget / (spent / len(networks)), MAX_NETWORKS)) if spent else members
    return max(paid, members) - len(networks)


def _used_up(bench: Bench, networks: list[Network]) -> list[Sample]:
    """Architectures that were trained from new weights and of which the bench has no more networks."""
    counts: Counter[object] = Counter()
    samples: dict[object, Sample] = {}
    for network in networks:
        key = bench.structure.key(network.sample)
        counts[key] += 1
        samples[key] = network.sample
    return [sample for key, sample in samples.items() if not bench.offers(sample, counts[key])]


def _samples(networks: list[Network]) -> list[Sample]:
    return [network.sample for network in networks]
