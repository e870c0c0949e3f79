"""Train some networks of the pool further, so that a method which does that can be tried on it.

    python -m tests.benchmarks.pool_further train --work DIR [--cifar FILE]
    python -m tests.benchmarks.pool_further pack --work DIR

Of each cell, the best architectures by calibrated validation NLL, among those with further seeds, get one more seed,
whose training is repeated: the same schedule again, from the weights that the network has, with a new optimizer. `pack`
adds them to the packed files. Each architecture gets one more number there, and the replica counts the schedules from
1, because networks with replica 0 are kept with early looks, which would take room. A schedule costs what the pool has
recorded for a training of the architecture.

`train` can be started several times at once, and killed at any time.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from nni_hypens.compare.pool import FLOW, Pool
from nni_hypens.compare.pool_peers import FURTHER, PEER, read_further
from nni_hypens.space.build import fixed_network
from nni_hypens.space.cost import NetworkSize
from nni_hypens.utils.files import replacing
from tests.benchmarks.pool import PACKED, claimed, present
from tests.benchmarks.pool_file import merged
from tests.benchmarks.pool_training import (
    CELLS,
    CIFAR_FILE,
    Cell,
    architectures,
    load_images,
    space_of,
    train_cycles,
    training_seed,
)

WANTED = {
    "fashion_data": (4, 2), "cifar_data": (4, 2), "fashion_capacity": (7, 2), "cifar_capacity": (12, 2),
    "fashion_short": (8, 4), "cifar_short": (8, 4),
}  # fmt: skip
"""How many architectures of a cell, and for how many schedules each is trained, the first included. More would make the
packed files too large."""
REPLICA = 6
"""The first that no cell has."""


def chosen(cell: Cell, pool: Pool) -> list[int]:
    """Numbers of the architectures, the best first."""
    rows = [row for row in pool.rows() if pool.columns["architecture"][row] in pool.chosen]
    rows.sort(key=lambda row: float(pool.columns["calibrated_nll"][row, 0, -1]))
    return [int(pool.columns["architecture"][row]) for row in rows[: WANTED[cell.name][0]]]


def file_of(work: Path, cell: Cell, architecture: int) -> Path:
    """Results of one architecture."""
    return work / cell.name / f"{architecture:03d}_{REPLICA}.npz"


def train(cells: list[Cell], work: Path, cifar_file: Path) -> None:
    """Train what nobody has trained and nobody is at."""
    wanted = {cell: chosen(cell, Pool.load(PACKED / f"{cell.name}.npz")) for cell in cells}
    for place in range(max(map(len, wanted.values()))):
        for cell, numbers in wanted.items():
            for number in numbers[place : place + 1]:
                path = file_of(work, cell, number)
                with claimed(path) as mine:
                    if mine and not path.exists():
                        _train(cell, number, path, cifar_file)


def _train(cell: Cell, number: int, path: Path, cifar_file: Path) -> None:
    images = load_images(cell.data, cell.train_images, cifar_file)
    sample, space = architectures()[number], space_of(cell)
    cost = NetworkSize(space, cell.image_shape).cost(sample)
    seed, count = training_seed(cell, number, REPLICA), WANTED[cell.name][1]
    results = train_cycles(cell, images, lambda: fixed_network(space, sample), seed, cost, count, new_optimizer=True)
    arrays = {f"{name}_{cycle}": value for cycle, result in enumerate(results) for name, value in result.items()}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    nll = [round(float(result["calibrated_nll"][0, -1]), 3) for result in results]
    print(f"{time.strftime('%H:%M:%S')} {cell.name} {number}: validation NLL {nll}", flush=True)


def pack(cells: list[Cell], work: Path) -> None:
    """Add what is trained, and not packed yet, to the packed files."""
    for cell in cells:
        path = PACKED / f"{cell.name}.npz"
        pool = Pool.load(path)
        packed = read_further(pool, path.name)
        listed, found, costs = list(pool.architectures), [], {}
        for number in chosen(cell, pool):
            if number in packed or not file_of(work, cell, number).exists():
                continue
            with np.load(file_of(work, cell, number), allow_pickle=False) as arrays:
                every = dict(arrays)
            for cycle in range(WANTED[cell.name][1]):
                found.append(((len(listed), cycle + 1), _of_cycle(every, cycle)))
            first = pool.networks.index((number, 0))
            costs[len(listed)] = pool.columns["cpu_seconds"][first]
            listed.append({PEER: FURTHER, "architecture": number})
        if found:
            flows = dict(zip(pool.networks, pool.columns[FLOW].tolist(), strict=True))
            larger = merged(pool, replace(pool, architectures=listed), found)
            seconds = larger.columns["cpu_seconds"]
            for row, number in enumerate(larger.columns["architecture"].tolist()):
                seconds[row] = costs.get(number, seconds[row])
            larger.columns[FLOW] = np.array([flows.get(one, np.nan) for one in larger.networks], dtype=np.float32)
            larger.save(path)
        print(f"{cell.name}: {len(packed) + len(costs)} architectures, {path.stat().st_size / 1e6:.2f} MB")


def _of_cycle(arrays: dict[str, Any], cycle: int) -> dict[str, Any]:
    ending = f"_{cycle}"
    return {name.removesuffix(ending): value for name, value in arrays.items() if name.endswith(ending)}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("train", "pack"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--cifar", type=Path, default=CIFAR_FILE)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    if given.command == "pack":
        pack(list(CELLS), given.work)
        return
    train(present(given.cifar), given.work, given.cifar)


if __name__ == "__main__":
    main()
