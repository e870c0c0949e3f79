"""Train a pool of networks once, so that ways to choose ensembles can be tried on it in seconds.

    python -m tests.benchmarks.pool train --work DIR [--cells CELL ...] [--cifar FILE]
    python -m tests.benchmarks.pool costs --work DIR [--cifar FILE]
    python -m tests.benchmarks.pool pack --work DIR [--cifar FILE]
    python -m tests.benchmarks.pool status --work DIR
    python -m tests.benchmarks.pool check --cells CELL ... [--cifar FILE]

`train` can be started several times at once with the same folder, one process per core; each takes the next network
that nobody is at. It can be killed at any time and goes on where it stopped: it skips the networks that have a file in
the work folder or are in a packed file (`--packed`, by default `results/pool/` beside this script). `costs` times the
steps of all networks together, for minutes (`pool_costs.py`); `pack` then adds what is in the work folder to the packed
files, with these costs for every network, old or new.

Order: ten architectures of each cell in turn, with replica 0, until every cell has its first ones. Among these, some
are chosen to be trained with further seeds: the best by calibrated NLL on validation data, and others at random among
the rest. Then the other architectures are trained, with replica 0. The peers follow, which are no architectures drawn
at random from the space: see `pool_peers.py`. Last, the best of all architectures get further seeds too, so that what a
method finds best can be trained again.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import nn

from nni_hypens.compare.pool import Pool
from nni_hypens.compare.residual import Residual
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.build import fixed_network
from nni_hypens.utils.files import read_object, replacing, write_json
from search_spaces import OneCell
from tests.benchmarks import pool_peers, pool_training
from tests.benchmarks.pool_costs import step_seconds
from tests.benchmarks.pool_file import empty_pool, merged
from tests.benchmarks.pool_peers import CYCLES, DARTS, DARTS_SEEDS, RESIDUAL, RESIDUAL_SEEDS, SEARCH, SNAPSHOTS
from tests.benchmarks.pool_training import ARCHITECTURES, CELLS, CIFAR_FILE, MARKS, Cell, Images

PACKED = Path(__file__).parent / "results" / "pool"
BLOCK = 10
CHECKED = 6  # architectures whose training is checked against the definition of the regime
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
            words = [pool_training.SPLIT_SEED, CELLS.index(self.cell)]
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
        return [*pool_training.architectures(), *peers]

    def networks(self) -> list[Network]:
        """The networks that are trained, in either place."""
        found = {tuple(map(int, path.stem.split("_"))) for path in self.folder.glob("*_*.npz")}
        return sorted({*self.packed, *found})  # type: ignore[arg-type]

    def builders(self) -> dict[int, Callable[[], nn.Module]]:
        """Number -> makes the network, of each number with a trained network."""
        numbers = {number for number, _ in self.networks()}
        space, channels = pool_training.space_of(self.cell), self.cell.image_shape[0]
        makers: dict[int, Callable[[], nn.Module]] = {}
        for number in sorted(numbers):
            if number == RESIDUAL:
                makers[number] = partial(self.residual().network, channels, pool_training.CLASSES)
                continue
            sample = self.search(number)["sample"] if number in DARTS else None
            first = self.chosen()[0] if number in SNAPSHOTS else number
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


def jobs(cells: list[Progress]) -> Iterator[tuple[Progress, Network]]:
    """Networks in the order in which they are trained, done or not."""
    yield from _once_each(cells, max(progress.cell.first for progress in cells))
    yield from _again(cells)
    yield from _once_each(cells, max(progress.cell.architectures for progress in cells))
    yield from peer_jobs([progress for progress in cells if progress.chosen()])
    yield from _again(cells)  # now the best of all architectures are among them


def _again(cells: list[Progress]) -> Iterator[tuple[Progress, Network]]:
    """The chosen architectures with further seeds."""
    chosen = [(progress, progress.chosen()) for progress in cells]
    for replica in range(1, 1 + max(progress.cell.more_seeds for progress in cells)):
        for progress, numbers in chosen:
            if replica <= progress.cell.more_seeds:
                for number in numbers:
                    yield progress, (number, replica)


def peer_jobs(cells: list[Progress]) -> Iterator[tuple[Progress, Network]]:
    """Peers in the order in which they are trained; a training of snapshots stands under its last cycle."""
    for networks in (
        [(RESIDUAL, replica) for replica in range(RESIDUAL_SEEDS)],
        [(number, CYCLES - 1) for number in SNAPSHOTS],
        [(number, SEARCH) for number in DARTS],
    ):
        for progress in cells:
            for network in networks:
                yield progress, network
    for progress in cells:
        for number in sorted(set(progress.first_searches().values())):
            for replica in range(DARTS_SEEDS):
                yield progress, (number, replica)


def _once_each(cells: list[Progress], last: int) -> Iterator[tuple[Progress, Network]]:
    """Architectures 0 to `last - 1` with replica 0, a block of each cell in turn."""
    for start in range(0, last, BLOCK):
        for progress in cells:
            for number in range(start, min(start + BLOCK, last, progress.cell.architectures)):
                yield progress, (number, 0)


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether this process alone is at a network; the system takes the lock back when the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def train_next(cells: list[Progress], cifar_file: Path) -> bool | None:
    """Train the first network that is not done and that nobody is at.

    Returns:
        True when one was trained, False when others are at all that is left, None when nothing is left.
    """
    waiting = False
    for progress, network in jobs(cells):
        if progress.is_done(network):
            continue
        with claimed(progress.file(network)) as mine:
            if not mine:
                waiting = True
            elif not progress.is_done(network):
                cell = progress.cell
                images = pool_training.load_images(cell.data, cell.train_images, cifar_file)
                told = progress.train(network, images)
                print(f"{time.strftime('%H:%M:%S')} {cell.name} {network} {told}", flush=True)
                return True
    return False if waiting else None


def train(work: Path, packed: Path, cifar_file: Path, names: Sequence[str] = ()) -> None:
    """Train until nothing is left in the named cells; in all where none is named."""
    wanted = [cell for cell in present(cifar_file) if not names or cell.name in names]
    cells = [Progress(cell, work, packed) for cell in wanted]
    if not cells:
        return
    while (trained := train_next(cells, cifar_file)) is not None:
        if not trained:
            time.sleep(5)
    print("nothing is left to train")


def present(cifar_file: Path) -> list[Cell]:
    """Cells whose images are there."""
    if cifar_file.is_file():
        return list(CELLS)
    print(f"{cifar_file} is not there: the cells of CIFAR-10 are skipped")
    return [cell for cell in CELLS if cell.data != "cifar"]


def pack(work: Path, packed: Path, cifar_file: Path) -> None:
    """Add the results of the work folder to the packed files."""
    for cell in present(cifar_file):
        progress = Progress(cell, work, packed)
        found = []
        for network in progress.networks():
            if network not in progress.packed:
                with np.load(progress.file(network), allow_pickle=False) as arrays:
                    found.append((network, dict(arrays)))
        if found:
            images = pool_training.load_images(cell.data, cell.train_images, cifar_file)
            labels = {part: getattr(images, part).labels.numpy() for part in ("validation", "test")}
            marks = [round(100 * mark) for mark in MARKS[:-1]]
            frame = empty_pool(settings_of(cell), progress.listed(), labels, cell.epochs, marks, progress.chosen())
            pool = merged(progress.pool, frame, found)
            pool.columns["cpu_seconds"] = progress.cpu_seconds(pool.networks)
            pool.save(progress.packed_file)
        n_packed = len(progress.packed) + len(found)
        size = progress.packed_file.stat().st_size if n_packed else 0
        print(f"{cell.name}: {n_packed} networks, {len(found)} of them new, {size / 1e6:.2f} MB")


def costs(work: Path, packed: Path, cifar_file: Path) -> None:
    """Time the steps of all networks."""
    for cell in present(cifar_file):
        progress = Progress(cell, work, packed)
        images = pool_training.load_images(cell.data, cell.train_images, cifar_file)
        builders = progress.builders()
        if not builders:
            continue
        found = step_seconds(cell, images, builders)
        write_json(progress.step_seconds_file, {str(number): seconds for number, seconds in found.items()})
        print(f"{cell.name}: {len(found)} networks, {1000 * np.median(list(found.values())):.1f} ms a step", flush=True)


def status(work: Path, packed: Path) -> None:
    """Print how many networks of each cell are trained."""
    for progress in [Progress(cell, work, packed) for cell in CELLS]:
        cell = progress.cell
        first = sum(progress.is_done((number, 0)) for number in range(cell.architectures))
        seeds = range(1, 1 + cell.more_seeds)
        more = sum(progress.is_done((number, seed)) for number in progress.chosen() for seed in seeds)
        wanted = len(progress.chosen()) * cell.more_seeds
        peers = [progress.is_done(network) for _, network in peer_jobs([progress])]
        of_peers = f"peers and searches {sum(peers)} of {len(peers)}"
        print(f"{cell.name}: {first} of {cell.architectures}, with further seeds {more} of {wanted}, {of_peers}")


def check(name: str, cifar_file: Path) -> None:
    """Train a few architectures with the cell's epochs and with twice as many, and print what defines the regime."""
    cell = next(cell for cell in CELLS if cell.name == name)
    images = pool_training.load_images(cell.data, cell.train_images, cifar_file)
    rows = []
    for number in range(CHECKED):
        results = [
            pool_training.train_network(replace(cell, epochs=epochs), images, number, 0)
            for epochs in (cell.epochs, 2 * cell.epochs)
        ]
        rows.append([(r["train_loss"][-1], r["calibrated_nll"][1, -1], r["cpu_seconds"][-1]) for r in results])
        print(number, np.round(rows[-1], 3).tolist(), flush=True)
    losses, nll, seconds = np.moveaxis(np.asarray(rows), 2, 0)
    print(f"{name}: training loss {np.median(losses[:, 0]):.3f}, CPU seconds {np.median(seconds[:, 0]):.1f} (medians)")
    before, after = nll.mean(axis=0)
    print(f"calibrated test NLL {before:.3f}, with twice the epochs {after / before - 1:+.1%}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("train", "costs", "pack", "status", "check"))
    parser.add_argument("--cells", nargs="+", choices=[cell.name for cell in CELLS], default=())
    parser.add_argument("--work", type=Path, default=Path("runs/pool"))
    parser.add_argument("--packed", type=Path, default=PACKED)
    parser.add_argument("--cifar", type=Path, default=CIFAR_FILE)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # weights that decay to nothing would otherwise make each step slower
    if given.command == "check":
        for name in given.cells:
            check(name, given.cifar)
    elif given.command == "status":
        status(given.work, given.packed)
    elif given.command == "costs":
        costs(given.work, given.packed, given.cifar)
    elif given.command == "pack":
        pack(given.work, given.packed, given.cifar)
    else:
        train(given.work, given.packed, given.cifar, given.cells)


if __name__ == "__main__":
    main()
