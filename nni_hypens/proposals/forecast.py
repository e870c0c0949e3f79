"""Forecast the NLL of a network before it is trained, and of the ensemble with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.linear_model import BayesianRidge, Ridge

from nni_hypens.metrics.inputs import PROBABILITY_FLOOR, FloatArray
from nni_hypens.selection.dispatch import select
from nni_hypens.space.architecture import EdgeStructure, Sample

QUANTILES = norm.ppf((np.arange(16) + 0.5) / 16)
"""Equally likely quantiles of the standard normal: the expectation over results of a training is their average."""
SMALL = 1e-12
"""Least positive divisor and argument of a logarithm."""


@dataclass(frozen=True)
class Forecast:
    """What one more training of each architecture is expected to give.

    Args:
        gain: `P` values, expected decrease of the ensemble's validation NLL.
        mean: `P` values, expected validation NLL of a network.
        std: `P` values, its standard deviation, including that between seeds.
    """

    gain: FloatArray
    mean: FloatArray
    std: FloatArray


def architecture_features(structure: EdgeStructure, samples: Sequence[Sample]) -> tuple[FloatArray, FloatArray]:
    """Describe architectures by vectors, and say which share of edges each two have in common.

    The inner product of two vectors is half the share of common edges plus half the share of common operations at any
    place: an operation that is good in one place is likely to be good in another.

    Returns:
        `P x F` features and `P x P` shares, 0..1.
    """
    edges = [_as_set(structure.edges(sample)) for sample in samples]
    operations = [_as_set(edge[2] for edge in structure.edges(sample)) for sample in samples]
    edge_rows, operation_rows = _indicator(edges), _indicator(operations)
    scale = structure.n_edges
    features = np.column_stack([edge_rows, operation_rows]) / np.sqrt(2 * scale)
    return features, edge_rows @ edge_rows.T / scale


def trait_features(features: FloatArray, measured: Mapping[int, Sequence[float]]) -> FloatArray:
    """Extend traits that were measured for some architectures to all, as columns next to the features.

    The inner product of the columns counts as much as all edges and operations together. The size of a network is
    nearly a sum over its operations, so a ridge on the features predicts it for architectures that were not measured.

    Args:
        features: `P x F`, from `architecture_features`.
        measured: Row -> its `K` traits, numbers above 0.

    Returns:
        `P x K` logarithms, standardised by those that were measured, divided by the square root of K.
    """
    rows, values = list(measured), np.asarray(list(measured.values()), dtype=float)
    predicted = Ridge(alpha=1e-3).fit(features[rows], values).predict(features).reshape(len(features), -1)
    logs = np.log(np.clip(predicted, values.min(axis=0), 2 * values.max(axis=0)))
    measured_logs = np.log(values)  # they alone set the scale, so that it does not depend on the other options
    mean, std = measured_logs.mean(axis=0), np.maximum(measured_logs.std(axis=0), SMALL)
    columns: FloatArray = (logs - mean) / std / np.sqrt(values.shape[1])
    return columns


def _as_set(items: Iterable[object]) -> list[tuple[str, int]]:
    """Turn a multiset into a set: each item with the number of equal items before it."""
    seen: Counter[str] = Counter()
    numbered = []
    for item in map(str, items):
        numbered.append((item, seen[item]))
        seen[item] += 1
    return numbered


def _indicator(sets: Sequence[Sequence[tuple[str, int]]]) -> FloatArray:
    column = {item: index for index, item in enumerate(sorted({item for items in sets for item in items}))}
    rows = np.zeros((len(sets), len(column)))
    for row, items in enumerate(sets):
        rows[row, [column[item] for item in items]] = 1.0
    return rows


def forecast(
    features: FloatArray,
    shared: FloatArray,
    trained: Sequence[int],
    probs: NDArray[Any],
    labels: NDArray[Any],
    members: int,
) -> Forecast:
    """Forecast how much the ensemble gains from one more network of each architecture.

    The ensemble is the greedy choice of `members` trained networks. The new network may replace any member, or is added
    while there are fewer. The NLL of an average is taken as the mean NLL minus 4 / n^2 times the sum of the gains of
    its pairs, where the gain of a pair is its mean NLL minus the NLL of its average. That is exact for squared errors.

    Args:
        features: `P x F`, from `architecture_features`, with columns of `trait_features` if there are any.
        shared: `P x P`, from `architecture_features`.
        trained: Architecture (a row) of each of the `T` networks, T >= 2.
        probs: `T x N x C` validation probabilities.
        labels: `N`.
        members: M, at least 1.
    """
    owner, true = np.asarray(trained), true_class_probabilities(probs, labels)
    nll = mean_nll(true)
    mean, std = predicted_nll(features, owner, nll)
    pairs = pair_gains(true)
    chosen = np.asarray(select("greedy", probs, labels, size=min(members, len(owner))).members)
    new_pairs = _new_pair_gains(shared, owner, nll, pairs, chosen, mean)  # P x M
    now = ensemble_nll(nll[chosen], pairs[np.ix_(chosen, chosen)])
    values = mean[:, None] + std[:, None] * QUANTILES  # P x Q
    everyone = np.arange(len(chosen))
    full = len(chosen) == members
    best = np.full(values.shape, now)
    for kept in [np.delete(everyone, replaced) for replaced in everyone] if full else [everyone]:
        rest = chosen[kept]
        gains = pairs[np.ix_(rest, rest)].sum() / 2 + new_pairs[:, kept].sum(axis=1)
        n = len(rest) + 1
        best = np.minimum(best, (nll[rest].sum() + values) / n - 4 * gains[:, None] / n**2)
    return Forecast((now - best).mean(axis=1), mean, std)


def ensemble_nll(nll: FloatArray, pairs: FloatArray) -> float:
    """Approximate the NLL of an average from those of its `n` networks and the gains `n x n` of their pairs.

    See `forecast`.
    """
    return float(nll.mean() - 2 * pairs.sum() / len(nll) ** 2)


def predicted_nll(features: FloatArray, owner: NDArray[Any], nll: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Predict mean and standard deviation (`P` each) of the validation NLL of one more network of each architecture.

    Bayesian ridge on ln NLL. Both precisions have Gamma(1, 1) priors in units of the observed spread, so a few networks
    cannot make the model certain.

    Args:
        features: `P x F`.
        owner: Architecture (a row) of each of the `T` networks.
        nll: `T` values, their validation NLL.
    """
    target = np.log(np.maximum(nll, SMALL))
    # centred on the trained: before scikit-learn 1.9 the spread of predictions ignored the offset of the intercept
    inputs = features - features[owner].mean(axis=0)
    scale = max(float(target.std()), 0.02)
    model = BayesianRidge(alpha_1=1.0, alpha_2=1.0, lambda_1=1.0, lambda_2=1.0)
    model.fit(inputs[owner], (target - target.mean()) / scale)
    mean, std = model.predict(inputs, return_std=True)
    level = np.exp(mean * scale + target.mean())
    return level, std * scale * level


