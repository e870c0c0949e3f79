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

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.linear_model import BayesianRidge, Ridge

from nni_hypens.selection.methods import select
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.draws import neighbours, random_architectures

FloatArray = NDArray[np.float64]
QUANTILES = norm.ppf((np.arange(16) + 0.5) / 16)
"""Of the standard normal, equally likely: the expectation over what a training may give is an average over them."""
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
FLOOR = 1e-12


@dataclass(frozen=True)
class Forecast:
    """What one more training promises, per architecture.

    Args:
        gain: ``P``, expected decrease of the ensemble's validation NLL.
        mean: ``P``, expected validation NLL of a network.
        std: ``P``, its standard deviation, that of seeds included.
    """

    gain: FloatArray
    mean: FloatArray
    std: FloatArray


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
        self._add(random_architectures(structure, RANDOM_OPTIONS, seed), "random")
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


def architecture_features(structure: EdgeStructure, samples: Sequence[Sample]) -> tuple[FloatArray, FloatArray]:
    """Vectors of architectures, and the share of edges that each two have in common.

    The inner product of two vectors is half the share of common edges plus half the share of common operations,
    wherever they stand: an operation that is good at one place is likely to be good at another.

    Returns:
        ``P x F`` features and ``P x P`` shares, 0..1.
    """
    edges = [_as_set(structure.edges(sample)) for sample in samples]
    operations = [_as_set(edge[2] for edge in structure.edges(sample)) for sample in samples]
    edge_rows, operation_rows = _indicator(edges), _indicator(operations)
    scale = structure.n_edges
    features = np.column_stack([edge_rows, operation_rows]) / np.sqrt(2 * scale)
    return features, edge_rows @ edge_rows.T / scale


def trait_features(features: FloatArray, measured: Mapping[int, Sequence[float]]) -> FloatArray:
    """Traits of every architecture as columns whose inner product counts as much as all edges and operations do.

    Sizes of networks are all but sums over their operations, so a ridge on the features carries them from those that
    were measured to all.

    Args:
        features: ``P x F``, see :func:`architecture_features`.
        measured: Row -> its K traits, numbers above 0.

    Returns:
        ``P x K`` logarithms, standardised by those that were measured, divided by the square root of K.
    """
    rows, values = list(measured), np.asarray(list(measured.values()), dtype=float)
    levels = Ridge(alpha=1e-3).fit(features[rows], values).predict(features).reshape(len(features), -1)
    logs = np.log(np.clip(levels, values.min(axis=0), 2 * values.max(axis=0)))
    known = np.log(values)  # the scale is theirs, so that it does not depend on what else is on the table
    columns: FloatArray = (logs - known.mean(axis=0)) / np.maximum(known.std(axis=0), FLOOR) / np.sqrt(values.shape[1])
    return columns


def _as_set(items: Iterable[object]) -> list[tuple[str, int]]:
    """A multiset as a set: each item with how many of its kind came before."""
    seen: Counter[str] = Counter()
    found = []
    for item in map(str, items):
        found.append((item, seen[item]))
        seen[item] += 1
    return found


def _indicator(sets: Sequence[Sequence[tuple[str, int]]]) -> FloatArray:
    place = {name: index for index, name in enumerate(sorted({name for one in sets for name in one}))}
    rows = np.zeros((len(sets), len(place)))
    for row, one in enumerate(sets):
        rows[row, [place[name] for name in one]] = 1.0
    return rows


