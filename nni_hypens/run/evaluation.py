"""Measure an ensemble, its members and simple baselines on test data, which no earlier stage looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import comb
from typing import Any

import numpy as np

from nni_hypens import metrics
from nni_hypens.ensemble.calibration import (
    Temperatures,
    apply_temperature,
    calibrate,
    combine,
    fit_temperature,
)
from nni_hypens.ensemble.conformal import SCORE, fit_conformal, measure
from nni_hypens.ensemble.names import CALIBRATIONS
from nni_hypens.metrics import uncertainty
from nni_hypens.metrics.diversity import contributions
from nni_hypens.metrics.inputs import FloatArray
from nni_hypens.metrics.statistics import image_scores, mean_scores, paired_intervals
from nni_hypens.run.candidate import Candidate
from nni_hypens.run.rankings import known_ranking, supernet_ranking
from nni_hypens.utils.seeds import Purpose, derive_seed

RANDOM_SUBSETS = 200
Predictions = dict[str, list[np.ndarray]]


def evaluate_pool(
    pool: Predictions,
    validation_labels: np.ndarray,
    test_labels: np.ndarray,
    members: list[tuple[str, float]],
    temperatures: Temperatures | float,
    candidates: Sequence[Candidate],
    trials: dict[str, dict[str, Any] | None],
    calibration: str = "ensemble",
    seed: int = 0,
    smaller: Mapping[str, tuple[list[str], np.ndarray]] | None = None,
) -> dict[str, Any]:
    """The measured part of ``results.json``.

    The best member is the one with the lowest *validation* NLL: test data only reports.

    Args:
        pool: id -> [validation ``Nv x C``, test ``Nt x C``] probabilities of each trained candidate.
        validation_labels: ``Nv``.
        test_labels: ``Nt``.
        members: (id, weight) of each member.
        temperatures: Of the ensemble and its members; a number stands for that of the ensemble alone.
        candidates: The content of ``candidates.json``.
        trials: id -> the content of its ``metrics.json``, or None.
        calibration: The method that the temperatures were fitted by, one of `CALIBRATIONS`.
        seed: The run seed, for the bootstrap and for random subsets.
        smaller: Ensembles with fewer members to compare with this one, from `smaller_ensembles`.
    """
    ids = [name for name, _ in members]
    by_id = {candidate.id: candidate for candidate in candidates}
    weights = np.array([weight for _, weight in members])
    if not isinstance(temperatures, Temperatures):
        temperatures = Temperatures(float(temperatures), (1.0,) * len(ids))
    validation, test = (np.stack([pool[name][part] for name in ids]).astype(np.float64) for part in (0, 1))
    calibrated = combine(test, weights, temperatures)
    validation_nll = {name: metrics.nll(pool[name][0], validation_labels) for name in pool}
    best = min(ids, key=lambda name: (validation_nll[name], name))
    own = {name: fit_temperature(pool[name][0], validation_labels) for name in ids}
    variants = _variants(validation, validation_labels, test, test_labels, weights)
    known = known_ranking(candidates, validation_nll)
    models = {
        "ensemble": calibrated,
        "ensemble before temperature": np.tensordot(weights, test, axes=1),
        **{f"best member ({name})" if name == best else f"member {name}": pool[name][1] for name in ids},
        "best member, calibrated": apply_temperature(pool[best][1], own[best]),
    }
    smaller = smaller or {}
    models |= {name: probs for name, (_, probs) in smaller.items()}
    baselines, baseline_scores = _baselines(pool, test_labels, len(set(ids)), candidates, seed)
    scores = {name: image_scores(probs, test_labels) for name, probs in models.items()}
    return {
        "ensemble": metrics.summary(calibrated, test_labels),
        "chance": {"accuracy": float(np.bincount(test_labels).max() / len(test_labels))},
        "ensemble_uncalibrated": metrics.summary(np.tensordot(weights, test, axes=1), test_labels),
        "temperature": temperatures.ensemble,
        "best_member": {"id": best, **metrics.summary(pool[best][1], test_labels)},
        "members": _members(pool, validation_labels, test_labels, members, candidates, own),
        "smaller": [
            {"name": name, "members": names, **metrics.summary(probs, test_labels)}
            for name, (names, probs) in smaller.items()
        ],
        "candidates": [_candidate(one, trials.get(one.id), pool, ids, test_labels) for one in candidates],
        "ranking": supernet_ranking(candidates, validation_nll),
        "top_k": _top_k(models, test_labels),
        "prediction_sets": _prediction_sets(
            combine(validation, weights, temperatures), validation_labels, calibrated, test_labels
        ),
        "classes": _classes(calibrated, pool[best][1], test_labels),
        "diversity": _diversity(test, test_labels, [by_id[name].shared_edges for name in ids]),
        "reliability": {
            "ensemble": _reliability(calibrated, test_labels),
            "best_member": _reliability(pool[best][1], test_labels),
        },
        "calibration": {"method": calibration, "member_temperatures": list(temperatures.members), "rows": variants},
        "uncertainty": _uncertainty(test, weights, calibrated, pool[best][1], test_labels),
        "baselines": [_calibrated(pool[best], own[best], test_labels), *baselines],
        "intervals": paired_intervals(scores | baseline_scores, seed),
        **({} if known is None else {"known_results": known}),
    }


def smaller_ensembles(pool: Predictions, rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[str], np.ndarray]]:
    """What smaller ensembles of the same candidates say on test data, with their own temperatures.

    Args:
        pool: As for `evaluate_pool`.
        rows: ``smaller`` in ``selection.json``.

    Returns:
        Name -> members, and probabilities ``Nt x C``.
    """
    found = {}
    for row in rows:
        members = row["members"]
        test = np.stack([pool[name][1] for name in members]).astype(np.float64)
        temperatures = Temperatures(row["temperature"], tuple(row["member_temperatures"]))
        name = f"ensemble of {len(members)} ({', '.join(members)})"
        found[name] = (list(members), combine(test, row["weights"], temperatures))
    return found


def _members(
    pool: Predictions,
    validation_labels: np.ndarray,
    test_labels: np.ndarray,
    members: list[tuple[str, float]],
    candidates: Sequence[Candidate],
    own: dict[str, float],
) -> list[dict[str, Any]]:
    """Row of each member: its metrics, and what it contributes to the ensemble.

    Gains are those of the average before any temperature, which selection compared.
    """
    ids, weights = [name for name, _ in members], np.array([weight for _, weight in members])
    rest = [name for name in pool if name not in ids]
    validation, test = (np.stack([pool[name][part] for name in ids]).astype(np.float64) for part in (0, 1))
    others = np.stack([pool[name][0] for name in rest]).astype(np.float64) if rest else np.empty(0)
    gains = uncertainty.marginal_gains(validation, validation_labels, weights)
    test_gains = uncertainty.marginal_gains(test, test_labels, weights)
    swaps = uncertainty.swap_gains(validation, others, validation_labels, weights)
    knows = contributions(test, test_labels)
    by_id = {candidate.id: candidate for candidate in candidates}
    rows = []
    for index, (name, weight) in enumerate(members):
        candidate, swap = by_id[name], swaps[index]
        rows.append(
            {
                "id": name,
                "weight": weight,
                "lam": candidate.lam,
                "shared_edges": candidate.shared_edges,
                **metrics.summary(pool[name][1], test_labels),
                "validation_nll": metrics.nll(pool[name][0], validation_labels),
                "own_temperature": own[name],
                "validation_gain": gains[index],
                "test_gain": test_gains[index],
                "swap_gain": None if swap is None else swap[0],
                "swap_for": None if swap is None else rest[swap[1]],
                **knows[index],
            }
        )
    return rows


def _variants(
    validation: np.ndarray,
    validation_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    weights: np.ndarray,
) -> list[dict[str, Any]]:
    """The ensemble with each calibration method: fitted on validation data, measured on test data."""
    rows = []
    for method in CALIBRATIONS:
        fitted = calibrate(method, validation, weights, validation_labels)
        rows.append(
            {
                "method": method,
                "temperature": fitted.ensemble,
                "member_temperatures": list(fitted.members),
                "validation_nll": metrics.nll(combine(validation, weights, fitted), validation_labels),
                **metrics.summary(combine(test, weights, fitted), test_labels),
            }
        )
    return rows


def _top_k(models: dict[str, np.ndarray], labels: np.ndarray) -> list[dict[str, Any]]:
    """Top-k accuracy of each model; nothing for two classes."""
    rows = {name: metrics.top_k(probs, labels) for name, probs in models.items()}
    return [{"name": name, **found} for name, found in rows.items() if found]


def _prediction_sets(
    validation: np.ndarray, validation_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray
) -> dict[str, Any]:
    """The prediction sets of the ensemble, fitted as the select stage has, and what they hold on test data."""
    fitted = fit_conformal(validation, validation_labels)
    return {"score": SCORE, "images": fitted.images, "rows": measure(fitted, test, test_labels)}


def _classes(ensemble: np.ndarray, best: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Test images of each class, how many of them are right, and which classes the ensemble takes for which."""
    counts = metrics.confusion(ensemble, labels)
    pairs = np.argwhere(counts * (1 - np.eye(len(counts), dtype=int)))  # few, even with many classes
    confused = [[int(label), int(answer), int(counts[label, answer])] for label, answer in pairs]
    return {
        "images": counts.sum(axis=1).tolist(),
        "right": counts.diagonal().tolist(),
        "best_member_right": metrics.confusion(best, labels).diagonal().tolist(),
        "confused": sorted(confused, key=lambda row: -row[2]),
    }


