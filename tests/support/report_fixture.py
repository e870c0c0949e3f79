"""A run folder with made-up but consistent content, for the tests of the report."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from nni_hypens.ensemble.conformal import fit_conformal, measure
from nni_hypens.metrics.diversity import differing_answers
from nni_hypens.metrics.scores import confusion, top_k
from nni_hypens.metrics.statistics import image_scores, paired_intervals
from nni_hypens.run.examples import collect_examples

_OPERATIONS = ["sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5", "max_pool_3x3", "avg_pool_3x3", "skip"]
_N_VALIDATION, _N_TEST, _N_BINS = 120, 200, 15


def one_cell_edges(rng: np.random.Generator) -> list[list[Any]]:
    """Four nodes that each choose one of the cell's input and the nodes before."""
    return [[f"node_{i}", int(rng.integers(i + 1)), str(rng.choice(_OPERATIONS))] for i in range(4)]


def darts_edges(rng: np.random.Generator) -> list[list[Any]]:
    """Two cells of four nodes (2 to 5) with two edges each, and one choice outside the cells."""
    edges = [
        [f"{cell}/{node}", int(source), str(rng.choice(_OPERATIONS))]
        for cell in ("normal", "reduce")
        for node in range(2, 6)
        for source in sorted(rng.choice(node, size=2, replace=False))
    ]
    return [*edges, ["stem", None, str(rng.choice(["conv_3x3", "conv_5x5"]))]]


