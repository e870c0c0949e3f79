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
the rest. The peers follow, which are no architectures drawn at random from the space: see `pool_peers.py`. Then the
other architectures are trained, with replica 0. Last, the best of all architectures get further seeds too, so that what
a method finds best can be trained again.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from nni_hypens.compare.pool import FLOW
from nni_hypens.utils.files import write_json
from tests.benchmarks import pool_training
from tests.benchmarks.pool_costs import step_seconds
from tests.benchmarks.pool_file import empty_pool, merged
from tests.benchmarks.pool_peers import CYCLES, DARTS, DARTS_SEEDS, RESIDUAL, RESIDUAL_SEEDS, SEARCH, SNAPSHOTS
from tests.benchmarks.pool_progress import Network, Progress, settings_of
from tests.benchmarks.pool_training import CIFAR_FILE, MARKS, Cell

PACKED = Path(__file__).parent / "results" / "pool"
BLOCK = 10
CHECKED = 6  # architectures whose training is checked against the definition of the regime


def jobs(cells: list[Progress]) -> Iterator[tuple[Progress, Network]]:
    """Networks in the order in which they are trained, done or not."""
    yield from _once_each(cells, max(progress.cell.first for progress in cells))
    yield from _again(cells)
    yield from peer_jobs([progress for progress in cells if progress.chosen()])
    yield from _once_each(cells, max(progress.cell.architectures for progress in cells))
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
    """Peers in the order in which they are trained; a training of snapshots stands under its last cycle.

    The first search and the first snapshots of every cell come before the others, so that methods can soon be compared.
    """
    for run, (snapshots, search) in enumerate(zip(SNAPSHOTS, DARTS, strict=True)):
        for progress in cells:
            yield from ((progress, (RESIDUAL, replica)) for replica in range(RESIDUAL_SEEDS if run == 0 else 0))
            yield progress, (snapshots, CYCLES - 1)
            yield progress, (search, SEARCH)
        for progress in cells:
            if number := progress.first_searches().get(search):
                yield from ((progress, (number, replica)) for replica in range(DARTS_SEEDS))


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
        return list(pool_training.CELLS)
    print(f"{cifar_file} is not there: the cells of CIFAR-10 are skipped")
    return [cell for cell in pool_training.CELLS if cell.data != "cifar"]


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
            pool.columns[FLOW] = progress.flows(pool.networks)
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
    for progress in [Progress(cell, work, packed) for cell in pool_training.CELLS]:
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
    cell = next(cell for cell in pool_training.CELLS if cell.name == name)
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
    parser.add_argument("--cells", nargs="+", choices=[cell.name for cell in pool_training.CELLS], default=())
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
