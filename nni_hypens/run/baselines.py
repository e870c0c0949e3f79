"""What an ensemble is compared with on test data: ensembles of other sizes, and simple choices from the same pool.

All of them are calibrated like the ensemble, so that a difference is that of the members.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import comb
from typing import Any, NamedTuple

import numpy as np

from nni_hypens import metrics
from nni_hypens.ensemble.calibration import Combination, calibrate, combine
from nni_hypens.metrics.inputs import FloatArray
from nni_hypens.metrics.statistics import image_scores, mean_scores
from nni_hypens.report.intervals import BASE_ALONE
from nni_hypens.selection.names import ALL
from nni_hypens.utils.seeds import Purpose, derive_seed

RANDOM_SUBSETS = 50
"""Random choices of members, if there are more choices; each is calibrated."""
Predictions = dict[str, list[np.ndarray]]
"""Candidate id -> [validation ``Nv x C``, test ``Nt x C``] probabilities."""


class OtherSize(NamedTuple):
    """An ensemble of another size: its row in ``results.json``, without metrics, and test probabilities ``Nt x C``."""

    row: dict[str, Any]
    test: FloatArray


def other_sizes(pool: Predictions, rows: Sequence[Mapping[str, Any]], pooling: str) -> list[OtherSize]:
    """What ensembles of other sizes say on test data, each combined as it was fitted on validation data.

    Args:
        pool: The trained candidates.
        rows: ``sizes`` in ``selection.json``.
        pooling: How members are averaged.
    """
    found = []
    for row in rows:
        members = list(row["members"])
        test = np.stack([pool[name][1] for name in members]).astype(np.float64)
        fitted = Combination(row["temperature"], tuple(row["member_temperatures"]), pooling)
        name = f"ensemble of {len(members)} ({', '.join(members)})"
        if row["method"] == ALL:
            name = f"all candidates, weighted ({len(members)} with a weight)"
        about = {"name": name, "members": members, "method": row["method"], "costs": row["costs"]}
        found.append(OtherSize(about, combine(test, row["weights"], fitted)))
    return found


def baselines(
    pool: Predictions,
    labels: tuple[np.ndarray, np.ndarray],
    size: int,
    base: str | None,
    calibration: str,
    pooling: str,
    seed: int,
) -> tuple[list[dict[str, Any]], dict[str, dict[str, FloatArray]]]:
    """Baselines from the trained pool: its base alone, all of it averaged, and the mean over subsets of ``size``.

    Args:
        pool: The trained candidates.
        labels: Of validation and test images.
        size: Members of the ensemble.
        base: Id of the base, if it was trained.
        calibration: As for the ensemble.
        pooling: As for the ensemble.
        seed: The run seed, for random subsets.

    Returns:
        Metrics of each, and accuracy and NLL per image, by the same names.
    """

    def averaged(names: Sequence[str]) -> FloatArray:
        validation, test = (np.stack([pool[name][part] for name in names]).astype(np.float64) for part in (0, 1))
        weights = np.full(len(names), 1 / len(names))
        fitted = calibrate(calibration, validation, weights, labels[0], pooling)
        average: FloatArray = combine(test, weights, fitted)
        return average

    names = sorted(pool)
    models: dict[str, list[FloatArray]] = {}
    if base is not None:
        models[BASE_ALONE] = [averaged([base])]
    models[f"all {len(pool)} candidates averaged"] = [averaged(list(pool))]
    if comb(len(names), size) <= RANDOM_SUBSETS:
        subsets = [list(subset) for subset in combinations(names, size)]
    else:
        generator = np.random.default_rng(derive_seed(seed, Purpose.RANDOM_SUBSETS))
        subsets = [list(generator.choice(names, size, replace=False)) for _ in range(RANDOM_SUBSETS)]
    title = f"any {size} of the candidates (mean of {len(subsets)} choices)"
    models[title] = [averaged(subset) for subset in subsets]
    rows = []
    for name, averages in models.items():
        found = [metrics.summary(average, labels[1]) for average in averages]
        rows.append({"name": name, **{key: float(np.mean([one[key] for one in found])) for key in found[0]}})
    scores = {name: mean_scores([image_scores(one, labels[1]) for one in found]) for name, found in models.items()}
    return rows, scores
