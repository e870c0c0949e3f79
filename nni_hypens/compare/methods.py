"""Methods that are compared, each a recipe over the same parts: search, train, choose.

A recipe gets a workbench, the members wanted and a budget in seconds of computing, and gives the networks it has
trained in the order in which it trained them. Where its members are chosen, they are the best choice by validation NLL,
but for NES-RS and NES-RE, to which ForwardSelect belongs; and every ensemble is calibrated in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nni_hypens import metrics
from nni_hypens.compare.bench import MANY, Clock, Method, Network, Next, Recipe, Trained, Workbench, fill, replicas
from nni_hypens.compare.searches import HypernetworkSearch, fixed_lam_search, hypernetwork_search, nni_search
from nni_hypens.errors import InputError
from nni_hypens.proposals.adaptive import LEARNT, AdaptiveTraining
from nni_hypens.proposals.ranking import LOOKED_AT, choose_pool, choose_promising, promising_pool
from nni_hypens.run.candidate import OVERSAMPLE
from nni_hypens.search.jensen_shannon import JensenShannon
from nni_hypens.selection.dispatch import select
from nni_hypens.space.architecture import Sample
from nni_hypens.space.cost import NetworkSize
from nni_hypens.space.draws import diverse_start, neighbours, random_architectures
from nni_hypens.utils.seeds import Purpose, derive_seed

DEVIATION = 2
"""Edges in which random deviations differ from the base."""

DRAWN = 60
"""Random architectures among which adaptive training without a search takes the largest for its start."""


def random_samples(bench: Workbench, n: int) -> list[Sample]:
    """Up to ``n`` random architectures. All random baselines begin with the same ones, so that they share networks."""
    return random_architectures(bench.structure, n, derive_seed(bench.seed, Purpose.RANDOM_BASELINES))


def candidates_seed(bench: Workbench) -> int:
    """Seed of the candidates of EdgeNES, the same as in a run."""
    return derive_seed(bench.seed, Purpose.CANDIDATES, 0)


# ---- one architecture ---------------------------------------------------------------------------------------------


def single(strategy: str) -> Recipe:
    """One network of the architecture that a strategy of NNI finds."""

    def recipe(bench: Workbench, members: int, budget: float) -> Trained:
        sample, seconds = nni_search(bench, strategy)
        return Trained([bench.network(sample)], seconds, choose=False)

    return recipe


def random_single(bench: Workbench, members: int, budget: float) -> Trained:
    """One network of a random architecture."""
    return Trained([bench.network(random_samples(bench, 1)[0])], choose=False)


def deep_ensemble(strategy: str) -> Recipe:
    """Several seeds of the architecture that a strategy of NNI finds (Lakshminarayanan et al. 2017)."""

    def recipe(bench: Workbench, members: int, budget: float) -> Trained:
        sample, seconds = nni_search(bench, strategy)
        return Trained([bench.network(sample, replica) for replica in range(members)], seconds, choose=False)

    return recipe


def search_ensemble_of(strategy: str) -> Recipe:
    """Several searches, one network of each choice."""

    def recipe(bench: Workbench, members: int, budget: float) -> Trained:
        found = [nni_search(bench, strategy, index) for index in range(members)]
        networks = _one_of_each(bench, [sample for sample, _ in found])
        return Trained(networks, sum(seconds for _, seconds in found), choose=False)

    return recipe


def _one_of_each(bench: Workbench, samples: list[Sample]) -> list[Network]:
    networks: list[Network] = []
    for sample in samples:
        key = bench.structure.key(sample)
        twins = sum(bench.structure.key(other.sample) == key for other in networks)
        networks.append(bench.network(sample, twins))  # the same choice twice still makes two networks
    return networks


def random_deep_ensemble(bench: Workbench, members: int, budget: float) -> Trained:
    """Half of the budget on random architectures, the rest on new seeds of the best of them."""
    pool = fill(bench, 1, budget / 2, ((sample, 0) for sample in random_samples(bench, MANY)))
    best = min(pool, key=lambda network: network.nll)
    rest = budget - sum(network.cost for network in pool)
    return Trained([*pool, *fill(bench, members - 1, rest, replicas(best.sample, 1))])


# ---- pools of different architectures -----------------------------------------------------------------------------


def random_deviations(bench: Workbench, members: int, budget: float) -> Trained:
    """The base of EdgeNES and random architectures that differ from it in two edges (RandomD-NES of the papers)."""
    search = hypernetwork_search(bench)
    generator = np.random.default_rng(derive_seed(bench.seed, Purpose.RANDOM_DEVIATIONS))
    base, structure = search.sampler.base, bench.structure
    wanted = max(structure.n_edges - DEVIATION, 0)

    def deviations() -> Iterator[Next]:
        seen = {structure.key(base)}
        yield base, 0
        for _ in range(100 * MANY):
            sample = base
            while structure.shared_edges(base, sample) > wanted:
                near = neighbours(structure, sample)
                sample = near[int(generator.integers(len(near)))]
            if structure.shared_edges(base, sample) == wanted and structure.key(sample) not in seen:
                seen.add(structure.key(sample))
                yield sample, 0

    seconds = search.clock.seconds
    networks = fill(bench, members, budget - seconds, deviations())
    return Trained(networks, seconds, supernet=search.name)


# ---- EdgeNES ------------------------------------------------------------------------------------------------------


def edgenes(name: str, **changes: Any) -> Recipe:
    """The papers' EdgeNES: base and hypernetwork candidates, ranked on the supernet, as many as the budget pays for."""

    def recipe(bench: Workbench, members: int, budget: float) -> Trained:
        search = hypernetwork_search(bench, name, **changes)
        first = bench.network(search.sampler.base)
        wanted = max(members, int((budget - search.clock.seconds) / first.cost))
        ranked = _ranked(bench, search, wanted)
        seconds = search.clock.seconds
        rest = [place for place, sample in enumerate(ranked.everything) if sample not in ranked.samples]
        rest.sort(key=lambda place: ranked.nll[place])  # where networks turn out cheaper than the base
        order = [*ranked.samples, *(ranked.everything[place] for place in rest)]
        networks = fill(bench, members, budget - seconds, ((sample, 0) for sample in order))
        return Trained(networks, seconds, supernet=search.name)

    return recipe


