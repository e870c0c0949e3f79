"""Measure an ensemble, its members and the baselines at hand on test data, which nothing before has seen."""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import Any

import numpy as np

from nni_hypens import metrics
from nni_hypens.calibration import apply_temperature, fit_temperature

RANDOM_SUBSETS = 200
Predictions = dict[str, list[np.ndarray]]


def evaluate_pool(
    pool: Predictions,
    validation_labels: np.ndarray,
    test_labels: np.ndarray,
    members: list[tuple[str, float]],
    temperature: float,
    records: list[dict[str, Any]],
    trials: dict[str, dict[str, Any] | None],
) -> dict[str, Any]:
    """The measured part of ``results.json``.

    The best member is the one with the lowest *validation* NLL: test data only reports.

    Args:
        pool: id -> [validation ``Nv x C``, test ``Nt x C``] probabilities of each trained candidate.
        validation_labels: ``Nv``.
        test_labels: ``Nt``.
        members: (id, weight) of each member.
        temperature: Of the ensemble.
        records: The content of ``candidates.json``.
        trials: id -> the content of its ``metrics.json``, or None.
    """
    by_id = {record["id"]: record for record in records}
    ids = [name for name, _ in members]
    weights = np.array([weight for _, weight in members])
    test = np.stack([pool[name][1] for name in ids]).astype(np.float64)
    average = np.tensordot(weights, test, axes=1)
    calibrated = apply_temperature(average, temperature)
    validation_nll = {name: metrics.nll(pool[name][0], validation_labels) for name in pool}
    best = min(ids, key=lambda name: (validation_nll[name], name))
    rows = []
    for name, weight in members:
        rows.append(
            {
                "id": name,
                "weight": weight,
                "lam": by_id[name]["lam"],
                "shared_edges": by_id[name]["shared_edges"],
                **metrics.summary(pool[name][1], test_labels),
                "validation_nll": validation_nll[name],
            }
        )
    pairwise = metrics.pairwise_disagreement(test)
    off_diagonal = pairwise[~np.eye(len(ids), dtype=bool)]
    return {
        "ensemble": metrics.summary(calibrated, test_labels),
        "ensemble_uncalibrated": metrics.summary(average, test_labels),
        "temperature": temperature,
        "best_member": {"id": best, **metrics.summary(pool[best][1], test_labels)},
        "members": rows,
        "candidates": [_candidate(record, trials.get(record["id"]), pool, ids, test_labels) for record in records],
        "diversity": {
            "disagreement": float(off_diagonal.mean()) if off_diagonal.size else 0.0,
            "pairwise": pairwise.tolist(),
            "oracle_accuracy": metrics.oracle_accuracy(test, test_labels),
            "base_shared_edges": [by_id[name]["shared_edges"] for name in ids],
        },
        "reliability": {
            "ensemble": _reliability(calibrated, test_labels),
            "best_member": _reliability(pool[best][1], test_labels),
        },
        "baselines": [
            _calibrated(pool[best], validation_labels, test_labels),
            *_baselines(pool, test_labels, len(set(ids)), records),
        ],
    }


def _candidate(
    record: dict[str, Any], trial: dict[str, Any] | None, pool: Predictions, members: list[str], labels: np.ndarray
) -> dict[str, Any]:
    """Row of one candidate, trained or failed."""
    row = {key: record[key] for key in ("id", "lam", "shared_edges", "source", "supernet_nll")}
    if record["id"] not in pool or trial is None:
        return {**row, "status": "failed", "error": (trial or {}).get("error", "not trained")}
    return {
        **row,
        "status": "trained",
        "is_member": record["id"] in members,
        "test": metrics.summary(pool[record["id"]][1], labels),
        "validation": trial["validation"],
        "seconds": trial["seconds"],
        "parameters": trial["parameters"],
    }


def _calibrated(pair: list[np.ndarray], validation_labels: np.ndarray, test_labels: np.ndarray) -> dict[str, Any]:
    """The best member with a temperature of its own: what calibration gives without an ensemble."""
    temperature = fit_temperature(pair[0], validation_labels)
    return {"name": "best member, calibrated", **metrics.summary(apply_temperature(pair[1], temperature), test_labels)}


def _reliability(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, list[float | None]]:
    """Reliability diagram as plain data, None for empty bins."""
    table = metrics.reliability(probabilities, labels)
    return {
        "confidence": [None if np.isnan(value) else float(value) for value in table.confidence],
        "accuracy": [None if np.isnan(value) else float(value) for value in table.accuracy],
        "count": [int(value) for value in table.count],
    }


def _baselines(pool: Predictions, labels: np.ndarray, size: int, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the trained pool tells for nothing more: its base alone, all of it averaged, and any ``size`` of it."""
    test = {name: pair[1].astype(np.float64) for name, pair in pool.items()}
    rows = []
    base = next((record["id"] for record in records if record["source"] == "base" and record["id"] in test), None)
    if base is not None:
        rows.append({"name": "base architecture alone", **metrics.summary(test[base], labels)})
    rows.append(
        {
            "name": f"all {len(test)} candidates averaged",
            **metrics.summary(np.mean(list(test.values()), axis=0), labels),
        }
    )
    names = sorted(test)
    if comb(len(names), size) <= RANDOM_SUBSETS:
        subsets = [list(subset) for subset in combinations(names, size)]
    else:
        generator = np.random.default_rng(0)
        subsets = [list(generator.choice(names, size, replace=False)) for _ in range(RANDOM_SUBSETS)]
    found = [metrics.summary(np.mean([test[name] for name in subset], axis=0), labels) for subset in subsets]
    mean = {key: float(np.mean([summary[key] for summary in found])) for key in found[0]}
    rows.append({"name": f"any {size} of the candidates (mean of {len(subsets)} choices)", **mean})
    return rows
