"""How far test results may be due to chance: a paired bootstrap over test images, and rank correlation.

Accuracy and NLL are means over images, so a model is a row of numbers, one per image. All rows are resampled together:
a difference of two models then has the interval of a paired comparison, which is narrower than two separate intervals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import spearmanr

from nni_hypens.errors import InputError
from nni_hypens.metrics.inputs import FloatArray, check_predictions
from nni_hypens.metrics.scores import example_nll
from nni_hypens.utils.seeds import Purpose, derive_seed

LEVEL = 0.95
RESAMPLES = 5000
_BLOCK = 2**22
"""Positions drawn at once, 32 MB; the draws do not depend on it."""


def image_scores(probs: ArrayLike, labels: ArrayLike) -> dict[str, FloatArray]:
    """Accuracy and NLL image by image; their means are `accuracy` and `nll`.

    Args:
        probs: `N x C` probabilities.
        labels: `N` integers in 0..C-1.

    Returns:
        `accuracy` (0 or 1) and `nll` (nats), `N` values each.

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> scores = image_scores([[0.9, 0.1], [0.6, 0.4]], [0, 1])
        >>> scores["accuracy"], scores["nll"].round(3)
        (array([1., 0.]), array([0.105, 0.916]))
    """
    p, y = check_predictions(probs, labels)
    return {"accuracy": (p.argmax(axis=1) == y).astype(np.float64), "nll": example_nll(p, y)}


def resampled_means(values: FloatArray, seed: int, resamples: int = RESAMPLES) -> FloatArray:
    """Means of rows over images drawn with replacement; every row sees the same draw.

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
    """Percentile bootstrap over test images; the part `intervals` of ``results.json``.

    Args:
        scores: Model -> accuracy and NLL image by image, from `image_scores`; each model is compared with the first.
        seed: Seed of the draws.
        resamples: How many draws.

    Returns:
        `level`, `resamples`, `seed`, `images`, and `rows`, one per model: `name`, and for `accuracy` and `nll` the
        `value`, its `interval`, and, except for the first model, the `difference` (first - this one) with
        `difference_interval`.

    Raises:
        InputError: If there is no model or no image.

    Examples:
        >>> labels = [0, 1, 0, 1]
        >>> good = image_scores([[0.8, 0.2], [0.3, 0.7], [0.9, 0.1], [0.4, 0.6]], labels)
        >>> poor = image_scores([[0.6, 0.4], [0.6, 0.4], [0.7, 0.3], [0.5, 0.5]], labels)
        >>> row = paired_intervals({"ensemble": good, "single": poor}, seed=0)["rows"][1]
        >>> row["name"], row["accuracy"]["value"], row["accuracy"]["difference"]
        ('single', 0.5, 0.5)
    """
    names = list(scores)
    if not names or not len(scores[names[0]]["nll"]):
        raise InputError("scores", f"{len(names)} models", "one model or more, with one test image or more")
    rows: dict[str, dict[str, Any]] = {name: {"name": name} for name in names}
    for key in ("accuracy", "nll"):
        values = np.stack([scores[name][key] for name in names])
        means = resampled_means(values, seed, resamples)
        for name, of_images, drawn in zip(names, values, means, strict=True):
            score: dict[str, Any] = {"value": float(of_images.mean()), "interval": _percentiles(drawn)}
            if name != names[0]:
                score["difference"] = float((values[0] - of_images).mean())
                score["difference_interval"] = _percentiles(means[0] - drawn)
            rows[name][key] = score
    images = len(scores[names[0]]["nll"])
    return {"level": LEVEL, "resamples": resamples, "seed": seed, "images": images, "rows": list(rows.values())}


def mean_scores(models: Sequence[Mapping[str, FloatArray]]) -> dict[str, FloatArray]:
    """Accuracy and NLL image by image, averaged over models: what a model picked at random would score."""
    return {key: np.mean([model[key] for model in models], axis=0) for key in models[0]}


def _percentiles(values: FloatArray) -> list[float]:
    tail = 100 * (1 - LEVEL) / 2
    return [float(value) for value in np.percentile(values, (tail, 100 - tail))]


def rank_correlation(rows: Iterable[tuple[str, float, float]], fewest: int) -> tuple[float | None, int]:
    """Spearman's correlation between a prediction for architectures and what their trained networks scored.

    Args:
        rows: (architecture, predicted score, reached score) of each network. An architecture counts once, with the mean
            score of its networks.
        fewest: Fewest architectures for which a correlation is reported.

    Returns:
        The correlation and the number of architectures. The correlation is None for fewer than `fewest`
        architectures, or if all predicted or all reached scores are equal.

    Examples:
        >>> rank_correlation([("a", 0.1, 0.7), ("b", 0.2, 0.8), ("c", 0.3, 0.9), ("c", 0.3, 0.8)], fewest=3)
        (1.0, 3)
    """
    predicted: dict[str, float] = {}
    reached: dict[str, list[float]] = {}
    for architecture, value, result in rows:
        predicted.setdefault(architecture, value)
        reached.setdefault(architecture, []).append(result)
    before, after = list(predicted.values()), [float(np.mean(results)) for results in reached.values()]
    if len(predicted) < fewest or len(set(before)) == 1 or len(set(after)) == 1:
        return None, len(predicted)
    return float(spearmanr(before, after).statistic), len(predicted)
