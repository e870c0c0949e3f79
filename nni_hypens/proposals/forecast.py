"""Forecast of the NLL that an untrained network would have, and of the ensemble with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.linear_model import BayesianRidge, Ridge

from nni_hypens.selection.dispatch import select
from nni_hypens.space.architecture import EdgeStructure, Sample

FloatArray = NDArray[np.float64]
QUANTILES = norm.ppf((np.arange(16) + 0.5) / 16)
"""Of the standard normal, equally likely: the expectation over what a training may give is an average over them."""
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
