"""Arrays of examples and labels: idx files, checks, subsets by class, and statistics of channels and features."""

from __future__ import annotations

import gzip
import math
import warnings
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np

from nni_hypens.errors import InputError, InputWarning
from nni_hypens.utils.files import memory_bytes, open_file
from nni_hypens.utils.images import chunks
from nni_hypens.utils.ranges import DECLARED
from nni_hypens.utils.values import as_numbers

MIN_SIDE = 8
DARK = 1 / 4
"""Images of unsigned integers whose highest value is below this share of white are probably not of the full range."""


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """Read an idx file of unsigned bytes (LeCun's MNIST format), plain or gzipped.

    torchvision's reader is not used: it reads only unpacked files in `FashionMNIST/raw`, and Debian's folder, which a
    user cannot write to, has gzipped files directly in it.

    Args:
        path: The file; gzipped when its name ends in `.gz`.
        ndim: Number of dimensions it must have.

    Returns:
        uint8 array of the shape given in the file's header.

    Raises:
        InputError: If the header is wrong, or the content does not have the size that the header gives.
    """
    expected = f"a complete idx file of unsigned bytes with {ndim} dimension(s)"
    try:
        with open_file(path, links=True) as plain:
            file = cast(IO[bytes], gzip.open(plain)) if path.suffix == ".gz" else plain
            header = file.read(4 + 4 * ndim)
            if len(header) < 4 + 4 * ndim or header[:4] != bytes([0, 0, 8, ndim]):
                raise InputError("data.root", f"{path} with header {header[:4].hex()}", expected)
            shape = tuple(int(size) for size in np.frombuffer(header, dtype=">u4", offset=4))
            if math.prod(shape) > memory_bytes():
                raise InputError("data.root", f"{path} with a header for {math.prod(shape)} bytes", expected)
            content = file.read(math.prod(shape) + 1)  # no more: a small file may unpack to a huge one
    except (OSError, EOFError, zlib.error) as error:
        raise InputError("data.root", f"{path} ({error})", expected) from error
    if len(content) != math.prod(shape):
        raise InputError("data.root", f"{path} with {len(content)} bytes for shape {shape}", expected)
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def check_arrays(images: np.ndarray, labels: np.ndarray, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Check one part of a source.

    Arrays of three or four dimensions are images. All others are other tensors: `N x F` is a table.

    Args:
        images: `N x H x W` or `N x H x W x C`, at least 8 x 8 pixels, or other tensors; finite values, as for
            `nni_hypens.utils.values.as_numbers`.
        labels: `N` integers, not negative, or `N` strings.
        split: "train", "val" or "test", for the messages.

    Returns:
        Images as `N x H x W x C`, or other tensors as they are, as numbers; and labels as int64 or strings.

    Raises:
        InputError: Naming `data.x_SPLIT` or `data.y_SPLIT`.
    """
    x_field, y_field = f"data.x_{split}", f"data.y_{split}"
    images = as_numbers(images, x_field)
    if images.ndim < 2:
        raise InputError(x_field, f"shape {images.shape}", "N x H x W or N x H x W x C, or N x F for a table")
    images = images[..., None] if images.ndim == 3 else images
    what, parts = ("image", "channel") if images.ndim == 4 else ("example", "value")
    if 0 in images.shape:
        expected = f"at least one {what} with one {parts}"
        raise InputError(x_field, f"shape {images.shape}", expected)
    if images.ndim == 4 and min(images.shape[1:3]) < MIN_SIDE:
        expected = f"images of {MIN_SIDE} x {MIN_SIDE} pixels or more, as N x H x W x C (channels last)"
        raise InputError(x_field, f"shape {images.shape}", expected)
    # Checked as float32, which is what the networks get: a float64 beyond its range is no better than an infinity.
    if images.dtype.kind == "f" and not all(_is_finite(image) for image in images):
        expected = "finite values within float32"
        raise InputError(x_field, "NaN or infinite values", f"{expected}{'; fill missing ones' * (images.ndim == 2)}")
    if labels.dtype.kind == "O" and all(isinstance(label, str) for label in labels.flat):  # a column of pandas
        labels = labels.astype(np.str_)
    if labels.dtype.kind == "f":
        raise InputError(y_field, f"dtype {labels.dtype}", "integer labels, or strings: regression is not covered")
    if labels.dtype.kind not in "uiU":
        raise InputError(y_field, f"dtype {labels.dtype}", "integer labels, or strings")
    if labels.ndim != 1:
        raise InputError(y_field, f"shape {labels.shape}", f"one label per {what}, shape (N,)")
    if len(labels) != len(images):
        raise InputError(y_field, f"{len(labels)} labels for {len(images)} {what}s", f"as many labels as {what}s")
    if labels.dtype.kind == "U":
        return images, labels
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


def warn_about_values(images: np.ndarray, split: str, stated: bool) -> None:
    """Warn if the examples of a part are all the same, or are images much darker than their dtype allows.

    Args:
        images: `N x H x W x C`, or other tensors.
        split: "train" or "test", for the messages.
        stated: Whether the source states the values of black and white, so that dark images are meant.
    """
    if len(images) > 1 and all((image == images[0]).all() for image in images[1:]):
        what = "images" if images.ndim == 4 else "examples"
        warnings.warn(f"data.x_{split}: all {len(images)} {what} are identical", InputWarning, stacklevel=2)
    if not stated and images.ndim == 4 and images.dtype in DECLARED:
        high = DECLARED[images.dtype][1]
        lowest, highest = int(images.min()), int(images.max())
        if lowest < highest < DARK * high:
            text = f"data.x_{split}: values from {lowest} to {highest} of type {images.dtype} count as nearly black"
            text += f", as white is {high:g}; if it is another number, add range=[low, high] to the arrays"
            warnings.warn(text, InputWarning, stacklevel=2)


def _is_finite(image: np.ndarray) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.isfinite(image.astype(np.float32, copy=False)).all())


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
    parts = list(chunks(images, rows))
    count = len(rows) * images.shape[1] * images.shape[2]
    mean = sum((images[chunk] / scale).sum(axis=(0, 1, 2), dtype=np.float64) for chunk in parts) / count
    squares = [np.square(images[chunk] / scale - mean).sum(axis=(0, 1, 2), dtype=np.float64) for chunk in parts]
    std = np.sqrt(sum(squares) / count)
    # Relative to the mean: rounding alone gives a constant channel a standard deviation near 1e-17.
    std = np.where(std > 1e-7 * np.maximum(np.abs(mean), 1e-7), std, 1.0)
    return mean.tolist(), std.tolist()


def feature_statistics(examples: np.ndarray, rows: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each entry of the first dimension of an example: of each feature of a table.

    Args:
        examples: `N x F`, or `N x F x ...`.
        rows: Which examples count, at least one.

    Returns:
        F means and F standard deviations (population); 1 for a feature that is the same in all these examples.

    Examples:
        >>> feature_statistics(np.array([[1.0, 5.0], [3.0, 5.0], [9.0, 9.0]]), np.array([0, 1]))
        ([2.0, 5.0], [1.0, 1.0])
    """
    columns = np.moveaxis(examples[rows].astype(np.float64), 1, 0).reshape(examples.shape[1], -1)
    constant = columns.min(axis=1) == columns.max(axis=1)
    mean = np.where(constant, columns[:, 0], columns.mean(axis=1))
    # a difference so small that its square is zero leaves zeros, too
    std = columns.std(axis=1)
    return mean.tolist(), np.where(constant | (std == 0), 1.0, std).tolist()
