"""Describe architectures by numbers: edges and operations, size and flow of their networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from sklearn.linear_model import Ridge

from nni_hypens.metrics.inputs import FloatArray
from nni_hypens.space.architecture import EdgeStructure, Sample


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


def log_sizes(features: FloatArray, measured: Mapping[int, Sequence[float]]) -> FloatArray:
    """Extend the sizes of some networks to all architectures.

    The size of a network is nearly a sum over its operations, so a ridge on the features predicts it for architectures
    that were not measured.

    Args:
        features: `P x F`, from `architecture_features`.
        measured: Row -> numbers above 0 that grow with the network, such as parameters and FLOPs; at least one row.

    Returns:
        `P` values: mean of the logarithms, each standardised by those that were measured; standardised again.
    """
    rows, values = list(measured), np.asarray(list(measured.values()), dtype=float)
    predicted = Ridge(alpha=1e-3).fit(features[rows], values).predict(features).reshape(len(features), -1)
    predicted[rows] = values
    return mean_log(np.clip(predicted, values.min(axis=0), 2 * values.max(axis=0)), rows)


def mean_log(values: FloatArray, rows: Sequence[int]) -> FloatArray:
    """Size by several measures together: the mean of their logarithms, each scaled, and scaled again.

    Args:
        values: `P x K`, above 0.
        rows: Those that set the scale, so that it does not depend on the others.

    Returns:
        `P` values.
    """
    return scaled(scaled(np.log(values), rows).mean(axis=1), rows)


def scaled(values: FloatArray, rows: Sequence[int]) -> FloatArray:
    """Values, or columns of them, of mean 0 and standard deviation 1 over some rows; zeros where those are equal."""
    found: FloatArray = (values - values[rows].mean(axis=0)) / np.maximum(values[rows].std(axis=0), 1e-12)
    return found


def standardised(features: FloatArray, measured: Mapping[int, float]) -> FloatArray | None:
    """Extend a number that some networks have to all architectures.

    Args:
        features: `P x F`, from `architecture_features`.
        measured: Row -> number, such as the synaptic flow; what is not finite is left out.

    Returns:
        `P` values, of mean 0 and standard deviation 1 over those that were measured; None if fewer than two were.
    """
    finite = {row: value for row, value in measured.items() if np.isfinite(value)}
    if len(finite) < 2:
        return None
    rows, values = list(finite), np.array(list(finite.values()))
    predicted: FloatArray = Ridge(alpha=1e-2).fit(features[rows], values).predict(features)
    predicted[rows] = values
    return scaled(predicted, rows)


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