def _metrics(probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    confidence, right = probs.max(1), probs.argmax(1) == labels
    bins = np.minimum((confidence * _N_BINS).astype(int), _N_BINS - 1)
    gaps = [abs((right[bins == b] - confidence[bins == b]).sum()) for b in range(_N_BINS)]
    return {
        "accuracy": float(right.mean()),
        "nll": float(-np.log(np.clip(probs[np.arange(len(labels)), labels], 1e-12, 1)).mean()),
        "ece": float(sum(gaps) / len(labels)),
        "brier": float(((probs - np.eye(probs.shape[1])[labels]) ** 2).sum(1).mean()),
        "aurc": float((np.cumsum(~right[np.argsort(-confidence)]) / np.arange(1, len(labels) + 1)).mean()),
    }


def _reliability(probs: np.ndarray, labels: np.ndarray) -> dict[str, list[Any]]:
    confidence, right = probs.max(1), probs.argmax(1) == labels
    bins = np.minimum((confidence * _N_BINS).astype(int), _N_BINS - 1)
    held = [bins == b for b in range(_N_BINS)]
    return {
        "confidence": [float(confidence[h].mean()) if h.any() else None for h in held],
        "accuracy": [float(right[h].mean()) if h.any() else None for h in held],
        "count": [int(h.sum()) for h in held],
    }


def _by_class(ensemble: np.ndarray, best: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    counts = confusion(ensemble, labels)
    confused = [[a, b, int(counts[a, b])] for a, b in np.argwhere(counts).tolist() if a != b]
    return {
        "images": counts.sum(1).tolist(), "right": counts.diagonal().tolist(),
        "best_member_right": confusion(best, labels).diagonal().tolist(),
        "confused": sorted((row for row in confused if row[2]), key=lambda row: -row[2]),
    }  # fmt: skip


def _predict(rng: np.random.Generator, labels: np.ndarray, noise: np.ndarray, skill: float) -> np.ndarray:
    """Probabilities of a candidate whose mistakes are partly those of the others, by the common `noise`."""
    logits = 0.8 * noise + 0.6 * rng.normal(size=noise.shape) + skill * np.eye(noise.shape[1])[labels]
    probs = np.exp(3 * logits)
    return (probs / probs.sum(1, keepdims=True)).astype(np.float32)


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def _history_rows() -> list[dict[str, Any]]:
    rows = []
    for phase, epochs in (("warmup", 6), ("hypernetwork", 14)):
        for epoch in range(epochs):
            for step in range(2):
                late = epoch + (6 if phase == "hypernetwork" else 0)
                row = {"epoch": epoch, "step": 2 * late + step, "phase": phase, "loss": 2.3 * 0.88**late + 0.02 * step,
                       "accuracy": 1 - 0.9 * 0.88**late, "val_loss": 2.4 * 0.9**late, "seconds": 0.5}  # fmt: skip
                if phase == "hypernetwork":
                    row |= {"weight": 0.3 + 2.7 * epoch / 13, "temperature": 1 - 0.95 * epoch / 13,
                            "regularizer": 0.5 * 0.9**epoch, "dial_error": 1.2 * 0.9**epoch}  # fmt: skip
                rows.append(row)
    return rows


def _contribution(index: int, alone: bool) -> dict[str, Any]:
    """What a member gives; the second one of the fixture gives nothing."""
    return {
        "own_temperature": 0.9 + 0.1 * index, "validation_gain": None if alone else 0.02 - 0.03 * (index == 1),
        "test_gain": None if alone else 0.01, "swap_gain": 0.005 * (index + 1), "swap_for": "c000",
        "disagreement": None if alone else 0.1, "right_alone": None if alone else 3 + index,
        "wrong_alone": None if alone else index, "right_of_majority_wrong": None if alone else 4,
    }  # fmt: skip


def _measured(mean: np.ndarray, sharp: np.ndarray, truth: np.ndarray, members: int) -> dict[str, Any]:
    """The parts of results.json on calibration, entropy, corrupted images and out-of-distribution images."""
    entropy = {"total": 1.5, "aleatoric": 1.25, "epistemic": 0.25}
    own, ones = [0.9] * members, [1.0] * members
    variants = [("ensemble", 1 / 1.2, ones, sharp), ("members", 0.95, own, mean), ("none", 1.0, ones, mean)]
    levels = [("none", 0), *((name, level) for name in ("gaussian_noise", "jpeg") for level in range(1, 6))]
    models = {"ensemble": 0.0, "best member": 0.1, "best member, calibrated": 0.1}
    return {
        "calibration": {"method": "ensemble", "pooling": "log", "member_temperatures": ones, "rows": [
            {"pooling": pooling, "method": name, "temperature": t, "member_temperatures": each, "validation_nll": 0.3,
             **_metrics(probs, truth)} for pooling in ("log", "linear") for name, t, each, probs in variants]},
        "uncertainty": {"rows": [{"examples": name, "count": 50, **entropy} for name in ("all", "right", "wrong")],
                        "excess_aurc": {"ensemble": 0.01, "best_member": 0.02}},
        "ood": {"images": 100, "of": _N_TEST, "skipped": [{"name": "fashion_mnist", "reason": "it is not here"}],
                "sets": [{"name": "noise", "images": 100, **entropy, "auroc": {
                    "entropy": 0.875, "mutual_information": 0.75, "confidence": 0.8125,
                    "best_member_confidence": 0.5625}}]},
        "corruptions": {"images": 100, "of": _N_TEST, "rows": [
            {"corruption": name, "severity": level, "model": model, "accuracy": 0.95 - 0.1 * level - loss,
             "nll": 0.2 + 0.3 * level + loss, "ece": 0.1} for name, level in levels for model, loss in models.items()]},
    }  # fmt: skip


class _Data:
    """Test images as `collect_examples` asks for them."""

    input_spec = {"scale": 16}

    def __init__(self, labels: np.ndarray) -> None:
        self._labels = labels

    def labels(self, split: str) -> np.ndarray:
        return self._labels

    def raw(self, split: str, rows: np.ndarray) -> np.ndarray:
        return np.random.default_rng(0).integers(0, 17, size=(len(rows), 8, 8, 1)).astype(np.uint8)


_HISTORY_COLUMNS = (
    "epoch", "step", "phase", "loss", "accuracy", "val_loss", "regularizer", "weight", "temperature", "dial_error",
    "seconds",
)  # fmt: skip


def make_run_folder(
    root: Path, n_candidates: int = 8, n_pool: int = 16, n_members: int = 3, cells: str = "one_cell", seed: int = 0,
    n_classes: int = 10,
) -> Path:  # fmt: skip
    """Write a complete run folder: a base, candidates of which the last fails, members, history and baselines."""
    rng = np.random.default_rng(seed)
    make = {"one_cell": one_cell_edges, "darts": darts_edges}[cells]
    base = make(rng)
    labels = {part: rng.integers(n_classes, size=n) for part, n in (("val", _N_VALIDATION), ("test", _N_TEST))}
    noise = {part: rng.normal(size=(len(labels[part]), n_classes)) for part in labels}
    pool, predictions = [], {}
    for index in range(n_pool):
        lam = None if index == 0 else float(rng.uniform(-0.2, len(base) + 0.2))
        keep = len(base) if lam is None else int(np.clip(round(lam + rng.normal(scale=0.4)), 0, len(base)))
        kept = set(rng.permutation(len(base))[:keep].tolist())
        edges = [edge if i in kept else [*edge[:2], f"other_conv_{index}x{index}"] for i, edge in enumerate(base)]
        source = "base" if index == 0 else "mode" if index % 2 else "draw"
        pool.append({"id": f"c{index:03d}", "lam": lam, "shared_edges": keep, "source": source, "edges": edges,
                     "supernet_nll": None if index == 0 else float(rng.uniform(0.5, 1)),
                     "architecture": {f"op_{i}": edge[2] for i, edge in enumerate(edges)}})  # fmt: skip
    rows: list[dict[str, Any]] = []
    for index, item in enumerate(pool[:n_candidates]):
        folder = root / "candidates" / item["id"]
        if index == n_candidates - 1:
            failure = {"id": item["id"], "status": "failed", "error": "RuntimeError: loss is not finite"}
            _write_json(folder / "metrics.json", {**failure, "lam": item["lam"], "shared_edges": item["shared_edges"]})
            rows.append(failure)
            continue
        probs = {part: _predict(rng, labels[part], noise[part], 2.5 + 0.1 * min(index, 20)) for part in labels}
        predictions[item["id"]] = probs
        scores = {part: _metrics(probs[part], labels[part]) for part in labels}
        common = {key: item[key] for key in ("id", "lam", "shared_edges")}
        _write_json(folder / "metrics.json", {**common, "status": "trained", "validation": scores["val"], "seed": index,
                    "history": [{"epoch": 0, "accuracy": 0.5}], "seconds": 3.2})  # fmt: skip
        np.savez(folder / "predictions.npz", **probs)
        rows.append({**common, "is_member": False, "test": scores["test"], "validation": scores["val"]})
    trained = [row for row in rows if "test" in row]
    chosen = sorted(trained, key=lambda row: row["validation"]["nll"])[:n_members]
    for row in chosen:
        row["is_member"] = True
    stack = np.stack([predictions[row["id"]]["test"] for row in chosen]).astype(float)
    mean, truth = stack.mean(0), labels["test"]
    sharp = mean**1.2 / (mean**1.2).sum(1, keepdims=True)
    pairwise = differing_answers(stack.argmax(2)).tolist() if len(stack) <= 100 else []
    off = [pairwise[i][j] for i in range(len(pairwise)) for j in range(i)]
    ids = [row["id"] for row in chosen]
    models = {"ensemble": sharp, "ensemble before temperature": mean, f"best member ({ids[0]})": stack[0]}
    models |= {f"member {name}": probs for name, probs in zip(ids[1:], stack[1:], strict=True)}
    models["best member, calibrated"] = stack[0]
    intervals = paired_intervals({name: image_scores(probs, truth) for name, probs in models.items()}, seed, 500)
    results = {
        "ensemble": _metrics(sharp, truth), "ensemble_uncalibrated": _metrics(mean, truth), "temperature": 1 / 1.2,
        "best_member": {"id": chosen[0]["id"], **chosen[0]["test"]},
        "members": [{"id": row["id"], "weight": 1 / len(chosen), "lam": row["lam"], **row["test"],
                     "shared_edges": row["shared_edges"], "validation_nll": row["validation"]["nll"],
                     **_contribution(index, len(chosen) == 1)} for index, row in enumerate(chosen)],
        "candidates": rows,
        "top_k": [{"name": name, **top_k(probs, truth)} for name, probs in models.items()],
        "prediction_sets": {"score": "lac", "images": _N_VALIDATION,
                            "rows": measure(fit_conformal(sharp, truth), sharp, truth)},
        "diversity": {"disagreement": float(np.mean(off)) if off else 0.0, "pairwise": pairwise,
                      "oracle_accuracy": float((stack.argmax(2) == truth).any(0).mean()),
                      "base_shared_edges": [row["shared_edges"] for row in chosen]},
        "reliability": {"ensemble": _reliability(sharp, truth), "best_member": _reliability(stack[0], truth)},
        "selection": {"method": "greedy", "objective": "nll", "validation_nll": 0.31,
                      "costs": {"parameters": 12_345, "flops": 67_890, "latency_ms": 1.25}},
        "cost": {"base_search_s": 12.5, "search_s": 30.0, "training_s": 55.0, "selection_s": 2.5, "wall_s": 101.25},
        "data": {"source": "digits", "sizes": {"train": 1077, "validation": _N_VALIDATION, "test": _N_TEST},
                 "num_classes": n_classes, "class_names": [str(i) for i in range(n_classes)],
                 "input_spec": {"channels": 1, "height": 8, "width": 8, "scale": 16, "mean": [0.305], "std": [0.376]}},
        **_measured(mean, sharp, truth, len(chosen)), "intervals": intervals,
        "classes": _by_class(sharp, stack[0], truth),
        "made": {"date": "2026-07-27T12:30:00+02:00", "machine": {"system": "Linux", "cores": 2}},
        "n_edges": len(base), "baselines": [{"name": "deep ensemble", **_metrics(mean, truth)}],
    }  # fmt: skip
    config = {"data": "digits", "space": cells, "members": n_members, "candidates": n_candidates, "seed": seed,
              "epochs": 20, "versions": {"nni": "3.0", "torch": "2.14.1"},
              "command": f"nni-hypens run --data digits --space {cells} --seed {seed}"}  # fmt: skip
    (root / "search").mkdir(parents=True, exist_ok=True)
    (root / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    for name in ("ensemble", "selection"):
        _write_json(root / "ensemble" / f"{name}.json", {})
    _write_json(root / "search" / "base.json", pool[0]["architecture"])
    _write_json(root / "candidates.json", pool)
    _write_json(root / "results.json", results)
    _write_json(root / "examples.json", collect_examples(stack, sharp, _Data(truth), ids))  # type: ignore[arg-type]
    with open(root / "search" / "history.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _HISTORY_COLUMNS)
        writer.writeheader()
        writer.writerows(_history_rows())
    return root


def make_minimal_folder(root: Path) -> Path:
    """Write only the three required files, with only the values that the report cannot do without."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "config.yaml").write_text("data: digits\n", encoding="utf-8")
    _write_json(root / "candidates.json", [{"id": "only", "lam": None}])
    metrics = {"accuracy": 0.5, "nll": 1.25}
    _write_json(root / "results.json", {"ensemble": metrics, "best_member": metrics})
    return root