def forecast(
    features: FloatArray,
    shared: FloatArray,
    trained: Sequence[int],
    probs: NDArray[Any],
    labels: NDArray[Any],
    members: int,
) -> Forecast:
    """Expected gain of the ensemble from one more network, for each architecture.

    The ensemble is the greedy choice of ``members`` trained networks; the new one may take any member's place (or is
    added, while there are fewer). The NLL of an average is taken as the mean NLL minus 4 / n^2 times the sum of the
    gains of its pairs, a pair's gain being its mean NLL minus the NLL of its average: exact for squared errors.

    Args:
        features: ``P x F``, see :func:`architecture_features`.
        shared: ``P x P``, see there.
        trained: Architecture of each of the T networks, T >= 2.
        probs: ``T x N x C`` validation probabilities.
        labels: ``N``.
        members: M, at least 1.
    """
    owner, true = np.asarray(trained), _true_class(probs, labels)
    nll = _nll(true)
    mean, std = predicted_nll(features, owner, nll)
    pairs = pair_gains(true)
    chosen = np.asarray(select("greedy", probs, labels, size=min(members, len(owner))).members)
    new_pairs = _new_pair_gains(shared, owner, nll, pairs, chosen, mean)  # P x M
    now = ensemble_nll(nll[chosen], pairs[np.ix_(chosen, chosen)])
    values = mean[:, None] + std[:, None] * QUANTILES  # P x Q
    places = range(len(chosen)) if len(chosen) == members else [len(chosen)]  # which member goes, or none
    best = np.full(values.shape, now)
    for place in places:
        kept = np.delete(np.arange(len(chosen)), place) if len(chosen) == members else np.arange(len(chosen))
        rest = chosen[kept]
        gains = pairs[np.ix_(rest, rest)].sum() / 2 + new_pairs[:, kept].sum(axis=1)
        n = len(rest) + 1
        best = np.minimum(best, (nll[rest].sum() + values) / n - 4 * gains[:, None] / n**2)
    return Forecast((now - best).mean(axis=1), mean, std)


def ensemble_nll(nll: FloatArray, pairs: FloatArray) -> float:
    """NLL of an average from those of its ``n`` networks and the gains ``n x n`` of their pairs; see
    :func:`forecast`."""
    return float(nll.mean() - 2 * pairs.sum() / len(nll) ** 2)


def predicted_nll(features: FloatArray, owner: NDArray[Any], nll: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation (``P`` each) of the validation NLL of one more network of each architecture.

    Bayesian ridge on ln NLL. Both precisions have Gamma(1, 1) priors in units of the spread that was seen, so a few
    networks cannot make the model certain.
    """
    target = np.log(np.maximum(nll, FLOOR))
    # centred where it is fitted: before scikit-learn 1.9 the spread of predictions forgot the intercept's offset
    inputs = features - features[owner].mean(axis=0)
    scale = max(float(target.std()), 0.02)
    model = BayesianRidge(alpha_1=1.0, alpha_2=1.0, lambda_1=1.0, lambda_2=1.0)
    model.fit(inputs[owner], (target - target.mean()) / scale)
    mean, std = model.predict(inputs, return_std=True)
    level = np.exp(mean * scale + target.mean())
    return level, std * scale * level


def _true_class(probs: NDArray[Any], labels: NDArray[Any]) -> FloatArray:
    true: FloatArray = np.clip(probs[:, np.arange(len(labels)), labels].astype(float), FLOOR, None)
    return true


def _nll(true: FloatArray) -> FloatArray:
    nll: FloatArray = -np.log(true).mean(axis=1)
    return nll


def pair_gains(true: FloatArray) -> FloatArray:
    """``T x T``: mean NLL of two networks minus the NLL of their average, from ``T x N`` true-class probabilities."""
    nll = _nll(true)
    joint = np.stack([-np.log((true + row) / 2).mean(axis=1) for row in true])
    gains: FloatArray = (nll[:, None] + nll) / 2 - joint
    np.fill_diagonal(gains, 0.0)
    return gains


def _new_pair_gains(
    shared: FloatArray, owner: NDArray[Any], nll: FloatArray, pairs: FloatArray, chosen: NDArray[Any], mean: FloatArray
) -> FloatArray:
    """``P x M``: expected gain of the pair of a new network of each architecture and each chosen network."""
    first, second = np.triu_indices(len(owner), 1)

    def inputs(share: FloatArray, one: FloatArray, other: FloatArray) -> FloatArray:
        return np.stack([1 - share, (one + other) / 2, np.abs(one - other)], axis=-1)

    seen = inputs(shared[owner[first], owner[second]], nll[first], nll[second])
    centre, spread = seen.mean(axis=0), np.maximum(seen.std(axis=0), 1e-3)
    model = Ridge(alpha=1.0).fit((seen - centre) / spread, pairs[first, second])
    new = inputs(shared[:, owner[chosen]], mean[:, None], nll[chosen])
    found = model.predict(((new - centre) / spread).reshape(-1, seen.shape[1]))
    gains: FloatArray = np.maximum(found.reshape(new.shape[:2]), 0.0)
    return gains
