"""A bench for methods without a search that trains each network of a cell of the pool, clean and corrupted test images.

The pool has one split of each data set, and its networks predict clean images only. Here every seed has its own
training and validation images, any architecture of the space can be trained with any number of seeds, and each network
also predicts test images with the corruptions of `nni_hypens.data.corruptions` at each severity.

What a training costs is not timed, because the time depends on what else the machine does: it is the seconds that the
pool recorded, as a sum over operations (a linear fit to its architectures), which repeats on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import Ridge
from torch import nn

from nni_hypens import metrics
from nni_hypens.compare.bench import Clock, Network
from nni_hypens.compare.pool import Pool
from nni_hypens.compare.pool_peers import DARTS, RESIDUAL, SNAPSHOTS, Peer
from nni_hypens.compare.residual import Residual
from nni_hypens.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from nni_hypens.ensemble.calibration import calibrated_alone
from nni_hypens.proposals.features import architecture_features
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.build import fixed_network
from nni_hypens.space.cost import Cost, NetworkSize
from nni_hypens.space.draws import neighbours, random_architectures
from nni_hypens.space.flow import SynapticFlow
from nni_hypens.trials.training import further_seed, network_seed
from nni_hypens.utils.files import read_object, write_json
from nni_hypens.utils.npz import read_arrays, write_arrays
from nni_hypens.utils.seeds import Purpose, derive_seed
from nni_hypens.utils.tensors import read_tensors
from tests.benchmarks import pool_peers
from tests.benchmarks.pool_training import (
    SPLIT_SEED,
    Cell,
    Images,
    Part,
    load_pixels,
    space_of,
    standardised,
    train_cycles,
)

CORRUPTED = 500
"""The first test images, which are also predicted with every corruption."""
CLEAN = "clean"
RESIDUAL_SEEDS, CYCLES = 12, 5


@dataclass(frozen=True)
class TrainedNetwork(Network):
    """A network that also predicted corrupted test images.

    Args:
        every: Probabilities of the images of all `test_parts`.
    """

    every: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))


def test_parts(count: int) -> dict[str, slice]:
    """Name of each set of test images -> its rows; `count` clean ones come first."""
    parts = {CLEAN: slice(0, count)}
    for place, name in enumerate((name, severity) for name in CORRUPTIONS for severity in SEVERITIES):
        start = count + place * CORRUPTED
        parts[f"{name[0]} {name[1]}"] = slice(start, start + CORRUPTED)
    return parts


def load_images(cell: Cell, cifar_file: Path, seed: int) -> Images:
    """Images of a cell with the split of a seed; test images are those of `test_parts`, one set after the other."""
    pixels = load_pixels(cell.data, cell.train_images, cifar_file, seed)
    like = pixels["train"][0]
    test, labels = pixels["test"]
    some = torch.from_numpy(test[:CORRUPTED]).permute(0, 3, 1, 2).contiguous()
    sets = [test]
    for name in CORRUPTIONS:
        for severity in SEVERITIES:
            sets.append(corrupt(some, name, severity, SPLIT_SEED).permute(0, 2, 3, 1).numpy())
    true = np.concatenate([labels, *[labels[:CORRUPTED]] * (len(sets) - 1)])
    given = {**pixels, "test": (np.concatenate(sets), true)}
    return Images(
        **{
            part: Part(standardised(images, like), torch.from_numpy(y.astype(np.int64)))
            for part, (images, y) in given.items()
        }
    )


class Costs:
    """Seconds of training a network of a cell, by the costs that a pool recorded.

    Args:
        pool: The cell's.
        structure: Edges of its space.
        factor: How many times as long as the pool's the trainings are.
    """

    def __init__(self, pool: Pool, structure: EdgeStructure, factor: int = 1) -> None:
        rows = pool.rows()
        self.structure = structure
        self.known = [pool.architectures[number] for number in pool.columns["architecture"][rows]]
        self.seconds = factor * pool.columns["cpu_seconds"][rows, -1].astype(float)
        self.flops = pool.columns["flops"][rows].astype(float)

    @property
    def average(self) -> float:
        """Of the pool's architectures."""
        return float(self.seconds.mean())

    def of(self, sample: Sample) -> float:
        """Of one architecture."""
        features = architecture_features(self.structure, [*self.known, sample])[0]
        fitted = Ridge(alpha=1e-3).fit(features[:-1], self.seconds)
        return float(np.clip(fitted.predict(features[-1:])[0], self.seconds.min(), self.seconds.max()))

    def of_flops(self, flops: float) -> float:
        """Of a network from outside the space: that of an architecture with as many FLOPs."""
        slope, level = np.polyfit(self.flops, self.seconds, 1)
        return float(np.clip(level + slope * flops, self.seconds.min(), self.seconds.max()))


