"""Selection at full size: 200 candidates, 10,000 examples, 100 classes, single precision.

    python tests/benchmarks/selection.py [--examples 10000] [--sample 34220] [--out FILE.json]

The pool is drawn: true logits, noise that all candidates share, noise of each, and a quality of each. Choices among all
ensembles of three out of sixty are compared with two loops in plain numpy:

- *probabilities*: the mean of the three `N x C` arrays, then the NLL; timed on `--sample` of the combinations, evenly
  spaced, and multiplied up when these are not all.
- *true class*: the same over the `N` probabilities of the true class only, all combinations.

Greedy choice of ten members is compared with deephyper's GreedySelector on the same predictions, when it is installed:
with and without replacement, from the single best, for as many steps and without early stopping. Everything runs one
after the other in one process with one thread; CPU seconds of it, so the ratios are of one run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np

from nni_hypens import selection
from nni_hypens.selection.additive import NllScorer

OUT = Path(__file__).parent / "results" / "selection.json"
POOL, SMALL, CLASSES, MEMBERS, TRIPLE = 200, 60, 100, 10, 3


def make_pool(examples: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities `200 x N x 100` and labels `N`."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, examples)
    shared = rng.standard_normal((examples, CLASSES), dtype=np.float32) * 1.5
    shared[np.arange(examples), labels] += 7
    probs = np.empty((POOL, examples, CLASSES), dtype=np.float32)
    for row in probs:
        logits = shared + rng.uniform(1.0, 2.0) * rng.standard_normal(shared.shape, dtype=np.float32)
        row[:] = np.exp(logits - logits.max(axis=1, keepdims=True))
        row /= row.sum(axis=1, keepdims=True)
    return probs, labels


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds and result."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def nll(mean: np.ndarray, labels: np.ndarray) -> float:
    """The plain formula."""
    return float(-np.log(np.maximum(mean[np.arange(len(labels)), labels], 1e-12)).mean())


def loop_over_probabilities(probs: np.ndarray, labels: np.ndarray, combos: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The best of some combinations, the plain way."""
    return min(combos, key=lambda combo: nll(probs[list(combo)].mean(axis=0), labels))


