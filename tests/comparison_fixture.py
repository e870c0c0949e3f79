"""Workbenches for tests of comparisons: a real one that is tiny, and one whose networks are simulated."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from nni_hypens import ImageData
from nni_hypens.architecture import Sample
from nni_hypens.config import RunConfig
from nni_hypens.evaluators import image_evaluator
from nni_hypens.plan import Plan
from nni_hypens.workbench import Workbench

SETTINGS = RunConfig(
    data="digits", train_size=100, validation_size=100, test_size=100, epochs=1, search_epochs=2, warmup_epochs=1,
    base_epochs=0, space_args={"channels": 2},
)  # fmt: skip


def make_plan(config: RunConfig) -> Plan:
    """A plan as the command line makes it."""
    data = ImageData(
        config.data,
        train_size=config.train_size,
        validation_size=int(config.validation_size),
        test_size=config.test_size,
        batch_size=config.batch_size,
        split_seed=config.seed,
    )
    space = config.build_space(data.input_spec["channels"], data.num_classes)
    strategy = {"warmup_epochs": config.warmup_epochs, "base_epochs": config.base_epochs}
    training = image_evaluator(data, data.num_classes, config.epochs)
    search = image_evaluator(data, data.num_classes, config.search_epochs)
    return Plan(space, training, search, data, {}, seed=config.seed, strategy=strategy)


class SimulatedBench(Workbench):
    """Networks cost a second each, or what ``costs`` says; their probabilities are noise around the true class, less
    of it for good architectures. Every training is noted in ``begun``."""

    def __init__(
        self, folder: Path, seed: int = 0, diverging: Collection[int] = (), costs: tuple[float, ...] = (1.0,)
    ) -> None:
        super().__init__(make_plan(RunConfig(**{**SETTINGS.to_mapping(), "seed": seed})), folder)
        self.diverging, self.costs = diverging, costs
        self.begun: list[tuple[object, int]] = []

    def _train(self, sample: Sample, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
        turn = len(self.begun)
        self.begun.append((self.structure.key(sample), seed))
        validation = self.simulated(sample, seed, self.plan.data.labels("validation"), 0)
        test = self.simulated(sample, seed, self.plan.data.labels("test"), 1)
        if turn in self.diverging:
            validation, test = np.full_like(validation, np.nan), np.full_like(test, np.nan)
        return validation, test, self.costs[turn % len(self.costs)]

    def simulated(self, sample: Sample, seed: int, labels: np.ndarray, split: int) -> np.ndarray:
        """``N x 10`` probabilities."""
        own = np.random.default_rng(_number(str(self.structure.key(sample))))
        level = own.uniform(1.0, 3.0)  # how good the architecture is
        noise = np.random.default_rng([_number(str(self.structure.key(sample))), seed, split])
        logits = noise.normal(size=(len(labels), 10))
        logits[np.arange(len(labels)), labels] += level
        probs = np.exp(logits)
        return (probs / probs.sum(axis=1, keepdims=True)).astype(np.float32)


def _number(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def keys(bench: Workbench, networks: list[Any]) -> list[object]:
    """Architectures of networks, as keys."""
    return [bench.structure.key(network.sample) for network in networks]
