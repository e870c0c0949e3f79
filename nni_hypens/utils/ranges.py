"""The range of pixel values: which values of a data source are black and white.

Networks learn from the values of one source, for example 0..16 or -1..1, but a picture file has values 0..255 or
0..65535. The input spec of an ensemble says the range of its training images as `range`, `[low, high]`. A picture is
brought to this range, and arrays that are far outside it are refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nni_hypens.errors import InputError, InputWarning
from nni_hypens.utils.checks import brief, is_number
from nni_hypens.utils.inputs import is_image

CONVENTIONS = ((0.0, 1.0), (0.0, 255.0), (0.0, 65535.0), (-1.0, 1.0))
DECLARED = {np.dtype(np.uint8): (0.0, 255.0), np.dtype(np.uint16): (0.0, 65535.0)}
FAR = 0.5
"""Values may leave the range by this share of its width, as interpolation and noise make them; others are refused."""
UNLIKE, LOOKED_AT = 10.0, 1000
"""Standard deviations beyond which most values of a feature are probably of another column or unit, in so many rows."""
NARROW = 1 / 50
"""Values that fill less than this share of the range are probably scaled otherwise, for example 0..1 in 0..255."""


def check_range(value: Any, field: str) -> tuple[float, float]:
    """Check a range that somebody else wrote.

    Raises:
        InputError: Not two finite numbers, the lower one first.
    """
    pair = value.tolist() if isinstance(value, np.ndarray) else value
    numbers = isinstance(pair, list | tuple) and len(pair) == 2 and all(is_number(item) for item in pair)
    if not (numbers and pair[0] < pair[1] and pair[1] - pair[0] < float("inf")):
        raise InputError(field, brief(pair), "[low, high], two numbers, the values of black and of white")
    return float(pair[0]), float(pair[1])


def training_range(images: NDArray[Any]) -> tuple[float, float]:
    """The range of a source that does not state it, from its training images.

    uint8 means 0..255 and uint16 means 0..65535. Other numbers have the first of the ranges 0..1, 0..255, 0..65535
    and -1..1 that contains all of them and of which they fill more than half; or else their minimum and maximum.

    Args:
        images: All training images, finite numbers.

    Returns:
        Lowest and highest value.

    Examples:
        >>> training_range(np.array([0, 3], dtype=np.uint8)), training_range(np.array([0.0, 200.0]))
        ((0.0, 255.0), (0.0, 255.0))
        >>> training_range(np.array([0.0, 16.0])), training_range(np.array([-1.0, 0.9]))
        ((0.0, 16.0), (-1.0, 1.0))
    """
    if images.dtype in DECLARED:
        return DECLARED[images.dtype]
    lowest, highest = float(images.min()), float(images.max())
    for low, high in CONVENTIONS:
        fills = highest - lowest > (high - low) * 0.5001 or lowest == highest
        if low <= lowest and highest <= high and fills:
            return low, high
    return (lowest, highest) if lowest < highest else (min(0.0, lowest), max(0.0, highest))


def largest(low: float, high: float) -> float:
    """The number by which networks divide pixel values: the largest absolute value of the range."""
    return max(abs(low), abs(high))


def known_range(spec: Mapping[str, Any]) -> tuple[float, float] | None:
    """The range of an input spec, or None if nothing says it, or if the examples are no images.

    A spec without `range` is older than it, or somebody's own. Then the range is `0..scale`, as it was for uint8 images
    and for digits, except if `mean` and `std` contradict it, or if `scale` is 1, which older versions wrote for images
    of any range.
    """
    if not is_image(spec):
        return None
    if "range" in spec:
        return check_range(spec["range"], "input.range")
    return (0.0, float(spec["scale"])) if spec["scale"] != 1 and _fits_unit(spec) else None


def _fits_unit(spec: Mapping[str, Any]) -> bool:
    """Whether values in 0..1 can have this mean and standard deviation."""
    means, deviations = spec.get("mean", []), spec.get("std", [])
    if deviations and all(value == 1 for value in deviations):
        return False  # nobody computed them: somebody's loaders normalise images themselves
    # a constant channel has the standard deviation 1 by definition
    return all(0 <= value <= 1 for value in means) and all(value <= 0.5 or value == 1 for value in deviations)


def picture_range(spec: Mapping[str, Any], field: str = "images") -> tuple[float, float]:
    """The range to which a picture from a file is brought.

    Args:
        spec: The input spec.
        field: Name for the error.

    Raises:
        InputError: The spec does not tell it.

    Warns:
        InputWarning: The spec does not state the range, and 0..1 is assumed.
    """
    if not is_image(spec):
        raise InputError(
            field, "pixels, for a model whose input is no image", "numbers as in training (.npy, .npz or .csv)"
        )
    known = known_range(spec)
    if known is not None:
        return known
    if spec["scale"] == 1 and _fits_unit(spec):
        text = "the model does not state the range of its training images; 0..1 is assumed. If it is another, add"
        warnings.warn(f'{text} "range": [low, high] to "input" in ensemble.json', InputWarning, stacklevel=2)
        return 0.0, 1.0
    got = "pixels 0..255, for a model that does not state the range of its training images"
    expected = 'raw values as in training (arrays), or "range": [low, high] in "input" of ensemble.json'
    raise InputError(field, got, expected)


def _warn_of_features(rows: NDArray[Any], spec: Mapping[str, Any], field: str, file: str) -> None:
    """Warn of the feature (an entry of the first size) that is least like those of the training data."""
    some = rows[:LOOKED_AT].astype(np.float64).reshape(min(len(rows), LOOKED_AT), rows.shape[1], -1)
    mean, std = (np.asarray(spec[name], dtype=np.float64)[:, None] for name in ("mean", "std"))
    distance = np.median(np.abs(some / spec["scale"] - mean) / std, axis=(0, 2))
    worst = int(distance.argmax())
    if distance[worst] > UNLIKE:
        shown = f"{file + ' with ' if file else ''}values around {float(np.median(some[:, worst])):g}"
        text = (
            f"{field}: got {shown} in column {worst + 1}, {distance[worst]:.3g} standard deviations from the training"
        )
        warnings.warn(f"{text} data; are the columns in their order and units?", InputWarning, stacklevel=3)


def from_picture(pixels: NDArray[Any], spec: Mapping[str, Any]) -> NDArray[np.float32]:
    """Bring pixels of a picture to the range of the training images.

    Args:
        pixels: uint8 or uint16, any shape; the highest number of the dtype is white.
        spec: The input spec.

    Returns:
        float32 of the same shape.

    Raises:
        InputError: See `picture_range`.

    Examples:
        >>> from_picture(np.array([0, 255], dtype=np.uint8), {"scale": 1, "range": [-1, 1]})
        array([-1.,  1.], dtype=float32)
    """
    low, high = picture_range(spec)
    values: NDArray[np.float32] = (low + pixels * ((high - low) / np.iinfo(pixels.dtype).max)).astype(np.float32)
    return values


def check_values(images: NDArray[Any], spec: Mapping[str, Any], field: str, file: str = "", warn: bool = True) -> None:
    """Refuse images whose values are far outside the range of the training images, if it is known.

    Args:
        images: Raw finite values, any shape.
        spec: The input spec.
        field: Name for the error.
        file: The file that they are from, for the error.
        warn: Whether to warn.

    Raises:
        InputError: Values leave the range by more than half of its width.

    Warns:
        InputWarning: All values together fill less than a fiftieth of the range, but are not all the same. Of other
            tensors: most values of a feature are more than ten standard deviations from those of the training data, as
            in a table with other columns or units.
    """
    if warn and not is_image(spec):
        _warn_of_features(images, spec, field, file)
    known = known_range(spec)
    if known is None:
        return
    low, high = known
    lowest, highest = float(images.min()), float(images.max())
    shown = f"{file + ' with ' if file else ''}values from {lowest:g} to {highest:g}"
    slack = FAR * (high - low)
    if lowest < low - slack or highest > high + slack:
        raise InputError(field, shown, f"values in {low:g}..{high:g}, the range of the training images")
    if warn and 0 < highest - lowest < NARROW * (high - low):
        text = f"{field}: got {shown}, which fill little of {low:g}..{high:g}, the range of the training images;"
        warnings.warn(f"{text} are they scaled otherwise?", InputWarning, stacklevel=2)
