"""What a pair of networks gains by being averaged, and how much architectures and seeds differ (table E)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from nni_hypens.metrics.diversity import pairwise_disagreement
from nni_hypens.proposals.features import architecture_features
from nni_hypens.proposals.outlook import pair_gains
from tests.benchmarks.pool_cells import RESAMPLES, Networks
from tests.benchmarks.pool_forecasts import structure

Statistic = Callable[[np.ndarray], float | None]
"""From how often each architecture counts (a number for each) to a value; None where it cannot be computed."""
POINTS = 600
"""Pairs that the figure shows."""


def pair_mean(values: np.ndarray, wanted: np.ndarray, owner: np.ndarray) -> Statistic:
    """Mean of `K x K` values over the wanted pairs, where each architecture counts as often as it was drawn.

    A pair of different architectures counts as the product, a pair of seeds of one architecture as that one's number.
    """
    first, second = np.nonzero(np.triu(wanted, 1))
    alike, chosen = owner[first] == owner[second], values[first, second]

    def mean(counts: np.ndarray) -> float | None:
        weights = np.where(alike, counts[owner[first]], counts[owner[first]] * counts[owner[second]])
        return float(weights @ chosen / weights.sum()) if weights.sum() else None

    return mean


def with_error(statistic: Statistic, architectures: int, generator: np.random.Generator) -> dict[str, float] | None:
    """A statistic and its standard error by a bootstrap over architectures; None where they cannot be computed."""
    value = statistic(np.ones(architectures, dtype=int))
    if value is None:
        return None
    equal = np.full(architectures, 1 / architectures)
    drawn = [statistic(generator.multinomial(architectures, equal)) for _ in range(RESAMPLES)]
    known = [one for one in drawn if one is not None]
    if len(known) < len(drawn) / 2:  # too few architectures for an error
        return None
    return {"mean": value, "se": float(np.std(known, ddof=1))}


def gain_rows(first: Networks, every: Networks) -> dict[str, Any]:
    """Gains of pairs and spreads of one cell.

    Args:
        first: Networks with replica 0, one of each architecture.
        every: Networks with any replica.

    Returns:
        `same` and `different`, mean gains among the architectures that have further seeds, and their `ratio`; `shared`,
        of pairs of first networks by number of shared edges; `disagreement`, Spearman's correlation of gain and
        disagreement over these pairs; `sums`, see there; `spread`; and `points`, some pairs for the figure.
    """
    generator = every.generator("gains")
    found: dict[str, Any] = same_and_different(every, generator)
    gains = pair_gains(first.tempered_test)
    disagreement = pairwise_disagreement(first.test)
    samples = [first.pool.architectures[number] for number in first.column("architecture")]
    shares = architecture_features(structure(), samples)[1]
    edges = np.rint(shares * structure().n_edges).astype(int)
    owner, count = np.arange(len(first)), len(first)
    found["shared"] = []
    for name, wanted in (("none", edges == 0), ("one", edges == 1), ("two or more", edges >= 2)):
        mean = with_error(pair_mean(gains, wanted, owner), count, generator)
        if mean is not None:
            found["shared"].append({"edges": name, "pairs": int(np.triu(wanted, 1).sum()), **mean})
    upper = np.triu_indices(count, 1)

    def ranked(counts: np.ndarray) -> float | None:
        kept = counts[upper[0]] * counts[upper[1]] > 0  # a pair drawn twice ranks with itself
        return float(spearmanr(gains[upper][kept], disagreement[upper][kept]).statistic)

    found["disagreement"] = with_error(ranked, count, generator)
    found["sums"] = sums(gains, first.final("test"))
    found["spread"] = spread(first, every, generator)
    some = generator.permutation(len(upper[0]))[:POINTS]
    found["points"] = [
        [float(disagreement[i, j]), float(gains[i, j]), int(edges[i, j])]
        for i, j in zip(upper[0][some], upper[1][some], strict=True)
    ]
    return found


def sums(gains: np.ndarray, nll: np.ndarray) -> dict[str, float]:
    """How far the gain of a pair is a sum over the two: `mean + x_i + x_j`, by least squares.

    Returns:
        `share`, how much of the variance between pairs such sums explain, and `nll`, Spearman's correlation of `x` with
        the NLL.
    """
    first, second = np.triu_indices(len(gains), 1)
    values = gains[first, second]
    design = np.zeros((len(values), len(gains)))
    design[np.arange(len(values)), first] = design[np.arange(len(values)), second] = 1.0
    fitted, *_ = np.linalg.lstsq(design, values, rcond=None)
    rest = values - design @ fitted
    return {"share": float(1 - rest.var() / values.var()), "nll": float(spearmanr(fitted, nll).statistic)}


def same_and_different(every: Networks, generator: np.random.Generator) -> dict[str, Any]:
    """Mean gains of pairs of seeds and of pairs of architectures, among those that have several networks."""
    numbers = every.column("architecture")
    values, counts = np.unique(numbers, return_counts=True)
    kept = np.flatnonzero(np.isin(numbers, values[counts > 1]))
    if not len(kept):
        return {"same": None, "different": None, "ratio": None, "architectures": 0}
    gains = pair_gains(every.tempered_test[kept])
    several, owner = np.unique(numbers[kept], return_inverse=True)
    alike = np.equal.outer(owner, owner)
    same, different = pair_mean(gains, alike, owner), pair_mean(gains, ~alike, owner)

    def ratio(drawn: np.ndarray) -> float | None:
        one, other = same(drawn), different(drawn)
        return None if one is None or not other else one / other

    statistics = {"same": same, "different": different, "ratio": ratio}
    return {
        **{name: with_error(one, len(several), generator) for name, one in statistics.items()},
        "architectures": len(several),
    }


def spread(first: Networks, every: Networks, generator: np.random.Generator) -> dict[str, Any]:
    """Standard deviations of the calibrated test NLL between seeds and between architectures.

    That between seeds is of the further seeds alone: architectures were chosen for them by their first network, which
    was lucky more often than not. The variance between first networks less that between seeds is that between
    architectures. Values are None as long as no architecture has two further seeds.
    """
    kept = every.column("replica") > 0
    numbers, nll = every.column("architecture")[kept], every.final("test")[kept]
    total, owners = first.final("test"), first.column("architecture")
    groups = [nll[numbers == number] for number in owners]  # one for each first network, most of them empty
    squares = np.array([((group - group.mean()) ** 2).sum() if len(group) else 0.0 for group in groups])
    freedom = np.array([max(len(group) - 1, 0) for group in groups])

    def networks(counts: np.ndarray) -> float | None:
        return float(np.sqrt(np.cov(total, fweights=counts)))

    def seeds(counts: np.ndarray) -> float | None:
        return float(np.sqrt(counts @ squares / (counts @ freedom))) if counts @ freedom else None

    def architectures(counts: np.ndarray) -> float | None:
        between_seeds = seeds(counts)
        if between_seeds is None:
            return None
        return float(np.sqrt(max(np.cov(total, fweights=counts) - between_seeds**2, 0.0)))

    statistics = {"networks": networks, "seeds": seeds, "architectures": architectures}
    return {name: with_error(one, len(first), generator) for name, one in statistics.items()}