def _diversity(test: np.ndarray, labels: np.ndarray, shared_edges: list[int | None]) -> dict[str, Any]:
    pairwise = metrics.pairwise_disagreement(test)
    off_diagonal = pairwise[~np.eye(len(test), dtype=bool)]
    return {
        "disagreement": float(off_diagonal.mean()) if off_diagonal.size else 0.0,
        "pairwise": pairwise.tolist(),
        "oracle_accuracy": metrics.oracle_accuracy(test, labels),
        "base_shared_edges": shared_edges,
    }


def _uncertainty(
    test: np.ndarray, weights: np.ndarray, calibrated: np.ndarray, best: np.ndarray, labels: np.ndarray
) -> dict[str, Any]:
    """Mean entropies of the members' mixture, over all test examples, right ones and wrong ones."""
    split = uncertainty.entropy_split(test, weights)
    right = calibrated.argmax(axis=1) == labels
    rows = []
    for name, kept in (("all", np.ones_like(right)), ("right", right), ("wrong", ~right)):
        means = {part: float(values[kept].mean()) if kept.any() else None for part, values in split._asdict().items()}
        rows.append({"examples": name, "count": int(kept.sum()), **means})
    excess = {"ensemble": calibrated, "best_member": best}
    return {
        "rows": rows,
        "excess_aurc": {name: metrics.aurc(probs, labels, excess=True) for name, probs in excess.items()},
    }


