"""Prediction sets: the classes that an image may have, so that a chosen share of sets holds the true one.

Split conformal prediction (Papadopoulos et al. 2002; Lei et al. 2018) with the score `1 - p(true class)`, known as LAC
(Sadinle, Lei & Wasserman 2019, "Least ambiguous set-valued classifiers with bounded error levels"): of all scores it
gives the smallest sets on average, if the probabilities are right. The most probable class is always in the set, so
that no set is empty; where the ensemble is right more often than was asked, coverage is then above what was asked.

Of `n` calibration images, a coverage of `c` takes the `k`-th largest probability of the true class as the threshold,
`k = ceil((n + 1) c)`: the quantile with the correction for a finite sample. If calibration images and new images are
exchangeable and nothing else was fitted on the former, then at least `c` of all sets hold the true class, on average
over draws of both. It is an average over all images and promises nothing for a single class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from nni_hypens.errors import InputError
from nni_hypens.metrics.inputs import check_predictions, check_probabilities
from nni_hypens.utils.checks import brief, is_number, is_whole, require

LEVELS = (0.8, 0.9, 0.95, 0.99)
"""Coverages that are measured on test data."""
INTERVAL = 0.95
SCORE = "lac"
MOST_KEPT = 500
_DIGITS = 5
_MOST_READ = 10_000


@dataclass(frozen=True)
class Conformal:
    """What prediction sets of any coverage need from the calibration images.

    Attributes:
        images: Number of calibration images.
        probabilities: Probabilities of their true classes, from high to low, cut off after five digits. Of more than
            `MOST_KEPT` images, evenly spaced ranks are kept, and sets use the next lower one: they become larger, by at
            most 0.2 points of coverage.
    """

    images: int
    probabilities: tuple[float, ...]

    @property
    def highest(self) -> float:
        """The highest coverage that this number of calibration images can give: `n / (n + 1)`."""
        return self.images / (self.images + 1)

    def threshold(self, coverage: float) -> float:
        """The probability above which a class is in the set.

        Args:
            coverage: Share of sets that should hold the true class, above 0.

        Returns:
            A probability.

        Raises:
            InputError: The coverage is no such number, or above `highest`.

        Examples:
            >>> Conformal(4, (0.9, 0.8, 0.6, 0.1)).threshold(0.6)  # the third of four
            0.6
        """
        if not (is_number(coverage) and 0 < coverage < 1):
            raise InputError("coverage", coverage, "a number above 0 and below 1")
        rank = math.ceil((self.images + 1) * coverage - 1e-9)  # 0.9 times 10 is a rounding error above 9
        if rank > self.images:
            raise InputError(
                "coverage", coverage, f"at most {math.floor(1000 * self.highest) / 1000:g}, what {self.images} "
                "validation images allow; more of them allow more"
            )  # fmt: skip
        return self.probabilities[int(np.searchsorted(_ranks(self.images, len(self.probabilities)), rank))]

    def sets(self, probs: ArrayLike, coverage: float) -> NDArray[np.bool_]:
        """Prediction sets.

        Args:
            probs: `N x C` probabilities of the ensemble.
            coverage: As for `threshold`.

        Returns:
            `N x C`, whether each class is in the set of each image. Every set holds the most probable class.

        Raises:
            InputError: An argument is not of that form.

        Examples:
            >>> Conformal(4, (0.9, 0.8, 0.6, 0.1)).sets([[0.1, 0.3, 0.6], [0.4, 0.3, 0.3]], coverage=0.8)
            array([[ True,  True,  True],
                   [ True,  True,  True]])
        """
        threshold, p = self.threshold(coverage), check_probabilities(probs)
        found: NDArray[np.bool_] = p >= threshold
        found[np.arange(len(p)), p.argmax(axis=1)] = True
        return found

    def to_json(self) -> dict[str, Any]:
        """The part `conformal` of ``ensemble.json`` and of an exported file."""
        return {"score": SCORE, "images": self.images, "probabilities": list(self.probabilities)}


def fit_conformal(probs: ArrayLike, labels: ArrayLike) -> Conformal:
    """Fit prediction sets.

    Args:
        probs: `N x C` probabilities of the ensemble on calibration images.
        labels: `N` integers in 0..C-1.

    Returns:
        What sets of any coverage need.

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> conformal = fit_conformal([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6]], [0, 0, 0])
        >>> conformal.threshold(0.5), conformal.sets([[0.8, 0.2], [0.25, 0.75]], coverage=0.75).tolist()
        (0.7, [[True, False], [False, True]])
    """
    p, y = check_predictions(probs, labels)
    true_class = np.sort(p[np.arange(len(y)), y])[::-1]
    kept = true_class[_ranks(len(y), min(len(y), MOST_KEPT)) - 1]
    return Conformal(len(y), tuple(_cut(float(value)) for value in kept))


def read_conformal(content: Any, where: str) -> Conformal | None:
    """Check the part `conformal` of a file that may come from anybody.

    Args:
        content: The part; None if the file has none.
        where: Name of the file, for errors.

    Raises:
        InputError: It is not what `Conformal.to_json` writes.
    """
    if content is None:
        return None
    field = f"{where}.conformal"
    if not isinstance(content, dict):
        raise InputError(field, brief(content), "an object")
    require(content, {"score": str, "images": int, "probabilities": list}, field)
    if content["score"] != SCORE:
        raise InputError(f"{field}.score", brief(content["score"]), f"{SCORE!r}")
    values, images = content["probabilities"], content["images"]
    if not (all(is_number(value) and 0 <= value <= 1 for value in values) and values == sorted(values, reverse=True)):
        raise InputError(f"{field}.probabilities", brief(values), "probabilities from high to low")
    if not (0 < len(values) <= _MOST_READ and is_whole(images, len(values))):
        raise InputError(f"{field}.images", brief(images), f"at least the {len(values)} probabilities, and at least 1")
    return Conformal(images, tuple(float(value) for value in values))


def measure(conformal: Conformal, probs: ArrayLike, labels: ArrayLike) -> list[dict[str, Any]]:
    """What prediction sets hold on test data, at each of `LEVELS` that the calibration images allow.

    Args:
        conformal: The fitted sets.
        probs: `N x C` probabilities of the ensemble on test images.
        labels: `N` integers in 0..C-1.

    Returns:
        For each level `coverage` (asked for), `threshold`, `measured` (share of sets with the true class), its exact
        binomial `interval` of 95 % over test images, `mean_size` and `single` (share of sets of one class) and the
        lowest share among the classes, `lowest_class` (`class`, `measured`, `images`).

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> conformal = fit_conformal([[0.9, 0.1], [0.7, 0.3], [0.6, 0.4], [0.4, 0.6]], [0, 0, 0, 0])
        >>> measure(conformal, [[0.8, 0.2], [0.45, 0.55]], [0, 0])[0]["measured"]
        1.0
    """
    p, y = check_predictions(probs, labels)
    rows = []
    for level in LEVELS:
        if level > conformal.highest:
            continue
        found = conformal.sets(p, level)
        held, size = found[np.arange(len(y)), y], found.sum(axis=1)
        counts = np.bincount(y)
        shares = np.bincount(y, weights=held)[counts > 0] / counts[counts > 0]
        lowest = int(np.flatnonzero(counts)[shares.argmin()])
        interval = binomtest(int(held.sum()), len(y)).proportion_ci(INTERVAL)
        rows.append(
            {
                "coverage": level,
                "threshold": conformal.threshold(level),
                "measured": float(held.mean()),
                "interval": [float(interval.low), float(interval.high)],
                "mean_size": float(size.mean()),
                "single": float((size == 1).mean()),
                "lowest_class": {
                    "class": lowest, "measured": float(shares.min()), "images": int(counts[lowest]),
                },
            }
        )  # fmt: skip
    return rows


def _ranks(images: int, kept: int) -> NDArray[np.int64]:
    """Ranks 1..images of the values that are kept: all, or evenly spaced ones that end with the last."""
    ranks: NDArray[np.int64] = -(-np.arange(1, kept + 1, dtype=np.int64) * images // kept)  # rounded up
    return ranks


def _cut(value: float) -> float:
    """Round down to five digits, which also covers the rounding of float32: a set may only become larger."""
    if value == 0:
        return 0.0
    scale = _DIGITS - 1 - math.floor(math.log10(value))
    cut = float(f"{value:.{_DIGITS - 1}e}")
    return cut if cut <= value else float(f"{cut - 10.0**-scale:.{_DIGITS - 1}e}")
