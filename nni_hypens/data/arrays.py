"""Arrays of images and labels: reading idx files, the checks that every array passes, and subsets by class."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from torch.utils.data import Dataset

from nni_hypens.data.names import AUGMENTATION_NAMES
from nni_hypens.errors import InputError

MIN_SIDE = 8


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """Read an idx file of unsigned bytes (LeCun's MNIST format), plain or gzipped.

    Args:
        path: The file; gzipped when its name ends in `.gz`.
        ndim: Number of dimensions it must have.

    Returns:
        uint8 array of the shape given in the file's header.

    Raises:
        InputError: If the header is another, or the content does not have the size the header promises.
    """
    expected = f"a complete idx file of unsigned bytes with {ndim} dimension(s)"
    opened = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")
    try:
        with cast(BinaryIO, opened) as file:
            header = file.read(4 + 4 * ndim)
            if len(header) < 4 + 4 * ndim or header[:4] != bytes([0, 0, 8, ndim]):
                raise InputError("data.root", f"{path} with header {header[:4].hex()}", expected)
            shape = tuple(int(size) for size in np.frombuffer(header, dtype=">u4", offset=4))
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError("data.root", f"{path} ({error})", expected) from error
    if len(content) != math.prod(shape):
        raise InputError("data.root", f"{path} with {len(content)} bytes for shape {shape}", expected)
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def check_arrays(images: np.ndarray, labels: np.ndarray, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Check one part of a source.

    Args:
        images: `N x H x W` or `N x H x W x C`, integers or floats, finite, at least 8 x 8 pixels.
        labels: `N` integers, not negative.
        split: "train" or "test", for the messages.

    Returns:
        Images as `N x H x W x C` in their own dtype, and labels as int64.

    Raises:
        InputError: Naming `data.x_SPLIT` or `data.y_SPLIT`.
    """
    x_field, y_field = f"data.x_{split}", f"data.y_{split}"
    if images.dtype.kind not in "uif":
        raise InputError(x_field, f"dtype {images.dtype}", "integers (uint8 at best) or floats")
    if images.ndim not in (3, 4):
        raise InputError(x_field, f"shape {images.shape}", "N x H x W or N x H x W x C")
    images = images[..., None] if images.ndim == 3 else images
    if images.shape[0] == 0 or images.shape[3] == 0:
        raise InputError(x_field, f"shape {images.shape}", "at least one image with one channel")
    if min(images.shape[1:3]) < MIN_SIDE:
        expected = f"images of {MIN_SIDE} x {MIN_SIDE} pixels or more, as N x H x W x C (channels last)"
        raise InputError(x_field, f"shape {images.shape}", expected)
    # Checked as float32, which is what the networks get: a float64 beyond its range is no better than an infinity.
    if images.dtype.kind == "f" and not all(_is_finite(image) for image in images):
        raise InputError(x_field, "NaN or infinite values", "finite values within float32")
    if labels.dtype.kind not in "ui":
        raise InputError(y_field, f"dtype {labels.dtype}", "integer labels")
    if labels.ndim != 1:
        raise InputError(y_field, f"shape {labels.shape}", "one label per image, shape (N,)")
    if len(labels) != len(images):
        raise InputError(y_field, f"{len(labels)} labels for {len(images)} images", "as many labels as images")
    if labels.min() < 0 or labels.max() > np.iinfo(np.int64).max:
        raise InputError(y_field, f"labels from {labels.min()} to {labels.max()}", "labels from 0 to 2^63 - 1")
    return images, labels.astype(np.int64)


def stratified_subset(labels: np.ndarray, size: int, seed: tuple[int, int]) -> np.ndarray:
    """Draw a subset in which every class has its share, by largest remainders.

    scikit-learn's `train_test_split` is not used because it refuses to leave fewer examples than there are classes.

    Args:
        labels: `N` integers.
        size: How many to draw, 0..N.
        seed: Two integers of 0..2^32-1; the same pair draws the same subset.

    Returns:
        `size` ascending positions; each class has its exact share rounded down or up.
    """
    # RandomState rather than Generator: numpy promises that its stream never changes, so a split outlives an upgrade.
    rng = np.random.RandomState(list(seed))
    classes, counts = np.unique(labels, return_counts=True)
    take = counts * size // len(labels)
    remainders = counts * size % len(labels)
    take[np.argsort(-remainders, kind="stable")[: size - take.sum()]] += 1
    chosen = [rng.permutation(np.flatnonzero(labels == c))[:n] for c, n in zip(classes, take, strict=True)]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def _is_finite(image: np.ndarray) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.isfinite(image.astype(np.float32, copy=False)).all())