def _candidate(
    candidate: Candidate, trial: dict[str, Any] | None, pool: Predictions, members: list[str], labels: np.ndarray
) -> dict[str, Any]:
    """Row of one candidate: trained, stopped before its end, or failed."""
    record = candidate.to_json()
    shown = ("id", "lam", "shared_edges", "source", "supernet_nll", "known")
    row = {key: record[key] for key in shown if key in record}
    if trial is not None and trial.get("status") == "stopped":
        return {**row, **{key: trial[key] for key in ("status", "epoch", "validation", "seconds", "parameters")}}
    if candidate.id not in pool or trial is None:
        return {**row, "status": "failed", "error": (trial or {}).get("error", "not trained")}
    return {
        **row,
        "status": "trained",
        "is_member": candidate.id in members,
        "test": metrics.summary(pool[candidate.id][1], labels),
        "validation": trial["validation"],
        "seconds": trial["seconds"],
        **{key: trial[key] for key in ("parameters", "flops", "latency_ms") if key in trial},
    }


def _calibrated(pair: list[np.ndarray], temperature: float, labels: np.ndarray) -> dict[str, Any]:
    """The best member, calibrated alone: what calibration gives without an ensemble."""
    return {"name": "best member, calibrated", **metrics.summary(apply_temperature(pair[1], temperature), labels)}


def _reliability(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, list[float | None]]:
    """Reliability diagram as plain data, None for empty bins."""
    table = metrics.reliability(probabilities, labels)
    return {
        "confidence": [None if np.isnan(value) else float(value) for value in table.confidence],
        "accuracy": [None if np.isnan(value) else float(value) for value in table.accuracy],
        "count": [int(value) for value in table.count],
    }


def _baselines(
    pool: Predictions, labels: np.ndarray, size: int, candidates: Sequence[Candidate], seed: int
) -> tuple[list[dict[str, Any]], dict[str, dict[str, FloatArray]]]:
    """Baselines from the trained pool: its base alone, all of it averaged, and the mean over subsets of ``size``.

    Returns:
        Metrics of each, and accuracy and NLL per image, by the same names.
    """
    test = {name: pair[1].astype(np.float64) for name, pair in pool.items()}
    models: dict[str, list[np.ndarray]] = {}
    base = next((one.id for one in candidates if one.source == "base" and one.id in test), None)
    if base is not None:
        models["base architecture alone"] = [test[base]]
    models[f"all {len(test)} candidates averaged"] = [np.mean(list(test.values()), axis=0)]
    names = sorted(test)
    if comb(len(names), size) <= RANDOM_SUBSETS:
        subsets = [list(subset) for subset in combinations(names, size)]
    else:
        generator = np.random.default_rng(derive_seed(seed, Purpose.RANDOM_SUBSETS))
        subsets = [list(generator.choice(names, size, replace=False)) for _ in range(RANDOM_SUBSETS)]
    models[f"any {size} of the candidates (mean of {len(subsets)} choices)"] = [
        np.mean([test[name] for name in subset], axis=0) for subset in subsets
    ]
    rows = []
    for name, averages in models.items():
        found = [metrics.summary(average, labels) for average in averages]
        rows.append({"name": name, **{key: float(np.mean([one[key] for one in found])) for key in found[0]}})
    scores = {name: mean_scores([image_scores(one, labels) for one in found]) for name, found in models.items()}
    return rows, scores
