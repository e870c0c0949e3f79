"""What training a network further gives: the same schedule again, from the weights that it has.

A learning rate that starts anew is that of Loshchilov and Hutter (2017); the networks at the ends of the schedules can
all be members, as the snapshots of Huang et al. (2017). Where networks are trained too briefly, going on with a good
one lowers the NLL more than a new network does; where they know their training images by heart, it raises it. Which of
the two holds is learnt from the networks of the run that were trained further, and before there are any, from the
temperatures: what is not trained to the end is not sure enough of itself, and needs a temperature below 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nni_hypens.metrics.inputs import PROBABILITY_FLOOR, FloatArray

FADE = 0.4
"""The change by a schedule, as a share of the change by the schedule before it."""
AT_ONE, BELOW_ONE, ABOVE_ONE = -0.04, 0.3, 0.05
"""Expected change of the effective NLL by the second schedule, relative to the NLL, where the temperature of the
networks is 1; and how much it grows with the logarithm of a temperature below 1, and of one above 1."""
LEAST, MOST = -0.2, 0.05
"""The temperature alone never lets expect a change beyond these."""
CHANGE_SD, NETWORK_SD = 0.03, 0.02
"""Standard deviations of the change: of a run's mean about what is expected, and of a network's about that mean."""
KIN, KIN_WEIGHT = 0.4, 3.0
"""Prior of the gain of two networks of one training, relative to two seeds of an architecture; it counts as so many
pairs."""


@dataclass(frozen=True)
class Change:
    """Change of the effective NLL of a network by its second schedule; by the next, `FADE` times as much.

    Attributes:
        mean: Expected change; below 0 it becomes better.
        std: Standard deviation of that expectation.
        noise: Standard deviation between networks.
    """

    mean: float
    std: float
    noise: float


def schedules(parents: Sequence[int | None]) -> list[int]:
    """How many schedules each network has been trained for.

    Args:
        parents: Of each network, the position of the one that it goes on from; None for one with new weights. Those
            come before it.

    Examples:
        >>> schedules([None, 0, None, 1])
        [1, 2, 1, 3]
    """
    found: list[int] = []
    for parent in parents:
        found.append(1 if parent is None else found[parent] + 1)
    return found


def trainings(parents: Sequence[int | None]) -> list[int]:
    """The position of the network with which the training of each network began; arguments as for `schedules`.

    Examples:
        >>> trainings([None, 0, None, 1])
        [0, 0, 2, 0]
    """
    found: list[int] = []
    for position, parent in enumerate(parents):
        found.append(position if parent is None else found[parent])
    return found


def expected_change(
    nll: FloatArray, parents: Sequence[int | None], temperatures: Sequence[float], gains: FloatArray, images: int
) -> Change:
    """What the networks of a run say about training one of them further.

    The changes so far are taken as `FADE ** (schedules - 1)` times the run's mean, and noise: that of each network, and
    that of the validation images, which all share. The mean is normal about what the temperatures let expect.

    Args:
        nll: `T` values, effective NLL.
        parents: `T` positions, as for `schedules`.
        temperatures: `T` values.
        gains: `T x T`, from `nni_hypens.proposals.outlook.pair_gains`.
        images: Validation images.

    Examples:
        >>> expected_change(np.array([0.5, 0.6]), [None, None], [0.6, 0.6], np.zeros((2, 2)), 100).mean < 0
        True
        >>> expected_change(np.array([0.5, 0.6, 0.6]), [None, None, 0], [0.6, 0.6, 1.2], np.zeros((3, 3)), 100).mean > 0
        True
    """
    first = [position for position, parent in enumerate(parents) if parent is None]
    level = max(float(np.mean(nll[first])), PROBABILITY_FLOOR)
    typical = float(np.mean(np.log([temperatures[position] for position in first])))
    mean = float(np.clip(AT_ONE + (BELOW_ONE if typical < 0 else ABOVE_ONE) * typical, LEAST, MOST))
    precision, ages = 1 / CHANGE_SD**2, schedules(parents)
    seen = [(position, parent) for position, parent in enumerate(parents) if parent is not None]
    if seen:
        faded = np.array([FADE ** (ages[parent] - 1) for _, parent in seen])
        changes = np.array([nll[position] - nll[parent] for position, parent in seen]) / level
        of_images = np.mean([image_noise(gains[position, parent], images) for position, parent in seen]) / level**2
        weights = np.linalg.solve(NETWORK_SD**2 * np.eye(len(seen)) + of_images, faded)
        mean, precision = mean * precision + float(weights @ changes), precision + float(weights @ faded)
        mean /= precision
    return Change(mean * level, level / np.sqrt(precision), NETWORK_SD * level)


def image_noise(gain: float, images: int) -> float:
    """Variance of the difference of the NLLs of two networks, because of the choice of the validation images.

    The difference for one image is the logarithm of a ratio of two probabilities. Its variance is eight times the gain
    of the pair, as long as the two are not far from each other.

    Args:
        gain: Of the pair, from `nni_hypens.proposals.outlook.pair_gains`.
        images: Validation images.
    """
    return 8 * gain / images


def without_luck(
    nll: FloatArray,
    parents: Sequence[int | None],
    gains: FloatArray,
    images: int,
    spread: float,
    change: Change,
) -> FloatArray:
    """What to believe of each network, `T` values: its effective NLL, drawn towards what was expected.

    A later self of a network shares the luck that the network had with the validation images, but the test images do
    not. So the lowest of many NLLs is not to be taken as it is when it is decided with which network to go on.

    Args:
        nll, parents, gains, images: As for `expected_change`.
        spread: Standard deviation of the effective NLL of networks with new weights.
        change: From `expected_change`.
    """
    ages = schedules(parents)
    new = np.array([parent is None for parent in parents])
    pairs = gains[np.ix_(new, new)][np.triu_indices(int(new.sum()), 1)]
    of_images = image_noise(float(pairs.mean()), images) / 2 if len(pairs) else 0.0
    trust = float(np.clip(1 - of_images / max(spread**2, 1e-12), 0.0, 1.0))
    level = float(nll[new].mean())
    believed = level + trust * (nll - level)
    for position, parent in enumerate(parents):
        if parent is not None:
            expected = change.mean * FADE ** (ages[parent] - 1)
            total = change.noise**2 + image_noise(gains[position, parent], images)
            trust_change = change.noise**2 / max(total, 1e-12)
            observed = nll[position] - nll[parent]
            believed[position] = believed[parent] + expected + trust_change * (observed - expected)
    return believed


def expected_kin_gain(gains: FloatArray, parents: Sequence[int | None], same: float) -> float:
    """Expected gain of a pair of networks of one training.

    Args:
        gains: `T x T`, as for `nni_hypens.proposals.outlook.Outlook`.
        parents: `T` positions, as for `schedules`.
        same: Expected gain of two seeds of one architecture.
    """
    began = np.array(trainings(parents))
    first, second = np.triu_indices(len(began), 1)
    kin = gains[first, second][began[first] == began[second]]
    ratios = kin.sum() / same if same else 0.0
    return same * (KIN_WEIGHT * KIN + ratios) / (KIN_WEIGHT + len(kin))
