"""How far test results may be chance: a paired bootstrap over test images of an ensemble and what it is held against.

Accuracy and NLL are means over images, so a model is a row of numbers, one per image. All rows are resampled together:
a difference of two models then has the interval of a paired comparison, which is narrower than two intervals that are
held side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import spearmanr

from nni_hypens.errors import InputError
from nni_hypens.metrics.scores import PROBABILITY_FLOOR, FloatArray, check_labels, check_probabilities
from nni_hypens.utils.seeds import Purpose, derive_seed

LEVEL = 0.95
RESAMPLES = 5000
_BLOCK = 2**22
"""Positions that are drawn at once, 32 MB: what is drawn does not depend on it."""


def image_scores(probs: ArrayLike, labels: ArrayLike) -> dict[str, FloatArray]:
    """Accuracy and NLL image by image; their means are those of :mod:`nni_hypens.metrics`.

    Args:
        probs: `N x C` probabilities.
        labels: `N` integers in 0..C-1.

    Returns:
        `accuracy` (0 or 1) and `nll` (nats), `N` values each.

    Raises:
        InputError: If an argument is not of that form.
    """
    p = check_probabilities(probs)
    y = check_labels(labels, *p.shape)
    own = np.maximum(p[np.arange(len(y)), y], PROBABILITY_FLOOR)
    return {"accuracy": (p.argmax(axis=1) == y).astype(np.float64), "nll": -np.log(own)}


def resampled_means(values: FloatArray, seed: int, resamples: int = RESAMPLES) -> FloatArray:
    """Means of rows over images that are drawn with replacement, the same draw for every row.

    Args:
        values: `K x N`, a row for each quantity.
        seed: Seed of the draws.
        resamples: How many draws of `N` images.

    Returns:
        `K x resamples`.
    """
    rows, images = values.shape
    generator = np.random.default_rng(derive_seed(seed, Purpose.BOOTSTRAP))
    means = np.empty((rows, resamples))
    at_once = max(1, _BLOCK // images)
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        drawn = generator.integers(images, size=(size, images)) + images * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * images).reshape(size, images)
        means[:, start : start + size] = values @ counts.T / images
    return means


def paired_intervals(
    scores: Mapping[str, Mapping[str, FloatArray]], seed: int, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """The part `intervals` of ``results.json``: percentile bootstrap over test images.

    Args:
        scores: Model -> accuracy and NLL image by image; the first is the one that each other is held against.
        seed: Seed of the draws.
        resamples: How many draws.

    Returns:
        `level`, `resamples`, `seed`, `images`, and `rows`, one a model: `name`, and for `accuracy` and `nll` the
        `value`, its `interval`, and, but for the first model, the `difference` (first - this one) with
        `difference_interval`.

    Raises:
        InputError: If there is no model or no image.
    """
    names = list(scores)
    if not names or not len(scores[names[0]]["nll"]):
        raise InputError("scores", f"{len(names)} models", "one model or more, with one test image or more")
    found: dict[str, dict[str, Any]] = {name: {"name": name} for name in names}
    for key in ("accuracy", "nll"):
        values = np.stack([scores[name][key] for name in names])
        means = resampled_means(values, seed, resamples)
        for name, own, drawn in zip(names, values, means, strict=True):
            row: dict[str, Any] = {"value": float(own.mean()), "interval": _percentiles(drawn)}
            if name != names[0]:
                row["difference"] = float((values[0] - own).mean())
                row["difference_interval"] = _percentiles(means[0] - drawn)
            found[name][key] = row
    images = len(scores[names[0]]["nll"])
    return {"level": LEVEL, "resamples": resamples, "seed": seed, "images": images, "rows": list(found.values())}


def mean_scores(models: Sequence[Mapping[str, FloatArray]]) -> dict[str, FloatArray]:
    """Accuracy and NLL image by image, on average over models: those of one of them picked by chance."""
    return {key: np.mean([model[key] for model in models], axis=0) for key in models[0]}


def _percentiles(values: FloatArray) -> list[float]:
    tail = 100 * (1 - LEVEL) / 2
    return [float(value) for value in np.percentile(values, (tail, 100 - tail))]


def rank_correlation(rows: Iterable[tuple[str, float, float]], fewest: int) -> tuple[float | None, int]:
    """Spearman's correlation of what is known of architectures with what their networks have reached.

    Args:
        rows: One for each network: its architecture, what is known of that, and what the network has reached. An
            architecture counts once, by the mean of its networks.
        fewest: Architectures below which the correlation says nothing.

    Returns:
        The correlation, None for fewer architectures or where all are alike; and their number.
    """
    known: dict[str, float] = {}
    reached: dict[str, list[float]] = {}
    for architecture, value, result in rows:
        known.setdefault(architecture, value)
        reached.setdefault(architecture, []).append(result)
    before, after = list(known.values()), [float(np.mean(results)) for results in reached.values()]
    if len(known) < fewest or len(set(before)) == 1 or len(set(after)) == 1:
        return None, len(known)
    return float(spearmanr(before, after).statistic), len(known)
