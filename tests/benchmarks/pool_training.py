"""The cells of the pool of trained networks, their images, and the training of one network.

A cell is a data set and a regime. The regimes, and what was found (`python -m tests.benchmarks.pool check --cells CELL`
finds it again, on six architectures):

- data: the training loss at the end, as a median over architectures, is below 0.2. In the pool, over 40 architectures:
  Fashion-MNIST 0.17, CIFAR-10 0.15.
- capacity: the training loss is far from zero, and twice the epochs change the calibrated test NLL by less than 2%.
  Over six architectures: Fashion-MNIST loss 0.44, twice the epochs +0.7% (-4 to +7% for each). CIFAR-10 loss 1.22,
  twice the epochs -2.7% (-5 to 0%), so these networks are not quite at the end of what they can learn. It is a flat
  place between too few epochs and too many rather than the end of all learning: with twice the epochs the training loss
  still falls by an eighth to a quarter, and the temperature rises.
- short: the capacity regime with a tenth of its epochs (4 of 28 for CIFAR-10, so that the four marks differ).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import log_softmax
from torch.nn import functional as F

from nni_hypens.data.arrays import stratified_subset
from nni_hypens.data.sources import open_source
from nni_hypens.ensemble.calibration import fit_temperature
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.build import fixed_network
from nni_hypens.space.cost import Budget, Cost
from nni_hypens.space.draws import random_architectures
from nni_hypens.utils.tensors import write_tensors
from search_spaces import OneCell

# The subset of CIFAR-10 is no part of the repository; the pool goes on without it where it is not there.
CIFAR_FILE = Path(__file__).parents[3] / "shared" / "data" / "cifar10_subset.npz"
DATA, REGIMES = ("fashion", "cifar"), ("data", "capacity", "short")
MARKS = (0.25, 0.5, 0.7, 1.0)
ARCHITECTURES = 400  # drawn together: another number would give others
ARCHITECTURE_SEED, SPLIT_SEED = 20_261_128, 2_611
VALIDATION, TEST, CLASSES = 1_000, 2_000, 10
LEARNING_RATE, WEIGHT_DECAY, BATCH, EVALUATION_BATCH = 0.01, 0.001, 64, 100


@dataclass(frozen=True)
class Cell:
    """One data set and regime, and how its networks are trained.

    Attributes:
        data: "fashion" or "cifar".
        regime: "data", "capacity" or "short".
        channels: Of the cell of `OneCell`.
        train_images: How many images a network is trained on.
        epochs: Of the whole schedule.
        shift: Most pixels that a training image is moved by, in each direction.
        flip: Whether training images are mirrored at random.
        architectures: How many architectures are trained with seed 0.
        first: How many of these are trained before any further seed; those with further seeds are chosen among them.
        best, others: How many of the first get `more_seeds` more seeds: the best on validation data, and random ones.
        best_of_all: So many of the best of all architectures get them too, if they have not got them already.
    """

    data: str
    regime: str
    channels: int
    train_images: int
    epochs: int
    shift: int = 0
    flip: bool = False
    architectures: int = 100
    first: int = 40
    best: int = 8
    others: int = 7
    best_of_all: int = 12
    more_seeds: int = 5

    @property
    def name(self) -> str:
        return f"{self.data}_{self.regime}"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return (1, 14, 14) if self.data == "fashion" else (3, 16, 16)


_FEWER: dict[str, int] = {"architectures": 60, "best": 4, "others": 4, "best_of_all": 8}
CELLS = (
    Cell("fashion", "data", channels=16, train_images=1_000, epochs=30),
    Cell("cifar", "data", channels=20, train_images=704, epochs=44),
    Cell("fashion", "capacity", channels=4, train_images=1_600, epochs=50),
    Cell("cifar", "capacity", channels=8, train_images=2_500, epochs=28, flip=True),
    Cell("fashion", "short", channels=4, train_images=1_600, epochs=5, **_FEWER),
    Cell("cifar", "short", channels=8, train_images=2_500, epochs=4, flip=True, **_FEWER),
)


COUNTS = ("architectures", "first", "best", "others", "best_of_all", "more_seeds")
"""Attributes of a cell on which no network depends. All but `first` can be raised later."""


class Part(NamedTuple):
    """Images `N x C x H x W` (float32) and labels `N` (int64)."""

    images: torch.Tensor
    labels: torch.Tensor


Pixels = tuple[np.ndarray, np.ndarray]
"""Pixels `N x H x W x C`, float32 from 0 to 1, and labels `N`."""


class Images(NamedTuple):
    """What the networks of a cell are trained and judged on."""

    train: Part
    validation: Part
    test: Part


def channels_last(images: torch.Tensor) -> torch.Tensor:
    """The same images with the channels of a pixel side by side in memory: half the time for three colours."""
    return images.contiguous(memory_format=torch.channels_last)


def halved(images: np.ndarray) -> np.ndarray:
    """Average `N x H x W [x C]` bytes over squares of 2 x 2 pixels: `N x H/2 x W/2 x C`, float32 from 0 to 1."""
    images = images[..., None] if images.ndim == 3 else images
    n, height, width, channels = images.shape
    squares = images.reshape(n, height // 2, 2, width // 2, 2, channels)
    return squares.mean(axis=(2, 4), dtype=np.float32) / np.float32(255)


def split(labels: np.ndarray, train_images: int, seed: int = SPLIT_SEED) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the training and validation images, each class with its share.

    All regimes of a data set have the same validation images, so that a network's results can be compared across them.
    """
    validation = stratified_subset(labels, VALIDATION, (seed, 0))
    rest = np.setdiff1d(np.arange(len(labels)), validation)
    return rest[stratified_subset(labels[rest], train_images, (seed, 1))], validation