def loop_over_true_class(probs: np.ndarray, labels: np.ndarray, combos: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The same with the knowledge that the NLL reads one class."""
    rows = probs[:, np.arange(len(labels)), labels].astype(np.float64)
    return min(combos, key=lambda combo: -np.log(np.maximum(rows[list(combo)].mean(axis=0), 1e-12)).mean())


def exhaustive(probs: np.ndarray, labels: np.ndarray, sample: int) -> dict[str, Any]:
    """All triples of sixty, ours and two loops."""
    small = probs[:SMALL]
    combos = list(combinations(range(SMALL), TRIPLE))
    row: dict[str, Any] = {"combinations": len(combos)}
    for objective in selection.OBJECTIVES:
        seconds, found = timed(lambda objective=objective: selection.exhaustive(small, labels, TRIPLE, objective))
        row[f"{objective}_s"] = seconds
        print(f"exhaustive {objective}: {seconds:.2f} s", flush=True)
        if objective == "nll":
            row["indices"], row["nll"] = list(found.indices), found.score
    NllScorer.bounded = False  # as in a pool whose ensembles are all about as good
    row["nll_all_scored_s"], found = timed(lambda: selection.exhaustive(small, labels, TRIPLE))
    NllScorer.bounded = True
    assert list(found.indices) == row["indices"]
    seconds, best = timed(lambda: loop_over_true_class(small, labels, combos))
    assert list(best) == row["indices"]
    row["loop_true_class_s"], row["vs_loop_true_class"] = seconds, seconds / row["nll_s"]
    row["all_scored_vs_loop_true_class"] = seconds / row["nll_all_scored_s"]
    some = combos[:: max(1, len(combos) // sample)]
    seconds, best = timed(lambda: loop_over_probabilities(small, labels, some))
    assert len(some) < len(combos) or list(best) == row["indices"]
    row["loop_sample"] = len(some)
    row["loop_probabilities_s"] = seconds * len(combos) / len(some)
    row["vs_loop_probabilities"] = row["loop_probabilities_s"] / row["nll_s"]
    return row


def forward(probs: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    """Ten of two hundred, by every method that is made for it."""
    rows = []
    calls: list[tuple[str, dict[str, Any]]] = [
        ("greedy", {}),
        ("greedy_with_replacement", {}),
        ("beam", {"width": 10}),
        ("top_k", {}),
        ("diversity_weighted", {}),
    ]
    for method, options in calls:
        for objective in selection.OBJECTIVES:
            seconds, found = timed(
                lambda m=method, o=objective, x=options: selection.select(m, probs, labels, MEMBERS, o, **x)
            )
            rows.append({"method": method, "objective": objective, "seconds": seconds, "score": found.score, **options})
            print(f"{method} {objective}: {seconds:.2f} s, {found.score:.5f}", flush=True)
    return rows


def deephyper(probs: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]] | None:
    """deephyper's greedy selector and ours on the same predictions, both scored by the plain formula."""
    try:
        from deephyper.ensemble.aggregator import MixedCategoricalAggregator
        from deephyper.ensemble.loss import CategoricalCrossEntropy
        from deephyper.ensemble.selector import GreedySelector
    except ImportError:
        return None
    rows = []
    for repeat in (False, True):
        # their first member is given, so nine more steps; the limit on different members is never in the way
        other = GreedySelector(
            CategoricalCrossEntropy(), MixedCategoricalAggregator(), k=MEMBERS + 1, k_init=1, max_it=MEMBERS - 1,
            with_replacement=repeat, early_stopping=False,
        )  # fmt: skip
        seconds, (indices, weights) = timed(lambda other=other: other.select(labels, list(probs)))
        score = nll(np.tensordot(np.asarray(weights), probs[indices].astype(np.float64), axes=1), labels)
        own_seconds, own = timed(lambda repeat=repeat: selection.greedy(probs, labels, MEMBERS, repeat))
        rows.append(
            {
                "with_replacement": repeat,
                "deephyper_s": seconds,
                "ours_s": own_seconds,
                "ratio": seconds / own_seconds,
                "deephyper_nll": score,
                "ours_nll": own.score,
                "same_members": sorted(indices) == sorted(own.members),
            }
        )
        print(rows[-1], flush=True)
    return rows


def table(results: dict[str, Any]) -> str:
    """The rows of the README: CPU seconds of every method by objective."""
    lines = ["| choice, CPU seconds | NLL | Brier score | error |", "|---|---|---|---|"]
    found = results["exhaustive"]
    cells = [f"{found[f'{objective}_s']:.2f}" for objective in selection.OBJECTIVES]
    lines.append(f"| exhaustive, {TRIPLE} of {SMALL} | {' | '.join(cells)} |")
    for method in dict.fromkeys(row["method"] for row in results["forward"]):
        rows = {row["objective"]: row for row in results["forward"] if row["method"] == method}
        cells = [f"{rows[objective]['seconds']:.2f}" for objective in selection.OBJECTIVES]
        width = f", width {rows['nll']['width']}" if "width" in rows["nll"] else ""
        lines.append(f"| {method}{width}, {results['members']} of {POOL} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--sample", type=int, default=math.comb(SMALL, TRIPLE))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--only-exhaustive", action="store_true", help="keep the other parts of the file")
    arguments = parser.parse_args()
    probs, labels = make_pool(arguments.examples)
    if arguments.only_exhaustive:
        results = json.loads(arguments.out.read_text())
        results["exhaustive"] = exhaustive(probs, labels, arguments.sample)
        arguments.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        return
    results = {
        "pool": {
            "candidates": POOL,
            "examples": arguments.examples,
            "classes": CLASSES,
            "dtype": str(probs.dtype),
            "errors": [float((row.argmax(axis=1) != labels).mean()) for row in (probs[0], probs[1], probs[2])],
        },
        "members": MEMBERS,
        "exhaustive": exhaustive(probs, labels, arguments.sample),
        "forward": forward(probs, labels),
        "deephyper": deephyper(probs, labels),
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
    }
    arguments.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