@dataclass
class _Ranked:
    """Candidates in the order of training, all that were looked at, and their supernet NLL."""

    samples: list[Sample]
    everything: list[Sample]
    nll: list[float]


def _ranked(bench: Workbench, search: HypernetworkSearch, wanted: int) -> _Ranked:
    pool = search.sampler.pool(OVERSAMPLE * wanted, search.plan.lam_range, candidates_seed(bench), at_least=1)
    everything = [candidate.architecture for candidate in pool]
    probs, labels = search.predict(everything), bench.validation_labels
    nll = metrics.nll_of_each(probs, labels)
    chosen = choose_pool(pool, probs, labels, min(wanted, len(pool)))
    return _Ranked([everything[index] for index in chosen], everything, nll.tolist())


def adaptive_edgenes(start: int = 3, name: str = "edgenes", traits: bool = True, **changes: Any) -> Recipe:
    """EdgeNES with adaptive training: ``start`` promising architectures, new seeds of the best of them until there are
    :data:`nni_hypens.proposals.adaptive.LEARNT` networks, then whatever is expected to help the ensemble most."""

    def recipe(bench: Workbench, members: int, budget: float) -> Trained:
        search = hypernetwork_search(bench, name, **changes)
        clock, size = Clock(), _size(bench)
        with bench.charged("large", clock):
            pool = promising_pool(search.sampler, size, LOOKED_AT, search.plan.lam_range, candidates_seed(bench))
            samples = [candidate.architecture for candidate in pool]
            volumes = [size.volume(sample) for sample in samples]
        nll = metrics.nll_of_each(search.predict(samples), bench.validation_labels)
        first = [samples[place] for place in choose_promising(nll, volumes, start)]
        clock.seconds += search.clock.seconds
        networks = _adaptively(bench, members, budget, first, samples, clock, size if traits else None)
        return Trained(networks, clock.seconds, supernet=search.name)

    return recipe


