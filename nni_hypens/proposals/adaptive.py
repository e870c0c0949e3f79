"""Adaptive training: which architecture to train next, for the ensemble's sake.

After each trained network, validation predictions say how good architectures are and how much two networks gain from
being averaged. Bayesian ridge carries the first to architectures that were not trained, through the edges and the
operations they have in common and the sizes of their networks; a ridge carries the second, by how much two
architectures share. The next training is the one with the largest expected gain of the ensemble: a new architecture
when it promises much or is uncertain, a new seed of a proved one when that promises more.

This is ours, not the papers'. It is Bayesian optimisation (expected improvement: Jones et al. 1998) with the
validation NLL of an ensemble as its target, where NES (Zaidi et al. 2021) evolves a population by the NLL of single
networks. Sizes: P architectures, T trained networks, N examples, C classes, M members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nni_hypens.proposals.forecast import Forecast, _nll, _true_class, architecture_features, forecast, trait_features
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.draws import neighbours, random_architectures
from nni_hypens.utils.seeds import Purpose, derive_seed

PARENTS = 2
"""Best architectures so far whose every one-choice change may be trained next."""
RANDOM_OPTIONS = 200
"""Architectures drawn from the whole space, so that what the search has missed can be found."""
MEASURED = 40
"""Architectures whose traits are measured; those of the others follow from edges and operations."""
LEARNT = 6
"""Networks below which the forecast knows too little of what was not trained: asked with four promising ones, all
alike, it proposed networks far worse than any of them."""
RULE_MEMBERS = 3
"""Ensembles that are looked at have no more members than this: beyond it one more gains little, the aim would be blunt,
and ensembles of several sizes share what was trained."""


@dataclass(frozen=True)
class Proposal:
    """What to train next.

    Args:
        sample: The architecture.
        replica: How many networks of it there are already; part of the seed.
        source: ``start``, ``pool``, ``random``, ``neighbour`` (of a good one) or ``replica``.
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
        start: Architectures to train first, whatever comes out; two or more.
        pool: More architectures to choose among, such as draws of the hypernetwork.
        labels: ``N`` labels of the validation examples.
        members: Members of the ensemble; the rule looks at M of them, at most :data:`RULE_MEMBERS`.
        seed: Seed of the architectures that are drawn from the whole space.
        accepts: Which architectures may be trained (a budget); None for all. It is asked about few.
        traits: Numbers above 0 that are known of an architecture before it is trained, such as parameters and FLOPs
            (:class:`nni_hypens.space.cost.NetworkSize`); the forecast uses their logarithms. They are asked of few.
        learnt: Networks, those in training and those that failed included, below which new seeds of the best
            architecture are trained once the start is.
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
    ) -> None:
        self.structure, self.labels, self.accepts = structure, labels, accepts
        self.members = min(members, RULE_MEMBERS)
        self.traits, self.learnt = traits, learnt
        self.options: list[Sample] = []
        self.sources: list[str] = []
        self._place: dict[object, int] = {}
        self._fits: dict[object, bool] = {}
        self._add(start, "start")
        self.n_start = len(self.options)
        self._add(pool, "pool")
        self._add(
            random_architectures(structure, RANDOM_OPTIONS, derive_seed(seed, Purpose.ADAPTIVE_OPTIONS)), "random"
        )
        self._n_fixed = len(self.options)
        places = np.linspace(0, len(self.options) - 1, min(MEASURED, len(self.options))).round().astype(int)
        self._measured = {} if traits is None else {place: traits(self.options[place]) for place in places.tolist()}

    def _add(self, samples: Iterable[Sample], source: str) -> None:
        for sample in samples:
            key = self.structure.key(sample)
            if key not in self._place:
                self._place[key] = len(self.options)
                self.options.append(sample)
                self.sources.append(source)

    def _forget(self) -> None:
        """Options of earlier proposals go: a run that was interrupted, which has not made them, proposes the same."""
        for sample in self.options[self._n_fixed :]:
            del self._place[self.structure.key(sample)]
        del self.options[self._n_fixed :], self.sources[self._n_fixed :]

    def propose(
        self,
        trained: Sequence[Sample],
        probs: NDArray[Any],
        pending: Sequence[Sample] = (),
        failed: Sequence[Sample] = (),
    ) -> Proposal:
        """The next training.

        Args:
            trained: Architectures of the T networks that are trained.
            probs: ``T x N x C``, their validation probabilities.
            pending: Architectures in training, one for each network; none of them is proposed again before it is
                known, but for new seeds of the best below ``learnt`` networks.
            failed: Architectures of networks that failed, one for each; none of them is proposed again.
        """
        self._forget()
        self._add([*trained, *pending, *failed], "start")
        owner, waiting, lost = (self._places(samples) for samples in (trained, pending, failed))
        begun = {*owner, *waiting, *lost}
        for index in range(self.n_start):
            if index not in begun:
                return Proposal(self.options[index], 0, "start")
        ranked = self._by_nll(owner, probs)
        best = next((one for one in ranked if one not in lost), None)
        if best is not None and len(owner) + len(waiting) + len(lost) < self.learnt:
            return Proposal(self.options[best], owner.count(best) + waiting.count(best), "replica")
        if len(owner) < 2:  # so much has failed that there is nothing to learn from
            rest = (index for index in range(len(self.options)) if index not in begun and self._accepted(index))
            index = next(rest)
            return Proposal(self.options[index], 0, self.sources[index])
        for parent in ranked[:PARENTS]:
            self._add(neighbours(self.structure, self.options[parent]), "neighbour")
        found = self._forecast(owner, probs)
        gain = found.gain.copy()
        gain[[*waiting, *lost]] = -np.inf
        order = np.argsort(-gain, kind="stable").tolist()
        best = next(index for index in order if index in owner or self._accepted(index))
        replica = owner.count(best)
        return Proposal(
            self.options[best], replica, "replica" if replica else self.sources[best], float(found.gain[best])
        )

    def _places(self, samples: Sequence[Sample]) -> list[int]:
        return [self._place[self.structure.key(sample)] for sample in samples]

    def _forecast(self, owner: Sequence[int], probs: NDArray[Any]) -> Forecast:
        features, shared = architecture_features(self.structure, self.options)
        if self._measured:
            features = np.column_stack([features, trait_features(features, self._measured)])
        return forecast(features, shared, owner, probs, self.labels, self.members)

    def _accepted(self, index: int) -> bool:
        if self.accepts is None:
            return True
        key = self.structure.key(self.options[index])
        if key not in self._fits:  # a budget takes a tenth of a second for each
            self._fits[key] = self.accepts(self.options[index])
        return self._fits[key]

    def _by_nll(self, owner: Sequence[int], probs: NDArray[Any]) -> list[int]:
        """Architectures that were trained, the lowest mean validation NLL first."""
        if not owner:
            return []
        nll = _nll(_true_class(probs, self.labels))
        means = {one: nll[[place for place, other in enumerate(owner) if other == one]].mean() for one in set(owner)}
        return sorted(means, key=lambda one: (means[one], one))
