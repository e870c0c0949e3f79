"""Can a supernet rank architectures? Ways to train one, against the networks of the pool trained to the end.

    python -m tests.benchmarks.supernet_recipes [--cifar FILE] [--cells CELL ...] [--seeds N] [--out FILE]

A supernet is trained by uniform sampling on the training images of a cell of the pool (`tests.benchmarks.pool`), with
the cell's batch size and augmentation. Then it predicts the validation images by each architecture of the pool, with
BatchNorm statistics of the batch. The question is the rank correlation with the calibrated test NLL of the networks.
Recipes: each adds to the one before it.

- short: as long as one training, AdamW and cosine, ranked by NLL, as a search of ours warms up;
- long: as long as three trainings; ranked by NLL, and by NLL after a temperature for each architecture;
- fair: each step trains one path for each operation, together covering all operations once (strict fairness, Chu et
  al. 2021), as many paths in all as `long`;
- dynamic: as `long`, SGD, with a learning rate that falls the later the more parameters a path has, and momentum kept
  for each operation (the two ideas of "Subnet-aware dynamic supernet training", CVPR 2025).

For comparison: parameters and FLOPs alone, and the sum of the ranks by parameters and by calibrated NLL. It can be
killed at any time and goes on where it stopped: what the results have of a pool with so many architectures is kept.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata, spearmanr
from torch.nn import functional as F

from nni_hypens import EdgeNES, metrics
from nni_hypens.compare.pool import Pool
from nni_hypens.ensemble.calibration import calibrated_alone
from nni_hypens.search.supernet import Supernet
from nni_hypens.space.architecture import Sample
from nni_hypens.utils.files import read_object, write_json
from nni_hypens.utils.runtime import versions
from tests.benchmarks import pool_training as pool
from tests.benchmarks.pool import PACKED

RESULTS = Path(__file__).parent / "results" / "supernet_recipes.json"
CELLS = ("fashion_data", "cifar_data", "fashion_capacity", "cifar_capacity")
TRAININGS = {"short": 1, "long": 3, "fair": 3, "dynamic": 3}
COMMAND = "python -m tests.benchmarks.supernet_recipes"
MOMENTUM, SGD_RATE = 0.9, 0.05


class Paths:
    """Draws architectures of a supernet uniformly."""

    def __init__(self, supernet: Supernet, seed: int) -> None:
        self.options = {label: list(values) for label, values in supernet.table.options.items()}
        self.n_chosen = dict(supernet.table.n_chosen)
        self.table, self.random = supernet.table, np.random.default_rng(seed)

    def draw(self) -> Sample:
        """One architecture, each choice by itself."""
        chosen = [
            sorted(self.random.choice(len(values), self.n_chosen[label], replace=False).tolist())
            for label, values in self.options.items()
        ]
        return self.table.to_sample(chosen)

    def cover(self) -> list[Sample]:
        """As many architectures as the longest choice has options, so that each option occurs at least once."""
        length = max(map(len, self.options.values()))
        columns = {}
        for label, values in self.options.items():
            order = [index for _ in range(2 + length // len(values)) for index in self.random.permutation(len(values))]
            columns[label] = [order[place : place + 1] for place in range(length)]
        if any(count != 1 for count in self.n_chosen.values()):
            raise ValueError("every choice of this space must take one option")
        return [self.table.to_sample([columns[label][row] for label in columns]) for row in range(length)]


def train_supernet(supernet: Supernet, cell: pool.Cell, images: pool.Images, recipe: str, seed: int) -> None:
    """Train in place."""
    paths, generator = Paths(supernet, seed), torch.Generator().manual_seed(seed)
    model, epochs = supernet.model, TRAININGS[recipe] * cell.epochs
    steps, done = epochs * (cell.train_images // pool.BATCH), 0
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=pool.LEARNING_RATE, weight_decay=pool.WEIGHT_DECAY, fused=True)
    momentum: dict[int, torch.Tensor] = {}
    sizes: list[int] = []
    many = len(paths.cover()) if recipe == "fair" else 1
    model.train()
    while done < steps:
        for rows in torch.randperm(len(images.train.labels), generator=generator).split(pool.BATCH):
            if len(rows) < pool.BATCH or done >= steps:
                continue
            batch = pool.channels_last(pool.augment(images.train.images[rows], cell.shift, cell.flip, generator))
            labels, progress = images.train.labels[rows], done / steps
            factor = (1 + math.cos(math.pi * progress)) / 2
            model.zero_grad(set_to_none=True)
            samples = paths.cover() if recipe == "fair" else [paths.draw()]
            for sample in samples:
                supernet.set_path(sample)
                F.cross_entropy(model(batch), labels).backward()
            if recipe == "dynamic":
                sizes.append(sum(parameter.numel() for parameter in parameters if parameter.grad is not None))
                relative = sizes[-1] / float(np.mean(sizes))
                _momentum_step(parameters, momentum, SGD_RATE * factor ** (1 / relative))
            else:
                for group in optimizer.param_groups:
                    group["lr"] = pool.LEARNING_RATE * factor
                optimizer.step()
            done += many


def _momentum_step(parameters: Sequence[torch.nn.Parameter], momentum: dict[int, torch.Tensor], rate: float) -> None:
    """SGD of the weights on the path alone: the momentum of other operations is neither used nor worn off."""
    with torch.no_grad():
        for number, parameter in enumerate(parameters):
            if parameter.grad is None:
                continue
            gradient = parameter.grad + pool.WEIGHT_DECAY * parameter
            kept = momentum.get(number)
            momentum[number] = gradient if kept is None else MOMENTUM * kept + gradient
            parameter -= rate * momentum[number]


def ranked(cell: pool.Cell, images: pool.Images, recipe: str, seed: int, packed: Pool) -> dict[str, Any]:
    """Train a supernet, and correlate its ranking with that of the trained networks."""
    rows, start = packed.rows(), time.process_time()
    numbers = packed.columns["architecture"][rows]
    flops, params = packed.columns["flops"][rows], packed.columns["params"][rows]
    truth = packed.columns["calibrated_nll"][rows, 1, -1]
    torch.manual_seed(seed)
    space = pool.space_of(cell)
    strategy = EdgeNES()
    strategy.mutate_model(space)
    supernet = strategy.trained_supernet
    train_supernet(supernet, cell, images, recipe, seed)
    trained = time.process_time() - start
    samples = [pool.architectures()[number] for number in numbers]
    batches = list(zip(images.validation.images.split(250), images.validation.labels.split(250), strict=True))
    probs = supernet.predict(samples, batches).numpy()
    labels = images.validation.labels.numpy()
    nll = metrics.nll_of_each(probs, labels)
    calibrated = np.asarray(metrics.nll_of_each(calibrated_alone(probs, labels), labels))
    return {
        "nll": float(spearmanr(nll, truth)[0]),
        "calibrated_nll": float(spearmanr(calibrated, truth)[0]),
        "calibrated_nll_and_parameters": float(spearmanr(rankdata(calibrated) - rankdata(params), truth)[0]),
        "accuracy": float(spearmanr((probs.argmax(2) != labels).mean(1), truth)[0]),
        "parameters": float(spearmanr(-params, truth)[0]),
        "flops": float(spearmanr(-flops, truth)[0]),
        "mean_accuracy": float((probs.argmax(2) == labels).mean()),
        "training_cpu_s": trained,
        "ranking_cpu_s": time.process_time() - start - trained,
        "architectures": len(rows),
    }


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, default=pool.CIFAR_FILE)
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=CELLS)
    parser.add_argument("--recipes", nargs="+", choices=list(TRAININGS), default=list(TRAININGS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    rows: dict[tuple[int, str, str], dict[str, Any]] = {}
    if given.out.exists():
        rows = {(row["seed"], row["cell"], row["recipe"]): row for row in read_object(given.out)["rows"]}
    for seed in range(given.seeds):
        for cell in (cell for cell in pool.CELLS if cell.name in given.cells):
            images = pool.load_images(cell.data, cell.train_images, given.cifar)
            packed = Pool.load(PACKED / f"{cell.name}.npz")
            for recipe in given.recipes:
                key = seed, cell.name, recipe
                if key not in rows or rows[key]["architectures"] != len(packed.rows()):
                    found = ranked(cell, images, recipe, seed, packed)
                    rows[key] = {"cell": cell.name, "recipe": recipe, "seed": seed, **found}
                    write_json(given.out, {"command": COMMAND, "versions": versions(), "rows": list(rows.values())})
                told = {key: round(value, 3) if isinstance(value, float) else value for key, value in rows[key].items()}
                print(told, flush=True)


if __name__ == "__main__":
    main()