class TrainedBench:
    """As `nni_hypens.compare.PoolBench`, but it trains what it is asked for and keeps it in a folder.

    Args:
        cell: Says how networks are trained.
        pool: The cell's, for costs and the size of the residual network.
        folder: Where networks are kept, of this cell and seed alone.
        seed: Of the split and of everything drawn.
        cifar_file: The subset of CIFAR-10.
        factor: How many times as long as the pool's networks each is trained, in one longer schedule.
    """

    def __init__(self, cell: Cell, pool: Pool, folder: Path, seed: int, cifar_file: Path, factor: int = 1) -> None:
        cell = replace(cell, epochs=factor * cell.epochs)
        self.cell, self.pool, self.folder, self.seed, self.cifar_file = cell, pool, folder, seed, cifar_file
        self.space = space_of(cell)
        self.structure = EdgeStructure.from_space(self.space)
        self.costs = Costs(pool, self.structure, factor)
        self.images = load_images(cell, cifar_file, seed)
        self.validation_labels = self.images.validation.labels.numpy()
        self.all_test_labels = self.images.test.labels.numpy()
        self.parts = test_parts(len(self.all_test_labels) - len(CORRUPTIONS) * len(SEVERITIES) * CORRUPTED)
        self.part = CLEAN
        self._sizes = NetworkSize(self.space, cell.image_shape)

    architectures = None

    def longer(self, factor: int) -> TrainedBench:
        """A bench on the same images whose trainings are so many times as long."""
        return TrainedBench(self.cell, self.pool, self.folder / f"times-{factor}", self.seed, self.cifar_file, factor)

    def at_part(self, networks: Sequence[Network]) -> list[Network]:
        """Networks of this bench with their predictions of the present part."""
        rows = self.parts[self.part]
        return [replace(one, test=one.every[rows]) for one in networks if isinstance(one, TrainedNetwork)]

    @property
    def test_labels(self) -> np.ndarray:
        """Labels of the test images of the present part."""
        return self.all_test_labels[self.parts[self.part]]

    def random(self, n: int, seed: int) -> list[Sample]:
        """As `Workbench.random`."""
        return random_architectures(self.structure, n, seed)

    def neighbours(self, sample: Sample, trained: Sequence[Sample]) -> list[Sample]:
        """As `Workbench.neighbours`."""
        return neighbours(self.structure, sample)

    def traits(self) -> NetworkSize:
        """Measures networks of the space."""
        return self._sizes

    def flow(self) -> SynapticFlow:
        """Measures untrained networks of the space."""
        return SynapticFlow(self.space, self.cell.image_shape)

    def offers(self, sample: Sample, replica: int) -> bool:
        """Always."""
        return True

    @contextmanager
    def charged(self, name: str, clock: Clock) -> Iterator[None]:
        """Charge nothing, as on a pool."""
        yield

    def network(self, sample: Sample, replica: int = 0, may_go_on: bool = False) -> Network:
        """A network of an architecture; it is trained if that has not been done yet. Any of them may go on."""
        seed = network_seed(self.seed, self.structure.key(sample), replica)
        build = partial(fixed_network, self.space, sample)
        (path,) = self._trained(f"{seed:020d}", build, seed, self._sizes.cost(sample))
        return self._kept(path, sample, seed, self.costs.of(sample))

    def offers_further(self, network: Network) -> bool:
        """Whether its weights are there, as for each network of the space."""
        return (self.folder / f"{network.place}.safetensors").exists()

    def further(self, network: Network) -> Network:
        """A network after one more schedule."""
        seed, sample = further_seed(network.seed), network.sample

        def build() -> nn.Module:
            built = fixed_network(self.space, sample)
            built.load_state_dict(read_tensors(self.folder / f"{network.place}.safetensors"))
            return built

        (path,) = self._trained(f"{seed:020d}", build, seed, self._sizes.cost(sample))
        return self._kept(path, sample, seed, self.costs.of(sample))

    def peer(self, name: str, members: int) -> Peer:
        """Networks of a peer of the pool, trained anew; see `tests.benchmarks.pool_peers`."""
        if name == DARTS:
            sample, seconds = self._darts()
            return Peer([self.network(sample, replica) for replica in range(members)], seconds)
        if name == RESIDUAL:
            sizes, seed = self._residual, partial(derive_seed, self.seed, Purpose.PEER, name)
            cost, channels = sizes.cost(self.cell.image_shape, 10), self.cell.image_shape[0]
            build = partial(sizes.network, channels, 10)
            seconds = self.costs.of_flops(float(cost.flops or 0))
            paths = [self._trained(f"{name}-{one}", build, seed(one), cost)[0] for one in range(RESIDUAL_SEEDS)]
            return Peer([self._kept(path, {}, one, seconds, name) for one, path in enumerate(paths)])
        if name != SNAPSHOTS:
            raise ValueError(f"no peer {name}")
        seed = derive_seed(self.seed, Purpose.PEER, name, 0)
        best = self.pool.architectures[self.pool.chosen[0]]  # as in the pool: its best random architecture
        cost = self._sizes.cost(best)
        paths = self._trained(name, partial(fixed_network, self.space, best), seed, cost, CYCLES)
        return Peer([self._kept(path, {}, seed, self.costs.of(best), name) for path in paths])

    def shuffled(self, name: str, networks: Sequence[Network]) -> list[Network]:
        """The same networks: their seeds are drawn anew for each seed of the bench."""
        return list(networks)

    @cached_property
    def _residual(self) -> Residual:
        (entry,) = [entry for entry in self.pool.architectures if entry.get("peer") == "residual"]
        return Residual(**{key: value for key, value in entry.items() if key != "peer"})

    def _darts(self) -> tuple[Sample, float]:
        path = self.folder / "darts.json"
        if not path.exists():
            number = pool_peers.DARTS.stop + self.seed  # a seed that no search of the pool has
            write_json(path, pool_peers.search_darts(self.cell, self.images, number))
        found = read_object(path)
        return found["sample"], float(found["search_cpu_seconds"])

    def _trained(self, name: str, build: Callable[[], nn.Module], seed: int, cost: Cost, cycles: int = 1) -> list[Path]:
        paths = [self.folder / f"{name}-{cycle}.npz" for cycle in range(cycles)]
        if not all(path.exists() for path in paths):
            keep = self.folder / f"{paths[-1].stem}.safetensors"
            results = train_cycles(self.cell, self.images, build, seed, cost, cycles, looks=(1.0,), keep=keep)
            for path, result in zip(paths, results, strict=True):
                write_arrays(path, {part: result[part][-1] for part in ("validation", "test")})
            print(f"{self.cell.name}, seed {self.seed}: {name}, {cycles} of {cycles} cycles", flush=True)
        return paths

    def _kept(self, path: Path, sample: Sample, seed: int, cost: float, peer: str = "") -> Network:
        logs = read_arrays(path, "validation", "test")
        validation, every = (_probabilities(part) for part in logs)
        test = every[self.parts[self.part]]
        if not np.isfinite(validation).all():
            return TrainedNetwork(
                sample, seed, validation, test, float("inf"), cost, peer=peer, place=path.stem, every=every
            )
        (alone,) = calibrated_alone(validation[None], self.validation_labels)
        nll = metrics.nll(alone, self.validation_labels)
        return TrainedNetwork(sample, seed, validation, test, nll, cost, alone, peer, path.stem, every)


def _probabilities(logs: Any) -> np.ndarray:
    probs = np.exp(logs.astype(np.float32))
    return probs / probs.sum(axis=1, keepdims=True)
