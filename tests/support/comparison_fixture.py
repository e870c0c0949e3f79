"""Workbenches for tests of comparisons: a real one that is tiny, and one whose networks are simulated."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nni_hypens.compare.bench import Clock, Result, Workbench
from nni_hypens.compare.method import Trained
from nni_hypens.run import plan as plans
from nni_hypens.run.plan import Plan
from nni_hypens.run.settings import Settings
from nni_hypens.search.hypernetwork import Hypernetwork
from nni_hypens.search.sampler import ArchitectureSampler
from nni_hypens.space.architecture import Sample
from nni_hypens.space.cost import Cost, NetworkSize
from nni_hypens.space.draws import ChoiceLayout, random_architectures
from nni_hypens.trials.training import network_seed
from nni_hypens.utils.files import write_json

SETTINGS = Settings(
    data="digits", train_size=100, validation_size=100, test_size=100, epochs=1, search_epochs=2, warmup_epochs=1,
    base_epochs=0, batch_size=64, space_args={"channels": 2},
)  # fmt: skip
SEARCH_SECONDS = 3.0
"""Of each of NNI's searches, where they are simulated."""


def make_plan(config: Settings) -> Plan:
    """The plan of a cell."""
    return plans.make_plan(config, split_seed=config.seed)


class SimulatedBench(Workbench):
    """Networks cost a second each, or what ``costs`` says; their probabilities are noise around the true class, less
    of it for good architectures. Every training is noted in ``begun``."""

    def __init__(
        self, folder: Path, seed: int = 0, diverging: Collection[int] = (), costs: tuple[float, ...] = (1.0,)
    ) -> None:
        super().__init__(make_plan(Settings(**{**SETTINGS.to_mapping(), "seed": seed})), folder)
        self.diverging, self.costs = diverging, costs
        self.begun: list[tuple[object, int]] = []
        self.evaluators = lambda factor: self.plan.evaluator

    def _train(self, sample: Sample, seed: int, begin: Path | None, keep: Path) -> tuple[np.ndarray, np.ndarray, float]:
        assert begin is None or begin.exists()
        keep.parent.mkdir(parents=True, exist_ok=True)
        keep.touch()
        turn = len(self.begun)
        self.begun.append((self.structure.key(sample), seed))
        validation = self.simulated(sample, seed, self.plan.data.labels("validation"), 0)
        test = self.simulated(sample, seed, self.plan.data.labels("test"), 1)
        if turn in self.diverging:
            validation, test = np.full_like(validation, np.nan), np.full_like(test, np.nan)
        return validation, test, self.costs[turn % len(self.costs)]

    def _train_cycles(self, build: Any, seed: int, cycles: int = 1, members: int = 1) -> list[Result]:
        return [self._train_peer(seed, number) for number in range(cycles * members)]

    def training_seconds(self, build: Any) -> float:
        return 0.01 * build.args[0].width ** 2

    def _train_peer(self, seed: int, cycle: int) -> Result:
        turn = len(self.begun)
        self.begun.append(("peer", seed))
        noise = np.random.default_rng([seed, cycle])
        probs = [noise.dirichlet(np.ones(10), len(self.plan.data.labels(part))) for part in ("validation", "test")]
        validation, test = (one.astype(np.float32) for one in probs)
        return validation, test, self.costs[turn % len(self.costs)]

    @contextmanager
    def charged(self, name: str, clock: Clock) -> Iterator[None]:
        """As the real one, but a quarter of a second whatever the machine does."""
        write_json(self.folder / "charges" / f"{name}.json", 0.25)
        with super().charged(name, clock):
            yield

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


class SimulatedSearch:
    """A finished EdgeNES search that cost ``seconds``, of an untrained hypernetwork; a ranking costs one more."""

    def __init__(self, bench: SimulatedBench, seconds: float = 5.0) -> None:
        layout = ChoiceLayout(bench.structure.table)
        generator = torch.Generator().manual_seed(bench.seed)
        edges = bench.structure.n_edges
        network = Hypernetwork(layout.n_labels, layout.n_options, -0.2, edges + 0.2, generator=generator)
        base = random_architectures(bench.structure, 1, 100 + bench.seed)[0]
        self.sampler = ArchitectureSampler(bench.structure, network, base)
        self.plan, self.bench, self.clock = bench.plan, bench, Clock(seconds)
        self.name, self.folder = "simulated", bench.folder / "searches" / "simulated" / "search"

    def predict(self, samples: list[Sample], charged: bool = True) -> np.ndarray:
        """What a supernet that ranks well would predict."""
        self.clock.seconds += 1.0 if charged else 0.0
        return np.stack([self.bench.simulated(sample, 7, self.bench.validation_labels, 0) for sample in samples])


_sizes: dict[str, Cost] = {}
_measure = NetworkSize._measure


def remember_sizes(patch: pytest.MonkeyPatch) -> None:
    """Measure each network once for all tests of a process: measuring takes most of their time."""

    def measure(self: NetworkSize, sample: Sample) -> Cost:
        space = type(self.space).__name__, self.space.trace_args, self.space.trace_kwargs
        key = repr((*space, self.input_shape, sorted(sample.items())))
        if key not in _sizes:
            _sizes[key] = _measure(self, sample)
        return _sizes[key]

    patch.setattr(NetworkSize, "_measure", measure)


def note_labels(bench: Workbench, asked: list[str], patch: pytest.MonkeyPatch) -> None:
    """Note each split whose labels are asked for."""
    labels = bench.plan.data.labels
    patch.setattr(bench.plan.data, "labels", lambda split: asked.append(split) or labels(split))


def keys(bench: Workbench, networks: list[Any]) -> list[object]:
    """Architectures of networks, as keys; those of peers by name."""
    return [network.peer or bench.structure.key(network.sample) for network in networks]


def replicas_of(bench: SimulatedBench, networks: list[Any]) -> list[int]:
    """Which replica of its architecture each network is, by its seed."""
    found = []
    for network in networks:
        key = bench.structure.key(network.sample)
        found.append([network_seed(bench.seed, key, replica) for replica in range(100)].index(network.seed))
    return found


def total(trained: Trained) -> float:
    return trained.search_s + sum(network.cost for network in trained.networks)
