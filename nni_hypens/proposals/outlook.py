"""What the networks of a run say about those that could be trained next: how good, how alike, and how sure that is.

What counts is the effective NLL of a network: its validation NLL, calibrated alone, less what it gains in an ensemble
beyond what others gain. It is taken as `level + a + e`: `a` depends on its architecture, `e` on its seed. Both are
normal. `a` is a Gaussian process over architectures: a part that is each architecture's own, a part that follows from
edges and operations in common, and a part that follows from traits of the untrained network, its size and its synaptic
flow. The spreads and shares are fitted to the run's own networks (empirical Bayes), with priors from pools of networks
that were trained for this (`tests/benchmarks/pool.py`).

Sizes: `P` architectures, `T` trained networks, `N` examples, `C` classes, `F` features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from nni_hypens.metrics.inputs import PROBABILITY_FLOOR, FloatArray, IntArray
from nni_hypens.proposals.further import Change, expected_change, expected_kin_gain, trainings, without_luck

SPREAD, SPREAD_SD = 0.055, 0.5
"""Prior of the standard deviation between architectures, relative to the NLL; the second is of its logarithm."""
RATIO, RATIO_SD = 0.45, 0.5
"""Prior of the standard deviation between seeds, relative to that between architectures."""
SAME, SAME_WEIGHT = 0.87, 3.0
"""Prior of the gain of a pair of seeds, relative to that of different architectures; it counts as so many pairs."""
SLOPE = 0.6
"""How much lower the effective NLL of a network is for each standard deviation of its log size, in standard deviations
between architectures, where capacity is the limit."""
FLOW_SLOPE = 0.2
"""The same for the synaptic flow, but higher: of two networks of one size the one with less flow, the shallower one, is
better, whatever the limit. In the pools it is about 0.1 to 0.9, and 0.4 to 1.0 for the plain NLL; this is near the low
end, because other spaces may differ."""
EXTRA_PAIRS = 2.0
"""What a network gains beyond the average is drawn towards 0 as by so many pairs that gain the average."""
FITS_ALL, FITS_PART = 2.0, 1.1
"""Temperatures of networks. One that has learnt its training images by heart is overconfident, so it needs a high
temperature, and then size tells nothing: in the pool it misleads at 3, and still helps at 1.3. Below the second,
capacity is the limit."""
SHARES = (0.0, 0.3, 0.6)
"""Shares of the variance between architectures that edges and operations may explain, and that size and flow may."""
_SPREADS = np.exp(np.linspace(-1.5, 1.5, 25))
_RATIOS = np.exp(np.linspace(-1.2, 1.2, 7))


@dataclass(frozen=True)
class Outlook:
    """What one more training of each architecture would give.

    Attributes:
        mean: `P` values, expected effective NLL of its networks.
        std: `P` values, standard deviation of that expectation: how little is known about the architecture.
        between_architectures: Standard deviation of the effective NLL between architectures.
        between_seeds: The same between networks of one architecture.
        nll: `T` values, effective NLL of the trained networks.
        gains: `T x T`, what each two trained networks gain by being averaged, less what `nll` has of it already.
        same: Expected gain of two networks of one architecture.
        different: The same of two architectures.
        kin: The same of two networks of one training, see `nni_hypens.proposals.further`.
        change: What it gives to train a network further.
        believed: `T` values, what to believe of the effective NLL of the trained networks when one of them goes on.
    """

    mean: FloatArray
    std: FloatArray
    between_architectures: float
    between_seeds: float
    nll: FloatArray
    gains: FloatArray
    same: float
    different: float
    kin: float
    change: Change
    believed: FloatArray


def outlook(
    features: FloatArray, size: FloatArray | None, owner: Sequence[int], probs: NDArray[np.floating], nll: FloatArray,
    temperatures: Sequence[float], gains: FloatArray | None = None, flow: FloatArray | None = None, members: int = 1,
    parents: Sequence[int | None] | None = None,
) -> Outlook:  # fmt: skip
    """Fit the model to the trained networks.

    Args:
        features: `P x F`, edges and operations, from `nni_hypens.proposals.features.architecture_features`.
        size: `P` values, log size of the networks, of mean 0 and standard deviation 1 over some architectures; None if
            it is not known.
        owner: Architecture (a row) of each trained network, T >= 1.
        probs: `T x N x C` validation probabilities, each network's with its own temperature.
        nll: `T` values, their NLL.
        temperatures: `T` values, their temperatures.
        gains: `T x T`, from `pair_gains`; None to measure them.
        flow: `P` values, synaptic flow of the networks, standardised as `size`; None if it is not known.
        members: Of the ensemble; with one, the effective NLL is the NLL.
        parents: Of each trained network, the position of the one that it goes on from, None for one with new weights;
            None if all have new weights. The forecast for architectures uses those with new weights only.
    """
    everyone_new: list[int | None] = [None] * len(owner)
    parents = everyone_new if parents is None else parents
    owners = np.asarray(owner)
    known_traits = [trait for trait in (size, flow) if trait is not None]
    traits = np.column_stack(known_traits) if known_traits else np.zeros((len(features), 0))
    measured = gains = pair_gains(probs) if gains is None else gains
    if members > 1:
        nll, gains = effective(nll, gains, owners, members)
    began = np.asarray(trainings(parents))
    same, different = expected_gains(gains, owners, began)
    new = began == np.arange(len(owners))
    rows, new_nll = owners[new], nll[new]
    new_temperatures = [temperature for temperature, one in zip(temperatures, new, strict=True) if one]
    prior = _expected(len(features), size, flow, _capacity_is_the_limit(new_temperatures))
    spread, ratio, share, trait_share = _fitted(features, traits, rows, new_nll, prior)
    kernel = _Kernel(features, traits, share, trait_share)
    shape = kernel(rows, rows) + ratio**2 * np.eye(len(rows))
    factor = cho_factor(shape, lower=True)
    ones = np.ones(len(rows))
    weights = cho_solve(factor, ones)
    rest = new_nll - spread * prior[rows]
    level = weights @ rest / weights.sum()
    everyone = np.arange(len(features))
    cross = kernel(rows, everyone)  # T x P
    mean = level + spread * prior + cross.T @ cho_solve(factor, rest - level)
    known = solve_triangular(factor[0], cross, lower=True)
    variance = kernel.diagonal() - (known**2).sum(axis=0) + (1 - weights @ cross) ** 2 / weights.sum()
    std = spread * np.sqrt(np.maximum(variance, 0.0))
    kin, images = expected_kin_gain(gains, parents, same), probs.shape[1]
    change = expected_change(nll, parents, temperatures, measured, images)
    believed = without_luck(nll, parents, measured, images, spread * np.sqrt(1 + ratio**2), change)
    return Outlook(mean, std, float(spread), float(spread * ratio), nll, gains, same, different, kin, change, believed)


def pair_gains(probs: NDArray[np.floating], known: FloatArray | None = None) -> FloatArray:
    """Gain `T x T` of each pair of networks: their mean NLL minus the NLL of the average of their log-probabilities.

    It needs no labels: whatever the true class, it is `-ln sum_c sqrt(p_c q_c)`, the Bhattacharyya distance of the two
    predictions, averaged over the examples (the ambiguity of a logarithmic opinion pool, Heskes 1998).

    Args:
        probs: `T x N x C` probabilities.
        known: `K x K`, the gains of the first `K` networks, which are not measured again; None for none.

    Examples:
        >>> pair_gains(np.array([[[0.9, 0.1]], [[0.5, 0.5]]])).round(3)
        array([[0.   , 0.112],
               [0.112, 0.   ]])
    """
    roots = np.sqrt(np.asarray(probs, dtype=np.float32))
    gains, first = np.zeros((len(roots), len(roots))), 0 if known is None else len(known)
    if known is not None:
        gains[:first, :first] = np.tril(known)
    for index in range(max(first, 1), len(roots)):
        overlap = np.einsum("tnc,nc->tn", roots[:index], roots[index])
        gains[index, :index] = -np.log(np.clip(overlap, PROBABILITY_FLOOR, 1.0)).mean(axis=1)
    symmetric: FloatArray = gains + gains.T
    return symmetric


def effective(nll: FloatArray, gains: FloatArray, owner: IntArray, members: int) -> tuple[FloatArray, FloatArray]:
    """Move into the NLL of each network what it gains beyond others.

    Most of what differs between the gains of pairs is a sum over the two: in the pools 64 to 84% of their variance. A
    network that gains much with any other is worth more in an ensemble than its own NLL says; where data are the limit,
    that is often one with a higher NLL. With `gain(i, j) = mean + x_i + x_j + rest`, and the NLL of an average of n
    networks taken as the mean NLL minus `4 / n^2` times the sum of the gains of its pairs, `x_i` counts `4 (n - 1) / n`
    times as much as `nll_i`.

    Args:
        nll: `T` values.
        gains: `T x T`, from `pair_gains`.
        owner: Architecture of each network; pairs of one architecture are not looked at, because they gain less.
        members: n, 2 or more.

    Returns:
        `nll_i - 4 (n - 1) / n x_i`, and `gains_ij - x_i - x_j`. For n members they give the same NLL as before. The
        `x` are drawn towards 0, see `EXTRA_PAIRS`.
    """
    pairs = np.not_equal.outer(owner, owner)
    if not pairs.any():
        return nll, gains
    rest = np.where(pairs, gains - gains[pairs].mean(), 0.0)
    extra = np.linalg.solve(pairs + np.diag(pairs.sum(axis=1) + EXTRA_PAIRS), rest.sum(axis=1))
    left = gains - np.add.outer(extra, extra)
    np.fill_diagonal(left, 0.0)
    return nll - 4 * (members - 1) / members * extra, left


def expected_gains(gains: FloatArray, owner: IntArray, began: IntArray | None = None) -> tuple[float, float]:
    """Expected gain of a pair of seeds of one architecture, and of a pair of different ones.

    Args:
        gains: `T x T`, from `pair_gains`.
        owner: Architecture of each network.
        began: With which network the training of each began, None if all have new weights; pairs of one training are
            not looked at.
    """
    first, second = np.triu_indices(len(owner), 1)
    if began is not None:
        unlike = began[first] != began[second]
        first, second = first[unlike], second[unlike]
    if not len(first):
        return 0.0, 0.0
    alike, values = owner[first] == owner[second], gains[first, second]
    different = float(values[~alike].mean()) if not alike.all() else float(values.mean()) / SAME
    ratios = values[alike].sum() / different if different else 0.0
    return different * (SAME_WEIGHT * SAME + ratios) / (SAME_WEIGHT + alike.sum()), different


def _capacity_is_the_limit(temperatures: Sequence[float]) -> float:
    """From 0, the networks know their training images by heart, to 1, they learn no more from them."""
    typical = float(np.exp(np.mean(np.log(temperatures))))
    return float(np.clip((FITS_ALL - typical) / (FITS_ALL - FITS_PART), 0.0, 1.0))


def expected_untrained(size: FloatArray, flow: FloatArray | None = None) -> FloatArray:
    """Effective NLL that is expected of architectures while nothing is trained, in standard deviations between them.

    Whether capacity is the limit is not known yet, so half the slope for size is taken.

    Args:
        size, flow: `P` values each, as for `outlook`.
    """
    return _expected(len(size), size, flow, 0.5)


def _expected(count: int, size: FloatArray | None, flow: FloatArray | None, capacity_limits: float) -> FloatArray:
    """What is expected of `count` architectures before they are trained, in standard deviations between them."""
    if size is None:
        return np.zeros(count)
    expected: FloatArray = -SLOPE * capacity_limits * size
    return expected if flow is None else expected + FLOW_SLOPE * flow


class _Kernel:
    """Correlation of architectures: their own part, edges and operations, and traits."""

    def __init__(self, features: FloatArray, traits: FloatArray, share: float, trait_share: float) -> None:
        self.features, self.traits = features, traits
        self.scale = float((features**2).sum(axis=1).mean()) or 1.0
        self.share, self.trait_share = share, trait_share
        self.each = trait_share / max(traits.shape[1], 1)

    def __call__(self, first: IntArray, second: IntArray) -> FloatArray:
        own = (1 - self.share - self.trait_share) * np.equal.outer(first, second)
        common = self.share / self.scale * (self.features[first] @ self.features[second].T)
        total: FloatArray = own + common + self.each * (self.traits[first] @ self.traits[second].T)
        return total

    def diagonal(self) -> FloatArray:
        """Variance of each architecture."""
        common = self.share / self.scale * (self.features**2).sum(axis=1)
        total: FloatArray = 1 - self.share - self.trait_share + common + self.each * (self.traits**2).sum(axis=1)
        return total


def spreads(owner: IntArray, nll: FloatArray) -> tuple[float, float]:
    """Standard deviations of the NLL between architectures and between seeds, where nothing is known of architectures.

    They are those of `outlook` for one member, without features and size. Networks of one architecture are then alike,
    and no others, so that sums over architectures take the place of a decomposition, whose time grows with the cube of
    the networks.

    Args:
        owner: Architecture of each of `T` trained networks.
        nll: `T` values, their NLL.

    Examples:
        >>> between, seeds = spreads(np.array([0, 0, 1, 1]), np.array([0.5, 0.51, 0.7, 0.71]))
        >>> between > seeds
        True
    """
    _, group = np.unique(owner, return_inverse=True)
    y = nll - nll.mean()  # the level does not matter, and without it less is lost to rounding
    sizes, sums = np.bincount(group), np.bincount(group, weights=y)

    def products(share: float, _: float, ratio: float) -> _Products:
        own, each = 1 - share, ratio**2
        shrunk = own / (each * (each + own * sizes))  # of the inverse of own * ones + each * identity
        one_one = len(nll) / each - (shrunk * sizes**2).sum()
        one_y = y.sum() / each - (shrunk * sizes * sums).sum()
        y_y = y @ y / each - (shrunk * sums**2).sum()
        half = (np.log(each + own * sizes) + (sizes - 1) * np.log(each)).sum() / 2
        return _Products(one_one, y_y - one_y**2 / one_one, 0.0, 0.0, half)

    spread, ratio, _, _ = _posterior(nll, (0.0,), products)
    return spread, spread * ratio


def _fitted(
    features: FloatArray, traits: FloatArray, owner: IntArray, nll: FloatArray, prior: FloatArray
) -> tuple[float, float, float, float]:
    """Spread between architectures, ratio of that between seeds, and shares of features and of traits."""
    count = len(owner)
    ones = np.ones(count)

    def products(share: float, trait_share: float, ratio: float) -> _Products:
        correlation = _Kernel(features, traits, share, trait_share)(owner, owner)
        lower = np.linalg.cholesky(correlation + ratio**2 * np.eye(count))
        one, y, m = solve_triangular(lower, np.column_stack([ones, nll, prior[owner]]), lower=True).T
        y, m = y - one * (one @ y) / (one @ one), m - one * (one @ m) / (one @ one)
        return _Products(one @ one, y @ y, y @ m, m @ m, np.log(np.diag(lower)).sum())

    return _posterior(nll, SHARES if traits.shape[1] else (0.0,), products)


class _Products(NamedTuple):
    """Inner products by the inverse of a correlation of networks, and half the logarithm of its determinant.

    `y` is the NLL and `m` its prior, both without their level; `one` is a vector of ones.
    """

    one_one: float
    y_y: float
    y_m: float
    m_m: float
    half_log_determinant: float


def _posterior(
    nll: FloatArray, trait_shares: Sequence[float], products: Callable[[float, float, float], _Products]
) -> tuple[float, float, float, float]:
    """Means of spread, ratio, and shares over the posterior on a grid, geometric ones of the first two.

    The level is integrated out (flat prior); the spread is a common factor, so each point of the rest of the grid needs
    one decomposition.

    Args:
        nll: `T` values.
        trait_shares: Shares that traits may explain.
        products: From share, share of traits and ratio.
    """
    level, count = max(float(nll.mean()), PROBABILITY_FLOOR), len(nll)  # 0 if all are right and sure of it
    grid = SPREAD * level * _SPREADS
    points, scores = [], []
    for share, trait_share in product(SHARES, trait_shares):
        if share + trait_share > 1:
            continue
        for ratio in RATIO * _RATIOS:
            one_one, y_y, y_m, m_m, half_log_determinant = products(share, trait_share, ratio)
            squares = y_y - 2 * grid * y_m + grid**2 * m_m
            fit = -squares / (2 * grid**2) - (count - 1) * np.log(grid)
            fit -= half_log_determinant + np.log(one_one) / 2
            fit -= (np.log(grid / (SPREAD * level)) / SPREAD_SD) ** 2 / 2
            scores.append(fit - (np.log(ratio / RATIO) / RATIO_SD) ** 2 / 2)
            points.append((np.log(ratio), share, trait_share))
    table = np.array(scores)
    weights = np.exp(table - table.max())
    weights /= weights.sum()
    log_ratio, share, trait_share = weights.sum(axis=1) @ np.array(points)
    spread = float(np.exp(weights.sum(axis=0) @ np.log(grid)))
    return spread, float(np.exp(log_ratio)), float(share), float(trait_share)
