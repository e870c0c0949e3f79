"""How members are chosen among twelve networks (table B), and what more members are worth (table C)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_softmax

from nni_hypens.ensemble.calibration import Combination, calibrate, fit_temperature, temper_members
from nni_hypens.ensemble.weighting import fit_weights
from nni_hypens.metrics.inputs import PROBABILITY_FLOOR
from nni_hypens.selection.dispatch import select
from tests.benchmarks.pool_cells import (
    DRAWS,
    IMAGES,
    SIZES,
    Networks,
    ensemble_losses,
    losses_of,
    mean_and_error,
    relative,
)

CANDIDATES, BAGS, BAG_SHARE = 12, 25, 2 / 3
SCALES = (0.15, 0.3, 0.6, 1.0, 3.0)
REFERENCE, SIZE_REFERENCE = "calibrated", "5"


@dataclass(frozen=True)
class Candidates:
    """What is known when members are chosen: P candidates, N validation images, C classes.

    Attributes:
        raw: Probabilities `P x N x C`.
        calibrated: The same, each candidate's with its own temperature.
        labels: `N` true classes.
    """

    raw: np.ndarray
    calibrated: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, raw: np.ndarray, labels: np.ndarray) -> Candidates:
        """Fit the temperature of each candidate."""
        own = [fit_temperature(one, labels) for one in raw]
        return cls(raw, temper_members(raw, own), labels)

    def true(self, probs: np.ndarray) -> np.ndarray:
        """`P x N`, probabilities of the true classes."""
        return np.maximum(probs[:, np.arange(len(self.labels)), self.labels], PROBABILITY_FLOOR)


def forward(true: np.ndarray, size: int, counts: np.ndarray | None = None) -> list[int]:
    """Forward selection on the mean probability of the true class `P x N`; images count `counts` times."""
    chosen: list[int] = []
    total = np.zeros(true.shape[1])
    for step in range(1, size + 1):
        score = -np.average(np.log((total + true) / step), axis=1, weights=counts)
        score[chosen] = np.inf
        chosen.append(int(score.argmin()))
        total += true[chosen[-1]]
    return chosen


def forward_log(raw: np.ndarray, labels: np.ndarray, size: int) -> list[int]:
    """Forward selection on the log average, with one temperature: that of the log average of all candidates."""
    equal = np.full(len(raw), 1 / len(raw))
    temperature = calibrate("ensemble", raw, equal, labels, "log").temperature
    logs, image = np.log(np.maximum(raw, PROBABILITY_FLOOR)) / temperature, np.arange(len(labels))
    chosen: list[int] = []
    total = np.zeros(logs.shape[1:])
    for step in range(1, size + 1):
        score = -log_softmax((total + logs) / step, axis=-1)[:, image, labels].mean(axis=1)
        score[chosen] = np.inf
        chosen.append(int(score.argmin()))
        total += logs[chosen[-1]]
    return chosen


def bagged_images(true: np.ndarray, size: int, generator: np.random.Generator) -> list[int]:
    """Those that forward selection chooses most often on images drawn with replacement."""
    images = true.shape[1]
    votes = np.zeros(len(true))
    for _ in range(BAGS):
        votes[forward(true, size, generator.multinomial(images, np.full(images, 1 / images)))] += 1
    return np.argsort(-votes, kind="stable")[:size].tolist()


def bagged_candidates(true: np.ndarray, size: int, generator: np.random.Generator) -> list[int]:
    """Those that it chooses most often among a random share of the candidates (Caruana et al. 2004)."""
    votes = np.zeros(len(true))
    for _ in range(BAGS):
        some = np.sort(generator.choice(len(true), max(size, round(BAG_SHARE * len(true))), replace=False))
        votes[some[forward(true[some], size)]] += 1
    return np.argsort(-votes, kind="stable")[:size].tolist()


Rule = Callable[[Candidates, int, np.random.Generator], list[int]]
RULES: dict[str, Rule] = {
    REFERENCE: lambda seen, size, _: forward(seen.true(seen.calibrated), size),
    "exhaustive": lambda seen, size, _: list(select("exhaustive", seen.calibrated, seen.labels, size).members),
    "raw": lambda seen, size, _: forward(seen.true(seen.raw), size),
    "log average": lambda seen, size, _: forward_log(seen.raw, seen.labels, size),
    "bagged images": lambda seen, size, rng: bagged_images(seen.true(seen.calibrated), size, rng),
    "bagged candidates": lambda seen, size, rng: bagged_candidates(seen.true(seen.calibrated), size, rng),
    "top": lambda seen, size, _: np.argsort(-np.log(seen.true(seen.calibrated)).mean(axis=1))[:size].tolist(),
    "random": lambda seen, size, rng: rng.choice(len(seen.raw), size, replace=False).tolist(),
}
"""Name -> the members that a rule chooses."""


def selection_rows(networks: Networks, draws: int = DRAWS) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of table B, by number of images, size and rule, and of table C, by images and kind of ensemble."""
    chosen_rows, size_rows = [], []
    for images in IMAGES:
        generator = networks.generator(f"selection {images}")
        chosen: dict[tuple[int, str], list[np.ndarray]] = {}
        kinds: dict[str, list[tuple[np.ndarray, int, float]]] = {}
        for _ in range(draws):
            rows, seen_images = networks.draw(generator, CANDIDATES, images)
            labels = networks.labels("validation")[seen_images]
            seen = Candidates.of(networks.validation[np.ix_(rows, seen_images)], labels)
            for size in SIZES:
                for name, rule in RULES.items():
                    members = rows[rule(seen, size, generator)]
                    chosen.setdefault((size, name), []).append(ensemble_losses(networks, members, seen_images))
            for kind, losses, members in ensembles(networks, rows, seen, seen_images):
                flops = float(networks.column("flops")[members].sum())
                kinds.setdefault(kind, []).append((losses, len(members), flops))
        for (size, name), losses in chosen.items():
            row = {"images": images, "members": size, "rule": name}
            chosen_rows.append(row | relative(np.stack(losses), np.stack(chosen[size, REFERENCE])))
        reference = np.stack([losses for losses, _, _ in kinds[SIZE_REFERENCE]])
        for kind, found in kinds.items():
            about = {"images": images, "kind": kind, "members": float(np.mean([count for _, count, _ in found]))}
            about |= {"flops": mean_and_error([flops for _, _, flops in found])}
            size_rows.append(about | relative(np.stack([losses for losses, _, _ in found]), reference))
    return chosen_rows, size_rows


def ensembles(
    networks: Networks, rows: np.ndarray, seen: Candidates, images: np.ndarray
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(kind, NLL of each test image, members) of ensembles of 1, 2, 3, 5 and all candidates, and of fitted weights."""
    order = rows[forward(seen.true(seen.calibrated), len(rows))]
    found = [
        (str(size), ensemble_losses(networks, order[:size], images), order[:size]) for size in (1, 2, 3, 5, len(rows))
    ]
    for scale in SCALES:
        weights = fit_weights(seen.raw, seen.labels, scale)
        fitted: Combination = calibrate("ensemble", seen.raw, weights, seen.labels)
        found.append((f"weights {scale:g}", losses_of(networks, rows, weights, fitted), rows[weights > 0]))
    return found
