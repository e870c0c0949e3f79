"""From raw images to network input; data and ensembles share it, so that both compute the same numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHUNK_VALUES = 2**22
"""Pixel values converted at a time: 32 MB as float64, whatever the size of the images."""


def normalise(
    images: NDArray[Any], input_spec: Mapping[str, Any], rows: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Scale and normalise images in double precision, channels first: `(x / scale - mean) / std`.

    Args:
        images: `N x H x W x C`, integers or floats.
        input_spec: With `scale`, a number, and `mean` and `std`, `C` numbers each.
        rows: Which images; None for all.

    Returns:
        `len(rows) x C x H x W`, float32.

    Examples:
        >>> pixels = np.array([[[[0], [255]]]], dtype=np.uint8)
        >>> normalise(pixels, {"scale": 255, "mean": [0.5], "std": [0.25]})
        array([[[[-2.,  2.]]]], dtype=float32)
    """
    scale, mean, std = (np.asarray(input_spec[key], dtype=np.float64) for key in ("scale", "mean", "std"))
    rows = np.arange(len(images)) if rows is None else rows
    height, width, channels = images.shape[1:]
    result = np.empty((len(rows), channels, height, width), dtype=np.float32)
    start = 0
    for chunk in chunks(images, rows):
        result[start : start + len(chunk)] = ((images[chunk] / scale - mean) / std).transpose(0, 3, 1, 2)
        start += len(chunk)
    return result


def chunks(images: NDArray[Any], rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut `rows` so that the chosen images of each part take a bounded amount of memory."""
    step = max(1, _CHUNK_VALUES // images[0].size)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]