# Pixel values converted at a time: 32 MB as float64, whatever the size of the images.
_CHUNK_VALUES = 2**22
Batch = tuple[torch.Tensor, torch.Tensor]


class ImageBatches(Dataset[Batch]):
    """Images in memory, handed out a whole batch at a time by one `index_select`.

    torch's DataLoader calls `__getitems__` with the indices of a batch; with `as_batch` for collate function there is
    no work per example, while samplers (also the distributed ones that Lightning puts in) still see single examples.

    Args:
        images: `N x C x H x W`, float32.
        labels: `N`, int64.
        augment: Applied to the images of each batch; None for no change.
    """

    def __init__(
        self, images: torch.Tensor, labels: torch.Tensor, augment: Callable[[torch.Tensor], torch.Tensor] | None = None
    ) -> None:
        self.images = images
        self.labels = labels
        self.augment = augment

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Batch:
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        rows = torch.as_tensor(indices, dtype=torch.int64)
        images = self.images.index_select(0, rows)
        return images if self.augment is None else self.augment(images), self.labels.index_select(0, rows)


def as_batch(batch: Batch) -> Batch:
    """Collate function for `ImageBatches`, whose batches need no collating."""
    return batch


def random_crop(images: torch.Tensor, flip: bool = False) -> torch.Tensor:
    """Shift each image at random over a border of zeros, and mirror every second one if asked.

    The border is 4 pixels as usual for CIFAR (He et al. 2016, section 4.2), less for images below 32 pixels: an
    eighth of the height, at least 1. Zero is the mean of normalised images. Draws come from torch's global generator.

    Args:
        images: `B x C x H x W`.
        flip: Whether to mirror each image left to right with probability 1/2.

    Returns:
        A new tensor of the same shape.
    """
    n, channels, height, width = images.shape
    border = max(1, min(4, height // 8))
    padded = torch.nn.functional.pad(images, (border, border, border, border))
    top, left = torch.randint(0, 2 * border + 1, (2, n, 1))
    rows = top + torch.arange(height)
    columns = torch.arange(width).expand(n, width)
    if flip:
        columns = torch.where(torch.rand(n, 1) < 0.5, width - 1 - columns, columns)
    columns = left + columns
    picture = torch.arange(n)[:, None, None, None]
    channel = torch.arange(channels)[None, :, None, None]
    return padded[picture, channel, rows[:, None, :, None], columns[:, None, None, :]]


AUGMENTATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor] | None] = dict(
    zip(AUGMENTATION_NAMES, (None, random_crop, partial(random_crop, flip=True)), strict=True)
)


def channel_statistics(images: np.ndarray, rows: np.ndarray, scale: float) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, over the chosen images after division by `scale`.

    Args:
        images: `N x H x W x C`.
        rows: Which images count, at least one.
        scale: Divisor of the pixel values.

    Returns:
        C means and C standard deviations (population); a constant channel has standard deviation 1, so that
        normalising leaves zeros rather than dividing by zero.
    """
    chunks = _chunks(images, rows)
    count = len(rows) * images.shape[1] * images.shape[2]
    mean = sum((images[chunk] / scale).sum(axis=(0, 1, 2), dtype=np.float64) for chunk in chunks) / count
    squares = [np.square(images[chunk] / scale - mean).sum(axis=(0, 1, 2), dtype=np.float64) for chunk in chunks]
    std = np.sqrt(sum(squares) / count)
    # Relative to the mean: rounding alone gives a constant channel a standard deviation near 1e-17.
    std = np.where(std > 1e-7 * np.maximum(np.abs(mean), 1e-7), std, 1.0)
    return mean.tolist(), std.tolist()


def normalise(images: np.ndarray, rows: np.ndarray, input_spec: dict[str, Any]) -> torch.Tensor:
    """Turn source images into network input: `(x / scale - mean) / std`, channels first.

    Args:
        images: `N x H x W x C`.
        rows: Which images.
        input_spec: As `ImageData.input_spec`.

    Returns:
        `len(rows) x C x H x W`, float32.
    """
    scale, mean, std = (np.asarray(input_spec[key], dtype=np.float64) for key in ("scale", "mean", "std"))
    result = torch.empty(len(rows), images.shape[3], images.shape[1], images.shape[2])
    start = 0
    for chunk in _chunks(images, rows):
        values = (images[chunk] / scale - mean) / std
        result[start : start + len(chunk)] = torch.from_numpy(values).permute(0, 3, 1, 2)
        start += len(chunk)
    return result


def _chunks(images: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    step = max(1, _CHUNK_VALUES // images[0].size)
    return [rows[start : start + step] for start in range(0, len(rows), step)]
