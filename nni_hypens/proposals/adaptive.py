"""Adaptive training: decide after each trained network which architecture to train next.

Validation predictions of the trained networks say how good their architectures are and how much two networks gain from
being averaged. Bayesian ridge carries the first to architectures that were not trained, through the edges and
operations they have in common and the sizes of their networks. A ridge carries the second, through how much two
architectures share. The next training is the one with the largest expected gain of the ensemble: a new architecture if
it promises much or is uncertain, a new seed of a proven one if that promises more.

This is ours, not the papers'. It is Bayesian optimisation (expected improvement: Jones et al. 1998) of the validation
NLL of an ensemble, where NES (Zaidi et al. 2021) evolves a population by the NLL of single networks.

Sizes: `P` architectures, `T` trained networks, `N` examples, `C` classes, `M` members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nni_hypens.proposals.forecast import (
    Forecast,
    architecture_features,
    forecast,
    mean_nll,
    trait_features,
    true_class_probabilities,
)
from nni_hypens.proposals.pool import draw_pool
from nni_hypens.search.sampler import ArchitectureSampler
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.cost import NetworkSize
from nni_hypens.space.draws import neighbours, random_architectures
from nni_hypens.utils.seeds import Purpose, derive_seed

LEARNT = 6
"""Networks below which the forecast knows too little about untrained architectures: with four promising networks, all
alike, it proposed networks far worse than any of them."""
PARENTS = 2
"""Best architectures so far whose one-choice changes may be trained next."""
RANDOM_OPTIONS = 200
"""Architectures drawn from the whole space, so that what the search has missed can be found."""
MEASURED = 40
"""Architectures whose traits are measured; those of the others follow from edges and operations."""
RULE_MEMBERS = 3
"""Most members of the ensembles in the forecast. Beyond it one more member gains little, so the aim would be blunt; and
ensembles of several sizes can share what was trained."""


@dataclass(frozen=True)
class Proposal:
    """What to train next.

    Args:
        sample: The architecture.
        replica: How many networks of it there are already; part of the seed.
        source: `start`, `pool`, `random`, `neighbour` (of a good architecture) or `replica`.
        gain: Expected decrease of the ensemble's validation NLL; None while too little is known to expect anything.
    """

    sample: Sample
    replica: int
    source: str
    gain: float | None = None


class AdaptiveTraining:
    """Proposes one training after another. The same results in the same order give the same proposals.

    Args:
        structure: Edges of the space.
        start: Architectures to train first, whatever their results; two or more.
        pool: More architectures to choose from, for example draws of the hypernetwork.
        labels: `N` labels of the validation examples.
        members: Members of the ensemble; the forecast uses at most `RULE_MEMBERS`.
        seed: Seed of the architectures that are drawn from the whole space.
        accepts: Whether an architecture may be trained (a budget); None for all. Called for few architectures.
        traits: Numbers above 0 that are known about an architecture before it is trained, for example parameters and
            FLOPs (`nni_hypens.space.cost.NetworkSize`); the forecast uses their logarithms. Called for few.
        learnt: While there are fewer networks than this, those in training and those that failed included, new seeds
            of the best architecture are trained once the start is.
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
        learnt: int = LEARNT,
        closed: bool = False,
    ) -> None:
        self.structure, self.labels, self.accepts = structure, labels, accepts
        self.members = min(members, RULE_MEMBERS)
        self.traits, self.learnt, self.closed = traits, learnt, closed
        self.options: list[Sample] = []
        self.sources: list[str] = []
        self._index_of: dict[object, int] = {}
        self._accepted_by_key: dict[object, bool] = {}
        self._add(start, "start")
        self.n_start = len(self.options)
        self._add(pool, "pool")
        if not closed:
            options_seed = derive_seed(seed, Purpose.ADAPTIVE_OPTIONS)
            self._add(random_architectures(structure, RANDOM_OPTIONS, options_seed), "random")
        self._n_fixed = len(self.options)
        measured = np.linspace(0, len(self.options) - 1, min(MEASURED, len(self.options))).round().astype(int)
        self._traits = {} if traits is None else {index: traits(self.options[index]) for index in measured.tolist()}

    def propose(
        self,
        trained: Sequence[Sample],
        probs: NDArray[Any],
        pending: Sequence[Sample] = (),
        failed: Sequence[Sample] = (),
    ) -> Proposal:
        """Return the next training.

        Args:
            trained: Architectures of the `T` trained networks.
            probs: `T x N x C`, their validation probabilities.
            pending: Architectures in training, one for each network. None of them is proposed again before its result
                is known, except for new seeds of the best below `learnt` networks.
            failed: Architectures of networks that failed, one for each; none of them is proposed again.
        """
        self._drop_earlier_neighbours()
        self._add([*trained, *pending, *failed], "start")
        owner, waiting, lost = (self._indices(samples) for samples in (trained, pending, failed))
        begun = {*owner, *waiting, *lost}
        for index in range(self.n_start):
            if index not in begun:
                return Proposal(self.options[index], 0, "start")
        ranked = self._by_nll(owner, probs)
        best = next((index for index in ranked if index not in lost), None)
        if best is not None and len(owner) + len(waiting) + len(lost) < self.learnt:
            return Proposal(self.options[best], owner.count(best) + waiting.count(best), "replica")
        if len(owner) < 2:  # so much has failed that there is nothing to learn from
            index = next(index for index in range(len(self.options)) if index not in begun and self._accepted(index))
            return Proposal(self.options[index], 0, self.sources[index])
        for parent in [] if self.closed else ranked[:PARENTS]:
            self._add(neighbours(self.structure, self.options[parent]), "neighbour")
        expected = self._forecast(owner, probs)
        gain = expected.gain.copy()
        gain[[*waiting, *lost]] = -np.inf
        order = np.argsort(-gain, kind="stable").tolist()
        best = next(index for index in order if index in owner or self._accepted(index))
        replica = owner.count(best)
        source = "replica" if replica else self.sources[best]
        return Proposal(self.options[best], replica, source, float(expected.gain[best]))

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

    def _forecast(self, owner: Sequence[int], probs: NDArray[Any]) -> Forecast:
        features, shared = architecture_features(self.structure, self.options)
        if self._traits:
            features = np.column_stack([features, trait_features(features, self._traits)])
        return forecast(features, shared, owner, probs, self.labels, self.members)

    def _accepted(self, index: int) -> bool:
        if self.accepts is None:
            return True
        key = self.structure.key(self.options[index])
        if key not in self._accepted_by_key:  # a budget takes a tenth of a second for each
            self._accepted_by_key[key] = self.accepts(self.options[index])
        return self._accepted_by_key[key]

    def _by_nll(self, owner: Sequence[int], probs: NDArray[Any]) -> list[int]:
        """Trained architectures, the lowest mean validation NLL first."""
        if not owner:
            return []
        nll, owners = mean_nll(true_class_probabilities(probs, self.labels)), np.asarray(owner)
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
    return AdaptiveTraining(sampler.structure, start, options, labels, members, seed, accepts, traits=size)
