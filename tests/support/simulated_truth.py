"""Networks of a space, simulated: the better an architecture, the surer they are of the true class."""

from __future__ import annotations

import numpy as np

from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.draws import random_architectures

LABELS = np.arange(120) % 4
VALUE = {"sep_conv_5x5": -0.3, "sep_conv_3x3": -0.2, "dil_conv_5x5": -0.1, "skip_connect": 0.2, "avg_pool_3x3": 0.3}
"""Of an operation, in the simulated truth."""


def truth(structure: EdgeStructure, sample: dict) -> float:
    """Logit of the true class in a simulated network of an architecture."""
    return 1.5 - sum(VALUE.get(edge[2], 0.0) for edge in structure.edges(sample))


def train(structure: EdgeStructure, sample: dict, seed: int) -> np.ndarray:
    """Validation probabilities of a simulated network: the better the architecture, the surer of the true class."""
    text = f"{structure.key(sample)} {seed}"
    generator = np.random.default_rng([*text.encode()])
    logits = generator.normal(size=(len(LABELS), 4))
    logits[np.arange(len(LABELS)), LABELS] += truth(structure, sample)
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def pool(structure: EdgeStructure, n: int, seed: int = 0) -> tuple[list[dict], np.ndarray]:
    samples = random_architectures(structure, n, seed)
    return samples, np.stack([train(structure, sample, 0) for sample in samples])