def arrays(data: str, cifar_file: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and labels of a data set, "train" and "test"; the subset of CIFAR-10 has further arrays, not read here."""
    if data == "fashion":
        source = open_source("fashion_mnist")
        return {part: source.load(part) for part in ("train", "test")}
    with np.load(cifar_file, allow_pickle=False) as file:
        return {part: (file[f"x_{part}"], file[f"y_{part}"]) for part in ("train", "test")}


def load_pixels(data: str, train_images: int, cifar_file: Path, seed: int = SPLIT_SEED) -> dict[str, Pixels]:
    """Pixels, from 0 to 1, and labels of a cell's "train", "validation" and "test" images."""
    given = arrays(data, cifar_file)
    images, labels = given["train"]
    train, validation = split(labels, train_images, seed)
    test_images, test_labels = given["test"]
    test = stratified_subset(test_labels, min(TEST, len(test_labels)), (SPLIT_SEED, 2))
    return {
        "train": (halved(images[train]), labels[train]),
        "validation": (halved(images[validation]), labels[validation]),
        "test": (halved(test_images[test]), test_labels[test]),
    }


def standardised(pixels: np.ndarray, like: np.ndarray) -> torch.Tensor:
    """Images `N x C x H x W` of pixels `N x H x W x C`, by mean and deviation of each channel in `like`."""
    mean, deviation = like.mean(axis=(0, 1, 2)), like.std(axis=(0, 1, 2))
    return channels_last(torch.from_numpy((pixels - mean) / deviation).permute(0, 3, 1, 2))


@lru_cache(maxsize=len(CELLS))
def load_images(data: str, train_images: int, cifar_file: Path) -> Images:
    """Images of a cell, standardised by the mean and deviation of its training images in each channel."""
    parts = load_pixels(data, train_images, cifar_file)
    like = parts["train"][0]
    tensors = {name: standardised(pixels, like) for name, (pixels, _) in parts.items()}
    return Images(**{name: Part(tensors[name], torch.from_numpy(y.astype(np.int64))) for name, (_, y) in parts.items()})


def space_of(cell: Cell) -> OneCell:
    """The space whose networks are trained."""
    return OneCell(channels=cell.channels, layers=2, in_channels=cell.image_shape[0], num_classes=CLASSES)


@lru_cache(maxsize=1)
def architectures() -> list[Sample]:
    """Random distinct architectures, the same in all cells, more than are trained so far."""
    return random_architectures(EdgeStructure.from_space(OneCell()), ARCHITECTURES, ARCHITECTURE_SEED)


def training_seed(cell: Cell, architecture: int, replica: int) -> int:
    """Seed of one training; it depends on which network it is and on nothing else, so order does not matter."""
    words = [DATA.index(cell.data), REGIMES.index(cell.regime), architecture, replica]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))


