"""How members are averaged and calibrated, compared on the pool (table A)."""

from __future__ import annotations

from typing import Any

import numpy as np

from nni_hypens.ensemble.calibration import Combination, calibrate, combine, fit_temperature, temper_members
from nni_hypens.metrics.scores import example_nll, summary
from tests.benchmarks.pool_cells import DRAWS, IMAGES, SIZES, Networks, mean_and_error, relative

REFERENCE = "linear, ensemble"
WAYS = (
    REFERENCE, "linear, members", "linear, shared", "linear, none", "log, ensemble", "log, members", "log, none",
)  # fmt: skip
"""How members are averaged, and which temperatures are fitted: one of the ensemble; first one of each member; first one
that all members share; none."""
SCORES = ("accuracy", "ece", "brier")


def fitted(way: str, probs: np.ndarray, labels: np.ndarray) -> Combination:
    """The combination of a way for members' validation probabilities `M x N x C`."""
    pooling, method = way.split(", ")
    equal = np.full(len(probs), 1 / len(probs))
    if method != "shared":
        return calibrate(method, probs, equal, labels, pooling)
    shared = fit_temperature(probs.reshape(-1, probs.shape[-1]), np.tile(labels, len(probs)))
    own = (shared,) * len(probs)
    return calibrate("ensemble", temper_members(probs, own), equal, labels, pooling)._replace(members=own)


def pooling_rows(networks: Networks, draws: int = DRAWS) -> list[dict[str, Any]]:
    """One row for each size of ensemble, number of validation images and way."""
    rows = []
    labels, true = networks.labels("validation"), networks.labels("test")
    for size in SIZES:
        for images in IMAGES:
            generator = networks.generator(f"pooling {size} {images}")
            losses: dict[str, list[np.ndarray]] = {way: [] for way in WAYS}
            scores: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
            for _ in range(draws):
                members, chosen = networks.draw(generator, size, images)
                validation = networks.validation[np.ix_(members, chosen)]
                for way in WAYS:
                    combination = fitted(way, validation, labels[chosen])
                    probs = combine(networks.test[members], np.full(size, 1 / size), combination)
                    losses[way].append(example_nll(probs, true))
                    if images == IMAGES[-1]:
                        scores[way].append(summary(probs, true))
            for way in WAYS:
                row: dict[str, Any] = {"members": size, "images": images, "way": way}
                row |= relative(np.stack(losses[way]), np.stack(losses[REFERENCE]))
                if scores[way]:
                    row |= {key: mean_and_error([one[key] for one in scores[way]]) for key in SCORES}
                rows.append(row)
    return rows
