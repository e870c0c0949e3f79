"""From raw examples to network input; data and ensembles share it, so that both compute the same numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nni_hypens.errors import InputError
from nni_hypens.utils.inputs import is_image

MAX_FACTOR = 1e20
"""Bound on what normalisation multiplies by, adds and divides by. Networks compute in float32, up to 3e38."""
_CHUNK_VALUES = 2**22
"""Pixel values converted at a time: 32 MB as float64, whatever the size of the images."""


def normalise(
    images: NDArray[Any], input_spec: Mapping[str, Any], rows: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Scale and normalise examples in double precision: `(x / scale - mean) / std`. Images get their channels first.

    Args:
        images: Images `N x H x W x C`, or other tensors `N x shape`; integers or floats.
        input_spec: With `scale`, a number, and `mean` and `std`, one number per channel of images, or per entry of the
            first size of `shape`.
        rows: Which examples; None for all.

    Returns:
        `len(rows) x C x H x W`, or `len(rows) x shape`; float32.

    Raises:
        InputError: The result is beyond float32.

    Examples:
        >>> pixels = np.array([[[[0], [255]]]], dtype=np.uint8)
        >>> normalise(pixels, {"scale": 255, "mean": [0.5], "std": [0.25]})
        array([[[[-2.,  2.]]]], dtype=float32)
        >>> normalise(np.array([[3.0, 10.0]]), {"shape": [2], "scale": 1, "mean": [1.0, 10.0], "std": [2.0, 5.0]})
        array([[1., 0.]], dtype=float32)
    """
    scale, mean, std = (np.asarray(input_spec[key], dtype=np.float64) for key in ("scale", "mean", "std"))
    rows = np.arange(len(images)) if rows is None else rows
    pictures, sizes = is_image(input_spec), images.shape[1:]
    if not pictures:
        mean, std = (numbers.reshape(-1, *[1] * (len(sizes) - 1)) for numbers in (mean, std))
    result = np.empty((len(rows), *((sizes[2], *sizes[:2]) if pictures else sizes)), dtype=np.float32)
    start = 0
    for chunk in chunks(images, rows):
        part = result[start : start + len(chunk)]
        with np.errstate(over="ignore"):
            values = (images[chunk] / scale - mean) / std
            part[:] = values.transpose(0, 3, 1, 2) if pictures else values
        if not np.isfinite(part).all():
            got = f"values up to {float(np.abs(images[chunk]).max()):.3g}"
            raise InputError("images", got, "values that float32 can hold after normalisation")
        start += len(chunk)
    return result


def check_normalisation(input_spec: Mapping[str, Any], field: str = "input") -> None:
    """Check that float32 can hold the numbers of a normalisation, so that a network gets images and not infinity.

    Args:
        input_spec: As for `normalise`; all numbers are finite, and `scale` and `std` positive.
        field: Name of the input spec, for the error.

    Raises:
        InputError: It cannot.

    Examples:
        >>> check_normalisation({"scale": 255, "mean": [0.5], "std": [0.25]})
    """
    scale, mean, std = (np.asarray(input_spec[key], dtype=np.float64) for key in ("scale", "mean", "std"))
    with np.errstate(over="ignore", divide="ignore"):
        factors, shifts = 1 / (scale * std), np.abs(mean / std)
    if not ((factors >= 1 / MAX_FACTOR) & (factors <= MAX_FACTOR) & (shifts <= MAX_FACTOR)).all():
        got = f"scale {scale:g}, mean {mean.tolist()!s:.60} and std {std.tolist()!s:.60}"
        limits = f"1 / (scale * std) in {1 / MAX_FACTOR:g}..{MAX_FACTOR:g} and |mean| / std at most {MAX_FACTOR:g}"
        raise InputError(field, got, limits)


def chunks(images: NDArray[Any], rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut `rows` so that the chosen images of each part take a bounded amount of memory."""
    step = max(1, _CHUNK_VALUES // images[0].size)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]