def augment(images: torch.Tensor, shift: int, flip: bool, generator: torch.Generator) -> torch.Tensor:
    """Move and mirror each image of `B x C x H x W` by a separate draw, and fill the borders with zeros."""
    n, _, height, width = images.shape
    if shift:
        down, right = torch.randint(0, 2 * shift + 1, (2, n, 1), generator=generator)
        rows, columns = down + torch.arange(height), right + torch.arange(width)
        padded = F.pad(images, [shift] * 4).permute(0, 2, 3, 1)
        images = padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if flip:
        mirrored = torch.rand(n, 1, 1, 1, generator=generator) < 0.5
        images = torch.where(mirrored, images.flip(3), images)
    return images


@torch.inference_mode()
def log_probabilities(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Log-probabilities `N x 10` of a network in evaluation mode."""
    network.eval()
    return torch.cat([F.log_softmax(network(batch), dim=1) for batch in images.split(EVALUATION_BATCH)])


class Schedule:
    """AdamW with a learning rate that falls from :data:`LEARNING_RATE` to 0 as a cosine, a step per batch.

    Args:
        network: The network whose weights are changed.
        steps: After so many the rate begins again at :data:`LEARNING_RATE`.
    """

    def __init__(self, network: torch.nn.Module, steps: int) -> None:
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
        )
        self.done, self.steps = 0, steps

    def step(self, loss: torch.Tensor) -> None:
        """Change the weights by the gradient of ``loss``."""
        for group in self.optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 + math.cos(math.pi * (self.done % self.steps) / self.steps)) / 2
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.done += 1


def train_epoch(
    network: torch.nn.Module, schedule: Schedule, train: Part, cell: Cell, generator: torch.Generator
) -> float:
    """Train for one epoch of whole batches (the images that are left over differ from epoch to epoch); mean loss."""
    network.train()
    order, losses = torch.randperm(len(train.labels), generator=generator), []
    for rows in order.split(BATCH):
        if len(rows) == BATCH:
            images = channels_last(augment(train.images[rows], cell.shift, cell.flip, generator))
            loss = F.cross_entropy(network(images), train.labels[rows])
            schedule.step(loss)
            losses.append(loss.detach())
    return float(torch.stack(losses).mean())


def scores(log_probs: dict[str, np.ndarray], labels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Temperature fitted on the validation images, and calibrated NLL and accuracy of both parts, at each mark.

    Args:
        log_probs: "validation" and "test" -> `4 x images x 10`.
        labels: The same names -> true classes.

    Returns:
        ``temperature`` `4`, ``calibrated_nll`` and ``accuracy`` `2 x 4`, validation and test, float32.
    """
    temperatures = [fit_temperature(np.exp(mark), labels["validation"]) for mark in log_probs["validation"]]
    nll, accuracy = np.zeros((2, 2, len(temperatures)), dtype=np.float32)
    for row, (part, true) in enumerate(labels.items()):
        for mark, temperature in enumerate(temperatures):
            tempered = log_softmax(log_probs[part][mark] / temperature, axis=1)
            nll[row, mark] = -tempered[np.arange(len(true)), true].mean()
            accuracy[row, mark] = (tempered.argmax(axis=1) == true).mean()
    return {"temperature": np.asarray(temperatures, np.float32), "calibrated_nll": nll, "accuracy": accuracy}


def train_network(cell: Cell, images: Images, architecture: int, replica: int) -> dict[str, np.ndarray]:
    """Train one network of the space; see :func:`train_cycles` for what is recorded."""
    sample, space = architectures()[architecture], space_of(cell)  # before the seed is set: both draw weights
    cost = Budget(space, input_shape=cell.image_shape).cost(sample)
    seed = training_seed(cell, architecture, replica)
    return train_cycles(cell, images, lambda: fixed_network(space, sample), seed, cost)[0]


def train_cycles(
    cell: Cell,
    images: Images,
    build: Callable[[], torch.nn.Module],
    seed: int,
    cost: Cost,
    cycles: int = 1,
    looks: Sequence[float] = MARKS,
    new_optimizer: bool = False,
    keep: Path | None = None,
) -> list[dict[str, np.ndarray]]:
    """Train a network for the cell's schedule, or for several of them in a row, and record what the pool keeps of it.

    Args:
        cell: Says how.
        images: The cell's.
        build: Makes the network, with new weights.
        seed: Of the weights, the order of images and their augmentation.
        cost: The network's parameters and FLOPs.
        cycles: Times that the schedule is repeated; the learning rate starts anew each time, the weights go on.
        looks: Shares of the schedule, `L` of them, after which the network predicts.
        new_optimizer: Whether the optimizer starts anew each time too, as that of a run that trains a network further.
        keep: File that gets the weights at the end; None for none.

    Returns:
        At the end of each cycle: ``validation`` `L x N x 10` and ``test`` `L x M x 10`, float16 log-probabilities at
        ``looks`` (logarithms keep more digits of small ones); ``train_loss``, ``validation_nll`` and
        ``cpu_seconds`` `epochs`: at the end of each epoch, the last of training alone, summed up from the beginning of
        the cycle; ``params``, ``flops``, and the arrays of :func:`scores`.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # of the weights
    network = build().to(memory_format=torch.channels_last)
    steps, results = cell.epochs * (cell.train_images // BATCH), []
    schedule = Schedule(network, steps)
    for cycle in range(cycles):
        if cycle and new_optimizer:
            schedule = Schedule(network, steps)
        results.append(_train_cycle(cell, images, network, schedule, generator, cost, looks))
    if keep is not None:
        write_tensors(keep, {name: value.contiguous() for name, value in network.state_dict().items()})
    return results


def _train_cycle(
    cell: Cell,
    images: Images,
    network: torch.nn.Module,
    schedule: Schedule,
    generator: torch.Generator,
    cost: Cost,
    looks: Sequence[float],
) -> dict[str, np.ndarray]:
    marks = [max(1, round(mark * cell.epochs)) for mark in looks]
    kept: dict[str, list[torch.Tensor]] = {"validation": [], "test": []}
    train_loss, validation_nll, seconds = [], [], [0.0]
    for epoch in range(1, cell.epochs + 1):
        start = time.process_time()
        train_loss.append(train_epoch(network, schedule, images.train, cell, generator))
        seconds.append(seconds[-1] + time.process_time() - start)
        validation = log_probabilities(network, images.validation.images)
        validation_nll.append(float(F.nll_loss(validation, images.validation.labels)))
        for _ in range(marks.count(epoch)):  # two marks of a very short schedule may meet
            kept["validation"].append(validation)
            kept["test"].append(log_probabilities(network, images.test.images))
    history = {"train_loss": train_loss, "validation_nll": validation_nll, "cpu_seconds": seconds[1:]}
    log_probs = {part: torch.stack(values).numpy() for part, values in kept.items()}
    labels = {part: getattr(images, part).labels.numpy() for part in kept}
    return {
        **{part: values.astype(np.float16) for part, values in log_probs.items()},
        **{key: np.asarray(values, dtype=np.float32) for key, values in history.items()},
        **{key: np.int64(value) for key, value in cost._asdict().items()},
        **scores(log_probs, labels),
    }
