"""What is trained of one cell of the pool, in the work folder and in the packed file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from nni_hypens.compare.pool import Pool
from nni_hypens.compare.pool_peers import read_further
from nni_hypens.compare.residual import Residual
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.build import fixed_network
from nni_hypens.space.flow import SynapticFlow
from nni_hypens.utils.files import read_object, replacing, write_json
from search_spaces import OneCell
from tests.benchmarks import pool_peers, pool_training
from tests.benchmarks.pool_peers import DARTS, RESIDUAL, SEARCH, SNAPSHOTS
from tests.benchmarks.pool_training import ARCHITECTURES, MARKS, Cell, Images

Network = tuple[int, int]
"""Architecture, or peer, and replica; or a search, with `SEARCH` for replica."""


class Progress:
    """What is trained of one cell, in the work folder and in the packed file.

    Args:
        cell: The cell.
        work: Folder of the results, one file per network, in a folder per cell.
        packed: Folder of the packed files.

    Raises:
        ValueError: The results in either place were trained with other settings.
    """

    def __init__(self, cell: Cell, work: Path, packed: Path) -> None:
        self.cell, self.folder, self.packed_file = cell, work / cell.name, packed / f"{cell.name}.npz"
        self.pool = Pool.load(self.packed_file) if self.packed_file.exists() else None
        stated, settings = self.folder / "settings.json", settings_of(cell)
        earlier = {} if self.pool is None else {self.packed_file: self.pool.settings}
        if stated.exists():
            earlier[stated] = json.loads(stated.read_text(encoding="utf-8"))
        for path, found in earlier.items():
            if found != settings:
                raise ValueError(f"{path} has settings {found}; the script has {settings}")
        if not stated.exists():
            write_json(stated, settings)
        self.packed = set() if self.pool is None else set(self.pool.networks)
        self._scores: dict[int, float] = {}

    def file(self, network: Network) -> Path:
        """Result file of a network or a search."""
        number, replica = network
        return self.folder / (f"{number:03d}_search.json" if replica == SEARCH else f"{number:03d}_{replica}.npz")

    def is_done(self, network: Network) -> bool:
        """Whether there is a result, in either place."""
        packed = self.packed_search(network[0]) if network[1] == SEARCH else network in self.packed
        return bool(packed) or self.file(network).exists()

    def value(self, architecture: int, key: str) -> np.ndarray:
        """What was recorded of an architecture's network, replica 0."""
        network = (architecture, 0)
        if self.pool is not None and network in self.packed:
            recorded: np.ndarray = self.pool.columns[key][self.pool.networks.index(network)]
            return recorded
        with np.load(self.file(network), allow_pickle=False) as arrays:
            return arrays[key]

    def score(self, architecture: int) -> float:
        """Calibrated NLL on the validation images, replica 0."""
        if architecture not in self._scores:
            self._scores[architecture] = float(self.value(architecture, "calibrated_nll")[0, -1])
        return self._scores[architecture]

    def chosen(self) -> list[int]:
        """Architectures to be trained with further seeds; none until the first ones are trained once."""
        numbers = range(min(self.cell.first, self.cell.architectures))
        chosen = [] if self.pool is None else list(self.pool.chosen)
        if not chosen and all(self.is_done((number, 0)) for number in numbers):
            chosen = sorted(numbers, key=self.score)[: self.cell.best]
            words = [pool_training.SPLIT_SEED, pool_training.CELLS.index(self.cell)]
            drawn = np.random.RandomState(words).permutation(len(numbers)).tolist()
            chosen += [number for number in drawn if number not in chosen][: self.cell.others]
        every = range(self.cell.architectures)
        if chosen and all(self.is_done((number, 0)) for number in every):
            best = sorted(every, key=self.score)[: self.cell.best_of_all]
            chosen += [number for number in best if number not in chosen]
        return chosen

    def residual(self) -> Residual:
        """Sizes of the cell's residual network: those of the median of the first architectures."""
        numbers = range(min(self.cell.first, self.cell.architectures))
        medians = [float(np.median([self.value(number, key) for number in numbers])) for key in ("params", "flops")]
        return pool_peers.residual_sizes(self.cell, *medians)

    def packed_search(self, number: int) -> dict[str, Any] | None:
        """The packed entry of a search by DARTS, if it has a result."""
        listed = [] if self.pool is None else self.pool.architectures
        return listed[number] if number < len(listed) and "sample" in listed[number] else None

    def search(self, number: int) -> dict[str, Any] | None:
        """Result of a search by DARTS, None if it is not done."""
        path = self.file((number, SEARCH))
        return read_object(path) if path.exists() else self.packed_search(number)

    def first_searches(self) -> dict[int, int]:
        """Search -> the first that chose the same architecture, of the searches that are done."""
        found: dict[Any, int] = {}
        done = [(number, result) for number in DARTS if (result := self.search(number))]
        return {number: found.setdefault(structure().key(result["sample"]), number) for number, result in done}

    def listed(self) -> list[dict[str, Any]]:
        """The packed file's `architectures`: with the peers, once these can be trained."""
        if not self.chosen():
            return list(pool_training.architectures()[: self.cell.architectures])
        peers: list[dict[str, Any]] = [{"peer": "residual", **asdict(self.residual())}]
        peers += [{"peer": "snapshots", "run": run, "architecture": self.chosen()[0]} for run in range(len(SNAPSHOTS))]
        firsts = self.first_searches()
        for index, number in enumerate(DARTS):
            result = {**self.search(number), "networks": firsts[number]} if number in firsts else {}
            peers.append({**result, "peer": "darts", "search": index})
        known = [] if self.pool is None else self.pool.architectures[ARCHITECTURES + len(peers) :]
        return [*pool_training.architectures(), *peers, *known]  # the last of `tests.benchmarks.pool_further`

    def networks(self) -> list[Network]:
        """The networks that are trained, in either place."""
        found = {tuple(map(int, path.stem.split("_"))) for path in self.folder.glob("*_*.npz")}
        return sorted({*self.packed, *found})  # type: ignore[arg-type]

    def builders(self) -> dict[int, Callable[[], nn.Module]]:
        """Number -> makes the network, of each number with a trained network."""
        numbers = {number for number, _ in self.networks()}
        space, channels = pool_training.space_of(self.cell), self.cell.image_shape[0]
        makers: dict[int, Callable[[], nn.Module]] = {}
        of_architecture = {} if self.pool is None else read_further(self.pool, str(self.packed_file))
        further = {number: architecture for architecture, number in of_architecture.items()}
        for number in sorted(numbers):
            if number == RESIDUAL:
                makers[number] = partial(self.residual().network, channels, pool_training.CLASSES)
                continue
            sample = self.search(number)["sample"] if number in DARTS else None
            first = self.chosen()[0] if number in SNAPSHOTS else further.get(number, number)
            makers[number] = partial(fixed_network, space, sample or pool_training.architectures()[first])
        return makers

    @property
    def step_seconds_file(self) -> Path:
        """Seconds of a step of each network, by number."""
        return self.folder / "step_seconds.json"

    def cpu_seconds(self, networks: Sequence[Network]) -> np.ndarray:
        """Costs `K x epochs` of networks: seconds of all steps until the end of each epoch.

        Raises:
            ValueError: The steps of a network have not been timed.
        """
        known = read_object(self.step_seconds_file) if self.step_seconds_file.exists() else {}
        missing = sorted({number for number, _ in networks if str(number) not in known})
        if missing:
            raise ValueError(f"{self.step_seconds_file} has no times of {missing[:5]}: run the command `costs` first")
        steps = np.arange(1, self.cell.epochs + 1) * (self.cell.train_images // pool_training.BATCH)
        return np.array([known[str(number)] * steps for number, _ in networks], dtype=np.float32)

    def flows(self, networks: Sequence[Network]) -> np.ndarray:
        """Synaptic flow of untrained networks, `K`; not a number for peers."""
        measure = SynapticFlow(pool_training.space_of(self.cell), self.cell.image_shape)
        numbers = {number for number, _ in networks if number < ARCHITECTURES}
        known = {number: measure(pool_training.architectures()[number]) for number in numbers}
        return np.array([known.get(number, np.nan) for number, _ in networks], dtype=np.float32)

    def train(self, network: Network, images: Images) -> str:
        """Train a network, or run a search, and keep the result; what to tell of it."""
        number, replica = network
        if replica == SEARCH:
            found = pool_peers.search_darts(self.cell, images, number)
            write_json(self.file(network), found)
            return f"search, {found['search_cpu_seconds']:.1f} CPU s"
        if number < ARCHITECTURES:
            results = {network: pool_training.train_network(self.cell, images, number, replica)}
        elif number == RESIDUAL:
            results = {network: pool_peers.train_residual(self.cell, images, self.residual(), replica)}
        elif number in SNAPSHOTS:
            cycles = pool_peers.train_snapshots(self.cell, images, number, self.chosen()[0])
            results = {(number, cycle): result for cycle, result in enumerate(cycles)}
        else:
            sample = self.search(number)["sample"]
            results = {network: pool_peers.train_chosen(self.cell, images, number, replica, sample)}
        for one, result in results.items():  # the job is done when the last is there
            with replacing(self.file(one)) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, **result)
        last = results[network]
        seconds = sum(result["cpu_seconds"][-1] for result in results.values())
        return f"test NLL {last['calibrated_nll'][1, -1]:.3f}, {seconds:.1f} CPU s"


@lru_cache(maxsize=1)
def structure() -> EdgeStructure:
    """Which choices make the same architecture."""
    return EdgeStructure.from_space(OneCell())


def settings_of(cell: Cell) -> dict[str, object]:
    """Everything that a network's training depends on, as the packed file says it; not how many networks there are."""
    names = ("ARCHITECTURE_SEED", "SPLIT_SEED", "VALIDATION", "TEST", "LEARNING_RATE", "WEIGHT_DECAY", "BATCH")
    common = {name.lower(): getattr(pool_training, name) for name in names}
    own = {key: value for key, value in asdict(cell).items() if key not in pool_training.COUNTS}
    return {**own, **common, "marks": list(MARKS), "space": "search_spaces:OneCell", "layers": 2}
