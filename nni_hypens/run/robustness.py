"""Run an ensemble on images that are not what it was trained on: corrupted test images, and images from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch

from nni_hypens import metrics
from nni_hypens.data.arrays import stratified_subset
from nni_hypens.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from nni_hypens.data.names import ood_names
from nni_hypens.data.ood import ood_images
from nni_hypens.data.protocols import LabelledData
from nni_hypens.ensemble.calibration import Combination, apply_temperature, combine
from nni_hypens.ensemble.module import Ensemble
from nni_hypens.errors import InputError
from nni_hypens.metrics.uncertainty import entropy_split, ood_auroc, ood_scores
from nni_hypens.utils.inputs import is_image
from nni_hypens.utils.ranges import known_range, training_range
from nni_hypens.utils.seeds import Purpose, seed_words

STEPS = len(CORRUPTIONS) * len(SEVERITIES)
"""Measurements: each corruption at each severity."""


class Bench:
    """An ensemble and a sample of test images, scaled to [0, 1] so that they can be corrupted.

    Args:
        ensemble: The ensemble.
        data: Data module with `labels`, `raw` and `input_spec`, as `nni_hypens.data.ImageData` has them.
        images: Maximum number of test images, at least 1; drawn in the proportions of the classes.
        best: Id of the member that the ensemble is compared with.
        best_temperature: Temperature of that member alone.
        seed: The run seed, for the sample, the corruptions and the noise.
    """

    def __init__(
        self, ensemble: Ensemble, data: LabelledData, images: int, best: str, best_temperature: float,
        seed: int,
    ) -> None:  # fmt: skip
        self.ensemble = ensemble
        self.best = ensemble.info.ids.index(best)
        self.best_temperature = best_temperature
        self.seed = seed
        self.weights = ensemble.weights.double().numpy() / float(ensemble.weights.double().sum())
        own = tuple(ensemble.member_temperatures.tolist())
        self.combination = Combination(float(ensemble.temperature), own, ensemble.pooling)
        labels = data.labels("test")
        rows = stratified_subset(labels, min(images, len(labels)), seed_words(seed, Purpose.STRESS_IMAGES))
        self.labels = labels[rows]
        raw = cast(Any, data).raw("test", rows).astype(np.float32)
        low, high = known_range(data.input_spec) or training_range(raw)
        # Test images may leave the range a little, which [0, 1] must not cut off.
        self.low, self.high = min(low, float(raw.min())), max(high, float(raw.max()))
        unit = ((raw - self.low) / (self.high - self.low)).clip(0, 1)
        self.images = torch.from_numpy(np.ascontiguousarray(unit.transpose(0, 3, 1, 2)))

    def members(self, images: torch.Tensor) -> np.ndarray:
        """Probabilities of each member, `M x N x C` float64, for `N x C_in x H x W` images in [0, 1]."""
        raw = images * (self.high - self.low) + self.low
        return self.ensemble.predict_members(raw.permute(0, 2, 3, 1).numpy()).astype(np.float64)

    def models(self, members: np.ndarray) -> dict[str, np.ndarray]:
        """Probabilities `N x C` of the models that are compared."""
        alone = members[self.best]
        return {
            "ensemble": combine(members, self.weights, self.combination),
            "best member": alone,
            "best member, calibrated": apply_temperature(alone, self.best_temperature),
        }


def measure_robustness(
    ensemble: Ensemble,
    data: LabelledData,
    *,
    best: str,
    best_temperature: float,
    ood: str = "auto",
    images: int = 256,
    seed: int = 0,
    on_step: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """The parts `corruptions` and `ood` of ``results.json``.

    Args:
        ensemble: The ensemble.
        data: Its data module.
        best: Id of the best member.
        best_temperature: Temperature of the best member alone, fitted on validation data.
        ood: As for `nni_hypens.data.ood.ood_names`.
        images: Maximum number of test images; 0 measures nothing.
        seed: The run seed.
        on_step: Called after each of `STEPS` corruptions.

    Raises:
        InputError: `ood` names a set that is missing. With `auto`, a missing set is skipped and the reason is kept.
    """
    reason = None
    if images == 0:
        reason = "not asked for (stress_images is 0)"
    elif not is_image(data.input_spec):
        reason = "the data are no images, and only images are corrupted or compared with images from elsewhere"
    elif not hasattr(data, "raw"):
        reason = f"{type(data).__name__} has no raw(split, indices) to take images from"
    if reason is not None:
        return {"corruptions": {"skipped": reason}, "ood": {"skipped": [{"name": "all", "reason": reason}]}}
    bench = Bench(ensemble, data, images, best, best_temperature, seed)
    clean = bench.members(bench.images)
    count = {"images": len(bench.labels), "of": len(data.labels("test"))}
    return {
        "corruptions": {**count, "rows": _corruptions(bench, clean, on_step)},
        "ood": {**count, **_ood(bench, clean, ood, getattr(data, "source", None))},
    }


def _corruptions(bench: Bench, clean: np.ndarray, on_step: Callable[[], None]) -> list[dict[str, Any]]:
    rows = _rows(bench, clean, "none", 0)
    for name in CORRUPTIONS:
        for severity in SEVERITIES:
            rows += _rows(bench, bench.members(corrupt(bench.images, name, severity, bench.seed)), name, severity)
            on_step()
    return rows


def _rows(bench: Bench, members: np.ndarray, corruption: str, severity: int) -> list[dict[str, Any]]:
    split = entropy_split(members, bench.weights)
    rows = []
    for model, probs in bench.models(members).items():
        row = {
            "corruption": corruption,
            "severity": severity,
            "model": model,
            "accuracy": metrics.accuracy(probs, bench.labels),
            "nll": metrics.nll(probs, bench.labels),
            "ece": metrics.ece(probs, bench.labels),
        }
        if model == "ensemble":
            row |= {"aleatoric": float(split.aleatoric.mean()), "epistemic": float(split.epistemic.mean())}
        rows.append(row)
    return rows


def _ood(bench: Bench, clean: np.ndarray, setting: str, source: Any) -> dict[str, Any]:
    inside = _scores(bench, clean)
    channels, height, width = bench.images.shape[1:]
    sets, skipped = [], []
    for name in ood_names(setting, source if isinstance(source, str) else None):
        try:
            images = ood_images(name, len(bench.labels), channels, height, width, seed=bench.seed)
        except InputError as error:
            if setting != "auto":
                raise
            skipped.append({"name": name, "reason": f"{error.got}; wanted: {error.expected}"})
            continue
        members = bench.members(images)
        outside, split = _scores(bench, members), entropy_split(members, bench.weights)
        sets.append(
            {
                "name": name,
                "images": len(images),
                "auroc": {score: ood_auroc(inside[score], outside[score]) for score in inside},
                **{part: float(values.mean()) for part, values in split._asdict().items()},
            }
        )
    return {"sets": sets, "skipped": skipped}


def _scores(bench: Bench, members: np.ndarray) -> dict[str, np.ndarray]:
    models = bench.models(members)
    scores = ood_scores(members, bench.weights, models["ensemble"])
    return {**scores, "best_member_confidence": 1 - models["best member"].max(axis=1)}