def adaptive_random(large: int = 2, random: int = 3, traits: bool = True) -> Recipe:
    """Adaptive training alone, begun with random architectures and without any search."""

    def recipe(bench: Workbench, members: int, budget: float) -> Trained:
        clock, size = Clock(), _size(bench)
        with bench.charged(f"start-{large}-{random}", clock):
            first = diverse_start(random_samples(bench, DRAWN), size, large, random)
        networks = _adaptively(bench, members, budget, first, [], clock, size if traits else None, learnt=0)
        return Trained(networks, clock.seconds)

    return recipe


def _size(bench: Workbench) -> NetworkSize:
    return NetworkSize(bench.plan.space, bench.plan.image_shape)


def _adaptively(
    bench: Workbench,
    members: int,
    budget: float,
    start: list[Sample],
    pool: list[Sample],
    clock: Clock,
    traits: NetworkSize | None,
    learnt: int = LEARNT,
) -> list[Network]:
    """What adaptive training trains; ``clock`` has the seconds that are spent already, and gets those that it takes to
    set up the rule."""
    work, labels = "options" if traits is None else "sizes", bench.validation_labels
    with bench.charged(f"{work}-{len(start)}-{len(pool)}", clock):
        rule = AdaptiveTraining(bench.structure, start, pool, labels, members, bench.seed, traits=traits, learnt=learnt)
    budget -= clock.seconds
    networks: list[Network] = []

    def proposals() -> Iterator[Next]:
        while len(networks) < MANY:
            known = [network for network in networks if network.finite]
            probs = np.stack([network.validation for network in known]) if known else np.empty((0, 0, 0))
            failed = [network.sample for network in networks if not network.finite]
            proposal = rule.propose([network.sample for network in known], probs, failed=failed)
            yield proposal.sample, proposal.replica
            networks.append(bench.network(proposal.sample, proposal.replica))

    return fill(bench, members, budget, proposals())


def best_architecture_ensemble(bench: Workbench, members: int, budget: float) -> Trained:
    """The hardest baseline: told for nothing which architecture adaptive EdgeNES found best, it spends all that
    adaptive EdgeNES spends on training on new seeds of that one."""
    ours = adaptive_edgenes()(bench, members, budget)
    groups: dict[object, list[Network]] = {}
    for network in ours.networks:
        groups.setdefault(bench.structure.key(network.sample), []).append(network)
    best = min(groups.values(), key=lambda group: float(np.mean([network.nll for network in group])))
    networks = fill(bench, members, budget - ours.search_s, replicas(best[0].sample))
    return Trained(networks, ours.search_s)


def fixed_lam(bench: Workbench, members: int, budget: float) -> Trained:
    """EdgeNES without its hypernetwork: a search of its own for each member, at lam spread over 1..n_edges - 1. Each
    begins with base and supernet of EdgeNES, which is charged as well."""
    search = hypernetwork_search(bench)
    lams = np.linspace(1, max(bench.structure.n_edges - 1, 1), members).round(2)
    found = [fixed_lam_search(bench, search, float(lam)) for lam in lams]
    networks = _one_of_each(bench, [sample for sample, _ in found])
    seconds = search.clock.seconds + sum(seconds for _, seconds in found)
    return Trained(networks, seconds, choose=False, supernet=search.name)


def base_ensemble(bench: Workbench, members: int, budget: float) -> Trained:
    """New seeds of the base of EdgeNES, as many as the budget pays for."""
    search = hypernetwork_search(bench)
    seconds = search.clock.seconds
    return Trained(fill(bench, members, budget - seconds, replicas(search.sampler.base)), seconds)


POPULATION = 10
"""Networks that evolution keeps (Zaidi et al. 2021 keep 50 of 400)."""
FORWARD_SELECT = "greedy"
"""ForwardSelect of Zaidi et al. 2021: step by step, without replacement, the network with which the average has the
lowest validation NLL."""


def random_pool(bench: Workbench, members: int, budget: float) -> Trained:
    """Random architectures (Random-NES of the papers), of which the best choice is taken."""
    samples = random_samples(bench, MANY)
    return Trained(fill(bench, members, budget, ((sample, 0) for sample in samples)))


def random_search(bench: Workbench, members: int, budget: float) -> Trained:
    """NES-RS (Zaidi et al. 2021): random architectures, of which ForwardSelect takes the members."""
    return replace(random_pool(bench, members, budget), selection=FORWARD_SELECT)


