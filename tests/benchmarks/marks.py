"""Does a network's state before the end say how good it will be? With a cosine schedule, and with one that can be cut.

    python -m tests.benchmarks.marks --work DIR [--cifar FILE] [--cells CELL ...] [--out FILE.json]

The first architectures of the pool (`tests.benchmarks.pool`) are trained again with a schedule of three parts: warm-up,
a constant learning rate, and a linear decay at the end (warm-up, stable, decay; Hu et al. 2024, Hägele et al. 2024).
While the rate is constant, the network is looked at after 25, 50 and 70% of the epochs in three ways:

- plain: its weights as they are;
- averaged: the mean of its weights over the last eighth of all epochs, with new BatchNorm statistics;
- decayed: a copy is trained on with a decaying rate for a tenth of all epochs.

A look ranks if its calibrated validation NLL has a high rank correlation with the calibrated test NLL at the end. The
numbers of the cosine schedule come from the packed pool. It can be killed at any time and goes on where it stopped.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from nni_hypens.compare.pool import Pool
from nni_hypens.space.build import fixed_network
from nni_hypens.utils.files import write_json
from nni_hypens.utils.runtime import versions
from tests.benchmarks import pool_training as pool
from tests.benchmarks.pool import PACKED

RESULTS = Path(__file__).parent / "results" / "marks.json"
CELLS = ("fashion_data", "fashion_capacity", "cifar_data", "cifar_capacity")
NETWORKS = 20
LOOKS = (0.25, 0.5, 0.7)
WARM_UP, DECAY, BRANCH, AVERAGED = 0.05, 0.2, 0.1, 0.125
"""Shares of all epochs: of the warm-up, of the decay at the end, of a decayed copy, of the averaged weights."""
RATE = 0.5
"""The constant learning rate, as a share of the cosine's first: a cosine's mean is half its first."""


def rate_at(progress: float) -> float:
    """Learning rate at a share of the schedule, 0..1."""
    rising, falling = progress / WARM_UP, (1 - progress) / DECAY
    return pool.LEARNING_RATE * RATE * max(min(1.0, rising, falling), 0.0)


class Training:
    """One network on its way through the schedule; `copy.deepcopy` branches off."""

    def __init__(self, cell: pool.Cell, architecture: int) -> None:
        seed = pool.training_seed(cell, architecture, 0)
        sample, space = pool.architectures()[architecture], pool.space_of(cell)
        self.generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        self.network = fixed_network(space, sample).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=pool.LEARNING_RATE, weight_decay=pool.WEIGHT_DECAY, fused=True
        )
        self.cell = cell

    def step(self, loss: torch.Tensor) -> None:
        """As `pool_training.Schedule.step`, with the rate that `epoch` sets."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def epoch(self, images: pool.Images, rate: float) -> None:
        """Train for an epoch at one rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        pool.train_epoch(self.network, self, images.train, self.cell, self.generator)  # type: ignore[arg-type]

    def look(self, images: pool.Images) -> dict[str, float]:
        """Calibrated NLL and accuracy, on validation and test images."""
        log_probs = {
            part: pool.log_probabilities(self.network, getattr(images, part).images).numpy()[None]
            for part in ("validation", "test")
        }
        labels = {part: getattr(images, part).labels.numpy() for part in log_probs}
        found = pool.scores(log_probs, labels)
        (nll, test_nll), (accuracy, _) = found["calibrated_nll"][:, 0], found["accuracy"][:, 0]
        return {"nll": float(nll), "test_nll": float(test_nll), "accuracy": float(accuracy)}


def averaged(training: Training, states: list[dict[str, torch.Tensor]], images: pool.Images) -> dict[str, float]:
    """The look at the mean of several states of a network, with BatchNorm statistics of the training images."""
    mean = copy.deepcopy(training)
    floating = {name for name, value in states[0].items() if value.is_floating_point()}
    mean.network.load_state_dict(
        {
            name: torch.stack([state[name] for state in states]).mean(0) if name in floating else value
            for name, value in states[-1].items()
        }
    )
    torch.optim.swa_utils.update_bn(images.train.images.split(pool.BATCH), mean.network)
    return mean.look(images)


def train(cell: pool.Cell, images: pool.Images, architecture: int) -> dict[str, Any]:
    """Train one network, with all looks at it."""
    training, start = Training(cell, architecture), time.process_time()
    kept: list[dict[str, torch.Tensor]] = []
    window, branch = max(2, round(AVERAGED * cell.epochs)), max(1, round(BRANCH * cell.epochs))
    marks = {round(look * cell.epochs): f"{look:.0%}" for look in LOOKS}
    looks = {}
    for epoch in range(1, cell.epochs + 1):
        training.epoch(images, rate_at((epoch - 0.5) / cell.epochs))
        kept = [*kept, copy.deepcopy(training.network.state_dict())][-window:]
        if epoch not in marks:
            continue
        side = copy.deepcopy(training)
        for step in range(branch):
            side.epoch(images, pool.LEARNING_RATE * RATE * (1 - (step + 0.5) / branch))
        looks[marks[epoch]] = {
            "plain": training.look(images), "averaged": averaged(training, kept, images), "decayed": side.look(images)
        }  # fmt: skip
    return {"looks": looks, "end": training.look(images), "cpu_seconds": time.process_time() - start}


def cosine_of(cell: pool.Cell) -> dict[int, dict[str, Any]]:
    """Architecture -> the same looks, plain only, at the networks of the packed pool."""
    packed = Pool.load(PACKED / f"{cell.name}.npz")
    found = {}
    for row in packed.rows():
        nll, accuracy = (packed.columns[name][row] for name in ("calibrated_nll", "accuracy"))
        looks = {
            f"{look:.0%}": {"plain": {"nll": float(nll[0, place]), "accuracy": float(accuracy[0, place])}}
            for place, look in enumerate(LOOKS)
        }
        end = {"nll": float(nll[0, -1]), "test_nll": float(nll[1, -1]), "accuracy": float(accuracy[0, -1])}
        found[int(packed.columns["architecture"][row])] = {"looks": looks, "end": end}
    return found


def summary(rows: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Rank correlations of each look with the calibrated test NLL at the end."""
    ends = [row["end"]["test_nll"] for row in rows.values()]
    table: dict[str, Any] = {"networks": len(rows), "test_nll": float(np.mean(ends))}
    first = next(iter(rows.values()))
    for mark, kinds in first["looks"].items():
        for kind in kinds:
            looks = [row["looks"][mark][kind] for row in rows.values()]
            table[f"{mark} {kind}"] = {
                "nll": float(spearmanr([look["nll"] for look in looks], ends)[0]),
                "accuracy": float(spearmanr([-look["accuracy"] for look in looks], ends)[0]),
            }
    table["end"] = {"nll": float(spearmanr([row["end"]["nll"] for row in rows.values()], ends)[0])}
    return table


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--cifar", type=Path, default=pool.CIFAR_FILE)
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=CELLS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    found: dict[str, Any] = {}
    for cell in (cell for cell in pool.CELLS if cell.name in given.cells):
        images = pool.load_images(cell.data, cell.train_images, given.cifar)
        rows: dict[int, dict[str, Any]] = {}
        for architecture in range(NETWORKS):
            path = given.work / cell.name / f"{architecture:03d}.json"
            if not path.exists():
                write_json(path, train(cell, images, architecture))
                print(cell.name, architecture, json.loads(path.read_text())["end"], flush=True)
            rows[architecture] = json.loads(path.read_text(encoding="utf-8"))
        cosine = {number: row for number, row in cosine_of(cell).items()}
        same = {number: cosine[number] for number in rows if number in cosine}
        found[cell.name] = {"cosine": summary(cosine), "cosine, the same networks": summary(same)}
        found[cell.name]["can be cut"] = summary(rows)
        print(json.dumps(found[cell.name], indent=1), flush=True)
    content = {"command": "python -m tests.benchmarks.marks --work DIR", "versions": versions(), "cells": found}
    write_json(given.out, content)


if __name__ == "__main__":
    main()
