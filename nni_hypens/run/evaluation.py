"""Measure an ensemble, its members and simple baselines on test data, which no earlier stage looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import entropy

from nni_hypens import metrics
from nni_hypens.ensemble.calibration import (
    Combination,
    apply_temperature,
    calibrate,
    combine,
    fit_temperature,
)
from nni_hypens.ensemble.conformal import SCORE, fit_conformal, measure
from nni_hypens.ensemble.names import CALIBRATIONS, POOLINGS
from nni_hypens.metrics import uncertainty
from nni_hypens.metrics.diversity import contributions, mean_disagreements
from nni_hypens.metrics.statistics import image_scores, paired_intervals
from nni_hypens.run.baselines import OtherSize, Predictions, baselines
from nni_hypens.run.candidate import Candidate
from nni_hypens.run.rankings import known_ranking, supernet_ranking
from nni_hypens.run.variety import variety

MOST_PAIRED = 100
"""Most members for which `results.json` has the disagreement of each pair."""


def evaluate_pool(
    pool: Predictions,
    validation_labels: np.ndarray,
    test_labels: np.ndarray,
    members: list[tuple[str, float]],
    combination: Combination,
    candidates: Sequence[Candidate],
    trials: dict[str, dict[str, Any] | None],
    calibration: str = "ensemble",
    seed: int = 0,
    sizes: Sequence[OtherSize] = (),
    alone: Alone | None = None,
) -> dict[str, Any]:
    """The measured part of ``results.json``.

    The best member is the one with the lowest *validation* NLL: test data only reports.

    Args:
        pool: id -> [validation ``Nv x C``, test ``Nt x C``] probabilities of each trained candidate.
        validation_labels: ``Nv``.
        test_labels: ``Nt``.
        members: (id, weight) of each member.
        combination: How the members are combined.
        candidates: The content of ``candidates.json``.
        trials: id -> the content of its ``metrics.json``, or None.
        calibration: The method that the temperatures were fitted by, one of `CALIBRATIONS`.
        seed: The run seed, for the bootstrap and for random subsets.
        sizes: Ensembles of other sizes to compare with this one, from `other_sizes`.
        alone: The candidates by themselves, from `candidates_alone`; None to fit them here.
    """
    alone = alone or candidates_alone(pool, validation_labels, calibration)
    own, ids = alone.temperatures, [name for name, _ in members]
    by_id = {candidate.id: candidate for candidate in candidates}
    weights = np.array([weight for _, weight in members])
    validation, test = (np.stack([pool[name][part] for name in ids]).astype(np.float64) for part in (0, 1))
    calibrated = combine(test, weights, combination)
    plain = combine(test, weights, Combination(1.0, (1.0,) * len(ids), combination.pooling))
    validation_nll = {name: metrics.nll(pool[name][0], validation_labels) for name in pool}
    best = min(ids, key=lambda name: (validation_nll[name], name))
    known = known_ranking(candidates, validation_nll)
    models = {
        "ensemble": calibrated,
        "ensemble before temperature": plain,
        **{f"best member ({name})" if name == best else f"member {name}": pool[name][1] for name in ids},
        "best member, calibrated": apply_temperature(pool[best][1], own[best]),
        **{size.row["name"]: size.test for size in sizes},
    }
    base = next((one.id for one in candidates if one.source == "base" and one.id in pool), None)
    labels, shares = (validation_labels, test_labels), np.bincount(test_labels) / len(test_labels)
    rows, scores = baselines(pool, labels, len(set(ids)), base, calibration, combination.pooling, seed)
    scores = {name: image_scores(probs, test_labels) for name, probs in models.items()} | scores
    return {
        "ensemble": metrics.summary(calibrated, test_labels),
        "chance": {"accuracy": float(shares.max()), "nll": float(entropy(shares))},
        "ensemble_uncalibrated": metrics.summary(plain, test_labels),
        "temperature": combination.temperature,
        "best_member": {"id": best, **metrics.summary(pool[best][1], test_labels)},
        "members": _members(pool, validation_labels, test_labels, members, by_id, alone),
        "sizes": [{**size.row, **metrics.summary(size.test, test_labels)} for size in sizes],
        "candidates": [_candidate(one, trials.get(one.id), pool, set(ids), test_labels) for one in candidates],
        "ranking": supernet_ranking(candidates, validation_nll),
        "top_k": _top_k(models, test_labels),
        "prediction_sets": _prediction_sets(
            combine(validation, weights, combination), validation_labels, calibrated, test_labels
        ),
        "classes": _classes(calibrated, pool[best][1], test_labels),
        "variety": variety(pool, validation_labels, candidates, own),
        "diversity": _diversity(test, test_labels, [by_id[name].shared_edges for name in ids]),
        "reliability": {
            "ensemble": _reliability(calibrated, test_labels),
            "best_member": _reliability(pool[best][1], test_labels),
        },
        "calibration": {
            "method": calibration,
            "pooling": combination.pooling,
            "member_temperatures": list(combination.members),
            "rows": _variants(validation, validation_labels, test, test_labels, weights),
        },
        "uncertainty": _uncertainty(test, weights, calibrated, pool[best][1], test_labels),
        "baselines": [_calibrated(pool[best], own[best], test_labels), *rows],
        "intervals": paired_intervals(scores, seed),
        **({} if known is None else {"known_results": known}),
    }


class Alone(NamedTuple):
    """The candidates by themselves.

    Attributes:
        temperatures: id -> the temperature of the candidate alone.
        compared: The pool as selection compares it: each candidate with its own temperature on both parts, unless the
            run uses none.
    """

    temperatures: dict[str, float]
    compared: Predictions


def candidates_alone(pool: Predictions, validation_labels: np.ndarray, calibration: str) -> Alone:
    """Fit the temperature of each candidate; once, because with many candidates it takes most of the evaluation."""
    own = {name: fit_temperature(parts[0], validation_labels) for name, parts in pool.items()}
    if calibration == "none":
        return Alone(own, pool)
    return Alone(own, {name: [apply_temperature(part, own[name]) for part in parts] for name, parts in pool.items()})


def _members(
    pool: Predictions,
    validation_labels: np.ndarray,
    test_labels: np.ndarray,
    members: list[tuple[str, float]],
    by_id: Mapping[str, Candidate],
    alone: Alone,
) -> list[dict[str, Any]]:
    """Row of each member: its metrics, and what it contributes to the ensemble.

    Gains are those of the average of probabilities that selection compares.
    """
    ids, weights = [name for name, _ in members], np.array([weight for _, weight in members])
    own, compared = alone
    chosen = set(ids)
    rest = [name for name in pool if name not in chosen]
    validation, test = (np.stack([compared[name][part] for name in ids]).astype(np.float64) for part in (0, 1))
    others = np.stack([compared[name][0] for name in rest]).astype(np.float64) if rest else np.empty(0)
    gains = uncertainty.marginal_gains(validation, validation_labels, weights)
    test_gains = uncertainty.marginal_gains(test, test_labels, weights)
    swaps = uncertainty.swap_gains(validation, others, validation_labels, weights)
    knows = contributions(test, test_labels)
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
    """The ensemble with each pooling and calibration: fitted on validation data, measured on test data."""
    rows = []
    for pooling, method in product(POOLINGS, CALIBRATIONS):
        fitted = calibrate(method, validation, weights, validation_labels, pooling)
        rows.append(
            {
                "pooling": pooling,
                "method": method,
                "temperature": fitted.temperature,
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
    classes, answers = ensemble.shape[1], ensemble.argmax(axis=1)
    wrong = np.stack([labels, answers], axis=1)[answers != labels]
    pairs, counts = np.unique(wrong, axis=0, return_counts=True)  # a table of all pairs grows with the classes' square
    confused = [[*pair, count] for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True)]
    rights = [labels[answers == labels], labels[best.argmax(axis=1) == labels]]
    images, right, best_right = (np.bincount(found, minlength=classes).tolist() for found in (labels, *rights))
    return {
        "images": images,
        "right": right,
        "best_member_right": best_right,
        "confused": sorted(confused, key=lambda row: -row[2]),
    }


def _diversity(test: np.ndarray, labels: np.ndarray, shared_edges: list[int | None]) -> dict[str, Any]:
    """How much the members differ; the table of all pairs only for few members, as it grows with their square."""
    found: dict[str, Any]
    if len(test) <= MOST_PAIRED:
        pairwise = metrics.pairwise_disagreement(test)
        off_diagonal = pairwise[~np.eye(len(test), dtype=bool)]
        found = {
            "disagreement": float(off_diagonal.mean()) if off_diagonal.size else 0.0,
            "pairwise": pairwise.tolist(),
        }
    else:
        found = {"disagreement": float(mean_disagreements(test.argmax(axis=2)).mean())}
    return {
        **found,
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
    candidate: Candidate, trial: dict[str, Any] | None, pool: Predictions, members: Set[str], labels: np.ndarray
) -> dict[str, Any]:
    """Row of one candidate: trained or failed."""
    record = candidate.to_json()
    shown = ("id", "lam", "shared_edges", "source", "supernet_nll", "known")
    row = {key: record[key] for key in shown if key in record}
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