def evolution(bench: Workbench, members: int, budget: float) -> Trained:
    """NES-RE (Zaidi et al. 2021, algorithm 1): a population ages; parents are the members that ForwardSelect takes from
    it, and a child differs from its parent in one choice. ForwardSelect then takes the members of the ensemble from all
    that was trained."""
    networks: list[Network] = []
    generator = np.random.default_rng(derive_seed(bench.seed, Purpose.EVOLUTION))

    def children() -> Iterator[Next]:
        for sample in random_samples(bench, POPULATION):
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


METHODS: dict[str, Method] = {
    "adaptive": Method(
        "EdgeNES, adaptive", adaptive_edgenes(), "hypernetwork search, then each training for the ensemble's sake"
    ),
    "edgenes": Method("EdgeNES", edgenes("edgenes"), "hypernetwork candidates, ranked on the supernet"),
    "edgenes_js": Method(
        "EdgeNES, Jensen-Shannon", edgenes("edgenes_js", diversity=JensenShannon()), "the papers' other regulariser"
    ),
    "fixed_lam": Method(
        "EdgeNES, no hypernetwork", fixed_lam, "one search for each member, at a lam of its own", fills=False
    ),
    "adaptive_random": Method(
        "adaptive, no search", adaptive_random(), "adaptive training begun with random architectures"
    ),
    "best_architecture": Method(
        "DeepEns of our best", best_architecture_ensemble, "seeds of the architecture that adaptive EdgeNES found best"
    ),
    "base_ensemble": Method("DeepEns of the base", base_ensemble, "seeds of the base of EdgeNES"),
    "darts": Method("DARTS, single", single("darts"), "one network of NNI's DARTS", fills=False),
    "gumbel_darts": Method(
        "GumbelDARTS, single", single("gumbel_darts"), "one network of NNI's GumbelDARTS", fills=False
    ),
    "enas": Method("ENAS, single", single("enas"), "one network of NNI's ENAS", fills=False),
    "random": Method("random, single", random_single, "one network of a random architecture", fills=False),
    "darts_deep_ensemble": Method(
        "DeepEns of DARTS", deep_ensemble("darts"), "seeds of the architecture of one DARTS run", fills=False
    ),
    "darts_ensemble": Method(
        "DartsEns", search_ensemble_of("darts"), "one network of each of several DARTS runs", fills=False
    ),
    "enas_ensemble": Method(
        "EnasEns", search_ensemble_of("enas"), "one network of each of several ENAS runs", fills=False
    ),
    "random_deep_ensemble": Method(
        "DeepEns of the best random", random_deep_ensemble, "half random architectures, half seeds of the best of them"
    ),
    "random_pool": Method("Random-NES", random_pool, "random architectures"),
    "random_search": Method("NES-RS", random_search, "random architectures with forward selection"),
    "random_deviations": Method("RandomD-NES", random_deviations, "random deviations from the base by two edges"),
    "evolution": Method("NES-RE", evolution, "regularised evolution with forward selection"),
}


def method_of(name: str) -> Method:
    """The method of a name: one of :data:`METHODS`, or one with ``@N``, such as ``adaptive@3``, whose networks are
    trained for N times as many epochs. Where the budget stays there are fewer of them: a search that costs little
    leaves more for training.

    Raises:
        InputError: There is none of that name.
    """
    plain, at, factor = name.partition("@")
    if plain not in METHODS or (at and not (factor.isdecimal() and int(factor) > 1)):
        known = ", ".join(METHODS)
        raise InputError("methods", repr(name), f"some of {known}, each also with @2, @3, ... for times the epochs")
    method = METHODS[plain]
    if not at:
        return method

    def recipe(bench: Workbench, members: int, budget: float) -> Trained:
        return method.recipe(bench.longer(int(factor)), members, budget)

    return replace(method, title=f"{method.title}, {factor}x", recipe=recipe)


def method_order(name: str) -> str:
    """A text by which methods are sorted in tables: as in :data:`METHODS`, each followed by its longer trainings; those
    that this version does not know come last."""
    plain, _, factor = name.partition("@")
    place = list(METHODS).index(plain) if plain in METHODS else len(METHODS)
    return f"{place:03d} {factor:>4} {name}"
