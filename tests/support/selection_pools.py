"""Random pools of predictions, and the objectives in plain Python."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import strategies as st

SEEDS = st.integers(0, 2**32 - 1)


def pool(seed: int, p: int = 6, n: int = 30, c: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(c, 0.7), size=(p, n)), rng.integers(0, c, n)


def plain_score(mean: np.ndarray, labels: np.ndarray, objective: str) -> float:
    if objective == "nll":
        return float(np.mean([-np.log(max(row[label], 1e-12)) for row, label in zip(mean, labels, strict=True)]))
    if objective == "brier":
        return float(
            np.mean([sum((row - np.eye(len(row))[label]) ** 2) for row, label in zip(mean, labels, strict=True)])
        )
    return float(np.mean([np.argmax(row) != label for row, label in zip(mean, labels, strict=True)]))


def plain_disagreement(probs: np.ndarray, members: tuple[int, ...]) -> float:
    top = probs.argmax(axis=2)
    pairs = [(top[i] != top[j]).mean() for i, j in combinations(members, 2)]
    return float(np.mean(pairs)) if pairs else 0.0


PROBS, LABELS = pool(0)
