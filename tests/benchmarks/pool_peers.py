"""What a user would train instead of an ensemble of searched architectures, on the same images with the same schedule.

Peers have numbers after those of the random architectures, and entries in the packed file's `architectures`:

- residual, `{"peer": "residual", "width": ..., ...}`: a residual network designed by hand, as large as the cell's
  random architectures (`nni_hypens.compare.residual`). Its parameters and FLOPs differ from the medians of these by a
  factor of at most :data:`SIZE_FACTOR`, or the script stops.
- snapshots, `{"peer": "snapshots", "run": ..., "architecture": ...}`: snapshot ensembles (Huang et al. 2017) of the
  random architecture with the lowest calibrated validation NLL. The learning rate follows :data:`CYCLES` cosines, each
  as long as the cell's whole schedule, so that one training costs as much as :data:`CYCLES` networks. The replica is
  the cycle. A run of 3 cycles would have been the first 3 of these. As everywhere in the pool the optimizer is AdamW
  (theirs was SGD); it is not started anew.
- darts, `{"peer": "darts", "search": ..., "sample": ..., "search_cpu_seconds": ..., "epochs": ..., "networks": ...}`:
  NNI's DARTS, with the settings of `nni-hypens compare`: it learns weights on the training images and the architecture
  on the validation images, and searches for a third of the epochs of a network. Only the validation images come in
  batches of 64, not 256, which makes it cheaper.
  `networks` is the number under which the networks of its architecture are: that of the first search that chose it.
"""

from __future__ import annotations

import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import nni
import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from nni_hypens._nni import quiet_logging, quiet_training
from nni_hypens.compare.residual import Residual, residual_of_size
from nni_hypens.compare.searches import STRATEGIES, run_strategy
from nni_hypens.data.batches import Batch, ImageBatches, as_batch
from nni_hypens.space.architecture import Sample
from nni_hypens.space.build import fixed_network
from nni_hypens.space.cost import Cost, NetworkSize
from nni_hypens.trials.evaluators import image_evaluator
from nni_hypens.utils.seeds import seed_everything
from tests.benchmarks import pool_training
from tests.benchmarks.pool_training import (
    ARCHITECTURES,
    BATCH,
    CLASSES,
    LEARNING_RATE,
    WEIGHT_DECAY,
    Cell,
    Images,
    augment,
    channels_last,
    space_of,
    train_cycles,
    training_seed,
)

RESIDUAL_SEEDS, SNAPSHOT_RUNS, CYCLES, SEARCHES, DARTS_SEEDS = 7, 3, 5, 3, 6
RESIDUAL = ARCHITECTURES
SNAPSHOTS = range(RESIDUAL + 1, RESIDUAL + 1 + SNAPSHOT_RUNS)
DARTS = range(SNAPSHOTS.stop, SNAPSHOTS.stop + SEARCHES)
SEARCH = -1
"""In place of a replica: the search, which trains no network that is kept."""
SIZE_FACTOR = 1.5
Arrays = dict[str, np.ndarray]


@cache
def residual_sizes(cell: Cell, params: float, flops: float) -> Residual:
    """Sizes of the cell's residual network.

    Args:
        cell: The cell.
        params, flops: Medians over its random architectures.

    Raises:
        ValueError: No residual network is within :data:`SIZE_FACTOR` of both.
    """
    sizes = residual_of_size(params, flops, cell.image_shape, CLASSES)
    cost = sizes.cost(cell.image_shape, CLASSES)
    factors = [cost.params / params, (cost.flops or 1) / flops]
    if not all(1 / SIZE_FACTOR <= factor <= SIZE_FACTOR for factor in factors):
        raise ValueError(f"{cell.name}: {sizes} has {factors} times the median's parameters and FLOPs")
    return sizes


def train_residual(cell: Cell, images: Images, sizes: Residual, replica: int) -> Arrays:
    """Train one residual network."""
    channels = cell.image_shape[0]
    cost = sizes.cost(cell.image_shape, CLASSES)
    seed = training_seed(cell, RESIDUAL, replica)
    return train_cycles(cell, images, lambda: sizes.network(channels, CLASSES), seed, cost)[0]


def train_snapshots(cell: Cell, images: Images, number: int, architecture: int) -> list[Arrays]:
    """Train one network for :data:`CYCLES` schedules in a row; what is recorded at the end of each.

    Args:
        cell, images: The cell.
        number: Which of :data:`SNAPSHOTS`.
        architecture: Number of the random architecture.
    """
    sample, space = pool_training.architectures()[architecture], space_of(cell)
    cost = _cost(cell, sample)
    seed = training_seed(cell, number, 0)
    return train_cycles(cell, images, lambda: fixed_network(space, sample), seed, cost, CYCLES)


def train_chosen(cell: Cell, images: Images, number: int, replica: int, sample: Sample) -> Arrays:
    """Train one network of an architecture that DARTS chose in search `number`."""
    space, cost = space_of(cell), _cost(cell, sample)
    seed = training_seed(cell, number, replica)
    return train_cycles(cell, images, lambda: fixed_network(space, sample), seed, cost)[0]


def _cost(cell: Cell, sample: Sample) -> Cost:
    return NetworkSize(space_of(cell), cell.image_shape).cost(sample)


def search_epochs(cell: Cell) -> int:
    """Epochs of a search by DARTS."""
    return max(1, round(cell.epochs / 3))


def search_darts(cell: Cell, images: Images, number: int) -> dict[str, Any]:
    """Search with NNI's DARTS: the architecture it found, its CPU seconds and its epochs.

    Args:
        cell, images: The cell.
        number: Which of :data:`DARTS`.
    """
    quiet_training()
    quiet_logging()
    seed, epochs = training_seed(cell, number, 1_000), search_epochs(cell)  # no network has so many replicas
    data = SearchImages(cell, images, seed)
    evaluator = image_evaluator(data, CLASSES, epochs, LEARNING_RATE, WEIGHT_DECAY, accelerator="cpu")
    with tempfile.TemporaryDirectory() as folder:
        seed_everything(seed)
        start = time.process_time()
        sample = run_strategy(STRATEGIES["darts"](), space_of(cell), evaluator, Path(folder))
        seconds = time.process_time() - start
    return {"sample": sample, "search_cpu_seconds": round(seconds, 2), "epochs": epochs}


@nni.trace
class SearchImages(pl.LightningDataModule):
    """The cell's images for Lightning, training images augmented."""

    def __init__(self, cell: Cell, images: Images, seed: int) -> None:
        super().__init__()
        self.cell, self.images = cell, images
        self.generator = torch.Generator().manual_seed(seed)

    def train_dataloader(self) -> DataLoader[Batch]:
        def changed(images: torch.Tensor) -> torch.Tensor:
            return channels_last(augment(images, self.cell.shift, self.cell.flip, self.generator))

        batches = ImageBatches(*self.images.train, changed)
        return DataLoader(batches, BATCH, shuffle=True, drop_last=True, collate_fn=as_batch)

    def val_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(ImageBatches(*self.images.validation), BATCH, collate_fn=as_batch)
