"""Adaptive training: decide after each trained network which architecture to train next.

`nni_hypens.proposals.outlook` says what the validation predictions of the trained networks tell about all
architectures, and `nni_hypens.proposals.planning` whether the next training is that of a new architecture, of a new
seed, or goes on with a trained network (`nni_hypens.proposals.further`). The new architecture is that with the lowest
expected effective NLL, less `CURIOSITY` times its standard deviation.

This is ours, not the papers'. It is Bayesian optimisation of the validation NLL of an ensemble with a known number of
trainings, where NES (Zaidi et al. 2021) evolves a population by the NLL of single networks.

Sizes: `T` trained networks, `N` examples, `C` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from copy import copy
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nni_hypens import metrics
from nni_hypens.ensemble.calibration import own_temperatures, temper_members
from nni_hypens.metrics.inputs import FloatArray
from nni_hypens.proposals.features import architecture_features, log_sizes, standardised
from nni_hypens.proposals.outlook import Outlook, outlook, pair_gains
from nni_hypens.proposals.planning import Plays, spread_over
from nni_hypens.proposals.pool import draw_pool
from nni_hypens.search.sampler import ArchitectureSampler
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.cost import NetworkSize
from nni_hypens.space.draws import neighbours, random_architectures
from nni_hypens.space.flow import flow_of
from nni_hypens.utils.seeds import Purpose, derive_seed

PARENTS = 2
"""Best architectures so far, each network alone, whose one-choice changes may be trained next."""
RANDOM_OPTIONS = 200
"""Architectures drawn from the whole space, so that what the search has missed can be found."""
MEASURED = 40
"""Architectures whose traits are measured; those of the others follow from edges and operations."""
MOST_MEMBERS = 5
"""Most members of the ensembles in the plans. Beyond it one more member gains little."""
HORIZON = 40
"""Most trainings that a plan looks ahead, because planning takes time with its square."""
CURIOSITY = 0.5
"""How many standard deviations of what is not known count as a lower NLL when a new architecture is chosen."""


@dataclass(frozen=True)
class Proposal:
    """What to train next.

    Args:
        sample: The architecture.
        replica: How many networks of it with new weights there are already; part of the seed.
        source: `start`, `pool`, `random`, `neighbour` (of a good architecture), `replica` or `further`.
        gain: How much lower the ensemble's validation NLL is expected to be at the end of the plan than it is now; None
            while too little is known to expect anything.
        parent: Position of the trained network that is trained further; None for a network with new weights.
    """

    sample: Sample
    replica: int
    source: str
    gain: float | None = None
    parent: int | None = None


class AdaptiveTraining:
    """Proposes one training after another. The same results in the same order give the same proposals.

    Args:
        structure: Edges of the space.
        start: Architectures to train first, whatever their results; two or more.
        pool: More architectures to choose from, for example draws of the hypernetwork.
        labels: `N` labels of the validation examples.
        members: Members of the ensemble; plans use at most `MOST_MEMBERS`.
        seed: Seed of the architectures that are drawn from the whole space, and of the plans.
        accepts: Whether an architecture may be trained (a budget); None for all. Called for few architectures.
        traits: Numbers above 0 that are known about an architecture before it is trained and grow with its network, for
            example parameters and FLOPs (`nni_hypens.space.cost.NetworkSize`). Called for few.
        flow: Synaptic flow of an architecture's untrained network (`nni_hypens.space.flow.SynapticFlow`). Called for
            the same few; what is not finite is not used.
        closed: Whether `start` and `pool` hold all that can be trained: nothing is drawn from the space, and nothing is
            changed by one choice.
    """

    def __init__(
        self,
        structure: EdgeStructure,
        start: Sequence[Sample],
        pool: Sequence[Sample],
        labels: NDArray[Any],
        members: int,
        seed: int = 0,
        accepts: Callable[[Sample], bool] | None = None,
        traits: Callable[[Sample], Sequence[float]] | None = None,
        closed: bool = False,
        flow: Callable[[Sample], float] | None = None,
    ) -> None:
        self.structure, self.labels, self.accepts = structure, labels, accepts
        self.members, self.seed = min(members, MOST_MEMBERS), seed
        self.traits, self.closed = traits, closed
        self.options: list[Sample] = []
        self.sources: list[str] = []
        self._index_of: dict[object, int] = {}
        self._accepted_by_key: dict[object, bool] = {}
        self._calibrated: dict[int, tuple[FloatArray, float]] = {}
        self._paired: tuple[list[int], FloatArray] = [], np.zeros((0, 0))
        self._add(start, "start")
        self.n_start = len(self.options)
        self._add(pool, "pool")
        if not closed:
            options_seed = derive_seed(seed, Purpose.ADAPTIVE_OPTIONS)
            self._add(random_architectures(structure, RANDOM_OPTIONS, options_seed), "random")
        self._n_fixed = len(self.options)
        measured = np.linspace(0, len(self.options) - 1, min(MEASURED, len(self.options))).round().astype(int)
        self._traits = {} if traits is None else {index: traits(self.options[index]) for index in measured.tolist()}
        self._flows = {} if flow is None else {index: flow(self.options[index]) for index in measured.tolist()}

    def propose(
        self,
        trained: Sequence[Sample],
        probs: NDArray[Any],
        left: int,
        pending: Sequence[Sample] = (),
        failed: Sequence[Sample] = (),
        parents: Sequence[int | None] | None = None,
        further: Sequence[int] = (),
    ) -> Proposal:
        """Return the next training.

        Args:
            trained: Architectures of the `T` trained networks.
            probs: `T x N x C`, their validation probabilities.
            left: Trainings that are left, this one included, those in training not.
            pending: Architectures in training, one for each network. None of them is proposed again before its result
                is known, unless nothing else may be trained.
            failed: Architectures of networks that failed, one for each; none of them is proposed again.
            parents: Of each trained network, and then of each in training, the position of the trained one that it goes
                on from, and None for one with new weights; None if all have new weights.
            further: Positions of trained networks that may be trained further; those whose architecture is in training
                wait.

        Raises:
            RuntimeError: No architecture is left that may be trained.
        """
        self._drop_earlier_neighbours()
        self._add([*trained, *pending, *failed], "start")
        owner, waiting, lost = (self._indices(samples) for samples in (trained, pending, failed))
        begun = {*owner, *waiting, *lost}
        for index in range(self.n_start):
            if index not in begun:
                return Proposal(self.options[index], 0, "start")
        if len(owner) < 2:  # so much has failed that there is nothing to learn from
            untried = list(islice(self._untried(range(len(self.options)), begun), 1))
            return self._without_plan(untried, owner, owner, waiting, lost)
        parents = [None] * (len(owner) + len(waiting)) if parents is None else parents
        begins = [parent is None for parent in parents]
        new_weights = begins[: len(owner)]
        owner_new = [index for index, one in zip(owner, new_weights, strict=True) if one]
        further = [position for position in further if owner[position] not in waiting]
        keys = [hash(np.ascontiguousarray(p).tobytes()) for p in probs]
        calibrated, nll, temperatures = self._alone(probs, keys)
        for parent in [] if self.closed else _by_mean(owner_new, nll[new_weights])[:PARENTS]:
            self._add(neighbours(self.structure, self.options[parent]), "neighbour")
        gains = self._gains(calibrated, keys)
        found = self._outlook(owner, calibrated, nll, temperatures, gains, parents[: len(owner)])
        promise = found.mean - CURIOSITY * found.std
        left = min(max(left, 1), HORIZON)
        new = list(islice(self._untried(np.argsort(promise, kind="stable").tolist(), begun), left))
        best = [index for index in np.argsort(found.mean, kind="stable").tolist() if index in owner]
        seeds = [index for index in best if index not in lost and index not in waiting]
        if not seeds and not further:
            return self._without_plan(new, best, owner_new, waiting, lost)
        generator = np.random.default_rng(derive_seed(self.seed, Purpose.PLANS, len(owner), len(waiting)))
        plays = Plays(found, owner, waiting, new, seeds, self.members, generator, parents, further)
        plan = plays.best_plan(left)
        gain = plays.now() - plan.nll
        if plan.further and not (plan.new and not all(begins)):  # what going on gives is better known early
            parent = plays.further[0]
            index = owner[parent]
            return Proposal(self.options[index], owner_new.count(index), "further", gain, parent)
        if plan.new:
            return Proposal(self.options[new[0]], 0, self.sources[new[0]], gain)
        index = spread_over(owner_new, seeds, plan.best)
        return Proposal(self.options[index], owner_new.count(index), "replica", gain)

    def _untried(self, indices: Iterable[int], begun: Set[int]) -> Iterator[int]:
        """Those of these architectures that have no network, but may have one."""
        return (index for index in indices if index not in begun and self._accepted(index))

    def _without_plan(
        self, new: list[int], best: list[int], owner: list[int], waiting: list[int], lost: list[int]
    ) -> Proposal:
        """The first new architecture; if there is none, another seed of the first trained one that has not failed."""
        if new:
            return Proposal(self.options[new[0]], 0, self.sources[new[0]])
        index = next((index for index in best if index not in lost), None)
        if index is None:
            raise RuntimeError("no architecture is left that may be trained")
        return Proposal(self.options[index], owner.count(index) + waiting.count(index), "replica")

    def _add(self, samples: Iterable[Sample], source: str) -> None:
        for sample in samples:
            key = self.structure.key(sample)
            if key not in self._index_of:
                self._index_of[key] = len(self.options)
                self.options.append(sample)
                self.sources.append(source)

    def _drop_earlier_neighbours(self) -> None:
        """Drop the options that earlier proposals added, so that a resumed run, which lacks them, proposes the same."""
        for sample in self.options[self._n_fixed :]:
            del self._index_of[self.structure.key(sample)]
        del self.options[self._n_fixed :], self.sources[self._n_fixed :]

    def _indices(self, samples: Sequence[Sample]) -> list[int]:
        return [self._index_of[self.structure.key(sample)] for sample in samples]

    def _alone(self, probs: NDArray[Any], keys: Sequence[int]) -> tuple[FloatArray, FloatArray, list[float]]:
        """Probabilities of networks with the temperature of each, their NLL, and the temperatures."""
        found = []
        for p, key in zip(probs, keys, strict=True):
            if key not in self._calibrated:  # a network is looked at before every later proposal
                own = own_temperatures(p[None], self.labels)
                self._calibrated[key] = temper_members(p[None], own)[0], own[0]
            found.append(self._calibrated[key])
        calibrated = np.stack([p for p, _ in found])
        return calibrated, metrics.nll_of_each(calibrated, self.labels), [temperature for _, temperature in found]

    def _gains(self, probs: FloatArray, keys: list[int]) -> FloatArray:
        """Gains of pairs; only those of new networks are measured, where the others are the same as before."""
        before, known = self._paired
        same = keys[: len(before)] == before
        self._paired = keys, pair_gains(probs, known if same else None)
        return self._paired[1]

    def _outlook(
        self,
        owner: Sequence[int],
        probs: FloatArray,
        nll: FloatArray,
        temperatures: Sequence[float],
        gains: FloatArray,
        parents: Sequence[int | None],
    ) -> Outlook:
        features, _ = architecture_features(self.structure, self.options)
        size = log_sizes(features, self._traits) if self._traits else None
        flow = standardised(features, self._flows)
        return outlook(features, size, owner, probs, nll, temperatures, gains, flow, self.members, parents)

    def _accepted(self, index: int) -> bool:
        if self.accepts is None:
            return True
        key = self.structure.key(self.options[index])
        if key not in self._accepted_by_key:  # a budget takes a tenth of a second for each
            self._accepted_by_key[key] = self.accepts(self.options[index])
        return self._accepted_by_key[key]


def _by_mean(owner: Sequence[int], nll: FloatArray) -> list[int]:
    """Trained architectures, the lowest mean NLL first."""
    owners = np.asarray(owner)
    means = {index: nll[owners == index].mean() for index in set(owner)}
    return sorted(means, key=lambda index: (means[index], index))


def begin_adaptive_training(
    sampler: ArchitectureSampler,
    start: Sequence[Sample],
    labels: NDArray[Any],
    size: NetworkSize,
    ranking: str,
    candidates: int,
    members: int,
    lam_range: tuple[float, float] | None,
    seed: int,
    accepts: Callable[[Sample], bool] | None = None,
) -> AdaptiveTraining:
    """Begin adaptive training after a search: with `start`, and a pool for all candidates to choose from.

    Args:
        sampler: Draws from the hypernetwork. Its own budget is not used: `accepts` is called for proposals only, which
            takes less time than for the whole pool.
        start: Architectures to train first, chosen by `nni_hypens.proposals.ranking.rank_pool`.
        labels: `N` labels of the validation images.
        size: Measures networks.
        ranking: As for `nni_hypens.proposals.pool.draw_pool`.
        candidates: How many candidates a run trains in all; sets the size of the pool.
        members: Members of the ensemble.
        lam_range: As for `draw_pool`.
        seed: Seed of the run.
        accepts: As for `AdaptiveTraining`.
    """
    unlimited = copy(sampler)
    unlimited.accepts = None
    pool = draw_pool(unlimited, size, ranking, candidates, lam_range, seed)
    options = [candidate.architecture for candidate in pool]
    flow = flow_of(size)
    return AdaptiveTraining(sampler.structure, start, options, labels, members, seed, accepts, traits=size, flow=flow)
