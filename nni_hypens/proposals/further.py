"""What it gives to train a network further: the same schedule again, from the weights that it has.

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
"""What the temperature can let expect at most."""
CHANGE_SD, NETWORK_SD = 0.03, 0.015
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


def expected_change(nll: FloatArray, parents: Sequence[int | None], temperatures: Sequence[float]) -> Change:
    """What the networks of a run say about training one of them further.

    The changes so far are taken as `FADE ** (schedules - 1)` times the run's mean, and noise; the mean is normal about
    what the temperatures let expect.

    Args:
        nll: `T` values, effective NLL.
        parents: `T` positions, as for `schedules`.
        temperatures: `T` values.

    Examples:
        >>> expected_change(np.array([0.5, 0.6]), [None, None], [0.6, 0.6]).mean < 0
        True
        >>> expected_change(np.array([0.5, 0.6, 0.55]), [None, None, 0], [0.6, 0.6, 1.2]).mean > 0
        True
    """
    first = [position for position, parent in enumerate(parents) if parent is None]
    level = max(float(np.mean(nll[first])), PROBABILITY_FLOOR)
    typical = float(np.mean(np.log([temperatures[position] for position in first])))
    prior = float(np.clip(AT_ONE + (BELOW_ONE if typical < 0 else ABOVE_ONE) * typical, LEAST, MOST))
    ages = schedules(parents)
    seen = [(position, parent) for position, parent in enumerate(parents) if parent is not None]
    faded = np.array([FADE ** (ages[parent] - 1) for _, parent in seen])
    changes = np.array([nll[position] - nll[parent] for position, parent in seen]) / level
    precision = 1 / CHANGE_SD**2 + (faded**2).sum() / NETWORK_SD**2
    mean = (prior / CHANGE_SD**2 + (faded * changes).sum() / NETWORK_SD**2) / precision
    return Change(float(mean * level), float(level / np.sqrt(precision)), NETWORK_SD * level)


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