def true_class_probabilities(probs: NDArray[Any], labels: NDArray[Any]) -> FloatArray:
    """Take the probabilities `T x N` of the labels `N` from `T x N x C`; those below 1e-12 count as 1e-12."""
    true: FloatArray = np.maximum(probs[:, np.arange(len(labels)), labels].astype(float), PROBABILITY_FLOOR)
    return true


def mean_nll(true: FloatArray) -> FloatArray:
    """Compute the NLL of each of `T` networks from their probabilities `T x N` of the true class."""
    nll: FloatArray = -np.log(true).mean(axis=1)
    return nll


def pair_gains(true: FloatArray) -> FloatArray:
    """Gain `T x T` of each pair of networks, from `T x N` probabilities of the true class.

    The gain is the mean NLL of the two minus the NLL of their average.

    Examples:
        >>> pair_gains(np.array([[0.5, 0.5], [0.25, 1.0]])).round(3)
        array([[0.   , 0.059],
               [0.059, 0.   ]])
    """
    nll = mean_nll(true)
    joint = np.stack([-np.log((true + row) / 2).mean(axis=1) for row in true])
    gains: FloatArray = (nll[:, None] + nll) / 2 - joint
    np.fill_diagonal(gains, 0.0)
    return gains


def _new_pair_gains(
    shared: FloatArray, owner: NDArray[Any], nll: FloatArray, pairs: FloatArray, chosen: NDArray[Any], mean: FloatArray
) -> FloatArray:
    """Expected gain `P x M` of the pair of a new network of each architecture with each chosen network."""
    first, second = np.triu_indices(len(owner), 1)

    def inputs(share: FloatArray, nll_a: FloatArray, nll_b: FloatArray) -> FloatArray:
        return np.stack([1 - share, (nll_a + nll_b) / 2, np.abs(nll_a - nll_b)], axis=-1)

    seen = inputs(shared[owner[first], owner[second]], nll[first], nll[second])
    centre, spread = seen.mean(axis=0), np.maximum(seen.std(axis=0), 1e-3)
    model = Ridge(alpha=1.0).fit((seen - centre) / spread, pairs[first, second])
    new = inputs(shared[:, owner[chosen]], mean[:, None], nll[chosen])
    predicted = model.predict(((new - centre) / spread).reshape(-1, seen.shape[1]))
    gains: FloatArray = np.maximum(predicted.reshape(new.shape[:2]), 0.0)
    return gains
