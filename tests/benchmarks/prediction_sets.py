"""What it costs prediction sets that validation images also choose the members and fit the temperature.

    python -m tests.benchmarks.prediction_sets [--out FILE.json]

Ten small networks of scikit-learn are trained on noisy digits, of which they get half to four fifths right. The other
images are split at random, many times: validation images choose three members and fit the temperature and the sets;
other images of the same number, which nothing else has seen, fit the sets of the same ensemble again; the rest measure
both. Half a minute on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from nni_hypens.ensemble.calibration import calibrate, combine
from nni_hypens.ensemble.conformal import fit_conformal
from nni_hypens.selection import select
from nni_hypens.utils.files import write_json
from nni_hypens.utils.runtime import versions

OUT = Path(__file__).parent / "results" / "prediction_sets.json"
NETWORKS, MEMBERS, TRAIN, NOISE = 10, 3, 500, 5.0
SIZES, LEVELS, SPLITS = (50, 100, 250), (0.8, 0.9, 0.95), 300


def train() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities `P x N x C` of the networks for images that they were not trained on, and labels `N`."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    rng = np.random.default_rng(0)
    images, labels = load_digits(return_X_y=True)
    order = rng.permutation(len(labels))
    noisy = (images + NOISE * rng.normal(size=images.shape))[order] / 16
    labels = labels[order]
    networks = [
        MLPClassifier((16 * (1 + seed % 4),), random_state=seed, max_iter=60).fit(noisy[:TRAIN], labels[:TRAIN])
        for seed in range(NETWORKS)
    ]
    return np.stack([one.predict_proba(noisy[TRAIN:]) for one in networks]), labels[TRAIN:].astype(np.int64)


def measure(probs: np.ndarray, labels: np.ndarray, size: int) -> list[dict[str, Any]]:
    """One row for each level: mean coverage on test images, and its standard error over splits."""
    found: dict[float, list[list[float]]] = {level: [] for level in LEVELS}
    for split in range(SPLITS):
        order = np.random.default_rng([split, size]).permutation(len(labels))
        validation, fresh, test = order[:size], order[size : 2 * size], order[2 * size :]
        chosen = select("exhaustive", probs[:, validation], labels[validation], size=MEMBERS)
        members = probs[list(chosen.members)]
        # "linear" is what the recorded results were measured with
        fitted = calibrate("ensemble", members[:, validation], chosen.weights, labels[validation], "linear")
        ensemble = combine(members, chosen.weights, fitted)
        rows = np.arange(len(test)), labels[test]
        for level in LEVELS:
            sets = [
                fit_conformal(ensemble[part], labels[part]).sets(ensemble[test], level) for part in (validation, fresh)
            ]
            found[level].append([float(one[rows].mean()) for one in sets])
    result = []
    for level, shares in found.items():
        same, fresh = np.mean(shares, axis=0)
        difference = np.subtract(*np.transpose(shares))
        error = float(difference.std(ddof=1) / np.sqrt(SPLITS))
        row = {"images": size, "coverage": level, "same": same, "fresh": fresh, "difference": difference.mean()}
        result.append({**{key: float(value) for key, value in row.items()}, "images": size, "error": error})
    return result


def table(results: dict[str, Any]) -> str:
    """The table in the guide."""
    lines = ["| images | asked for | same images | fresh images | difference |", "|---|---|---|---|---|"]
    for row in results["rows"]:
        cells = [f"{row[name]:.1%}" for name in ("same", "fresh")]
        difference = f"{100 * row['difference']:+.1f} ± {100 * row['error']:.1f} points"
        lines.append(f"| {row['images']} | {row['coverage']:.0%} | {' | '.join(cells)} | {difference} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    probs, labels = train()
    accuracies = (probs.argmax(2) == labels).mean(1)
    rows = [row for size in SIZES for row in measure(probs, labels, size)]
    results = {
        "networks": NETWORKS, "members": MEMBERS, "splits": SPLITS, "accuracies": accuracies.tolist(), "rows": rows,
        "versions": versions(),
    }  # fmt: skip
    write_json(arguments.out, results)
    print(f"accuracy of the networks: {accuracies.min():.3f} to {accuracies.max():.3f}\n{table(results)}")


if __name__ == "__main__":
    main()
