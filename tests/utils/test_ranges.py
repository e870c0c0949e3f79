"""The range of pixel values: inferred for sources, known or not for ensembles, kept for pictures and arrays."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from nni_hypens.errors import InputError, InputWarning
from nni_hypens.utils.ranges import check_range, check_values, from_picture, known_range, picture_range, training_range

UNIT = {"mean": [0.4, 0.0], "std": [0.5, 1.0]}  # the second channel is constant
SIGNED = {"mean": [0.0, 0.0], "std": [0.6, 0.6]}
PIXELS = np.array([0, 255], dtype=np.uint8)


@pytest.mark.parametrize(
    "values, expected",
    [
        (np.array([0, 1], np.uint8), (0, 255)),
        (np.array([0, 4095], np.uint16), (0, 65535)),
        (np.array([0, 200], np.int64), (0, 255)),
        (np.array([3, 40000], np.int32), (0, 65535)),
        (np.array([-3, 40000], np.int32), (-3, 40000)),
        (np.array([0.1, 0.9]), (0, 1)),
        (np.array([0.0, 0.4]), (0.0, 0.4)),
        (np.array([0.0, 16.0]), (0, 16)),
        (np.array([2.0, 250.0]), (0, 255)),
        (np.array([-1.0, 0.8]), (-1, 1)),
        (np.array([-0.5, 0.5]), (-0.5, 0.5)),  # 0..1 without its mean
        (np.array([-2.1, 2.6]), (-2.1, 2.6)),
        (np.array([7.0, 7.0]), (0, 255)),
        (np.array([-7.0, -7.0]), (-7, 0)),
    ],
)
def test_training_range(values: np.ndarray, expected: tuple[float, float]) -> None:
    assert training_range(values) == expected


@pytest.mark.parametrize(
    "spec, expected",
    [
        ({"scale": 255, **UNIT}, (0, 255)),
        ({"scale": 16, **UNIT}, (0, 16)),
        ({"scale": 100, **SIGNED}, None),  # somebody's own values, divided by 100
        ({"scale": 1, **UNIT}, None),
        ({"scale": 1, "range": [-1, 1], **SIGNED}, (-1, 1)),
    ],
)
def test_known_range(spec: dict[str, Any], expected: tuple[float, float] | None) -> None:
    assert known_range(spec) == expected


def test_pictures_for_a_model_that_does_not_state_its_range() -> None:
    """Older versions wrote scale 1 for every dtype but uint8: 0..1 is a guess, which mean and std may exclude."""
    with pytest.warns(InputWarning, match="does not state the range of its training images; 0..1 is assumed"):
        assert from_picture(PIXELS, {"scale": 1.0, **UNIT}).tolist() == [0, 1]
    neutral = {"scale": 1.0, "mean": [0.0], "std": [1.0]}  # of somebody's loaders, which normalise images themselves
    for spec in (neutral, {"scale": 1.0, **SIGNED}, {"scale": 1.0, "mean": [120.0], "std": [60.0]}):
        with pytest.raises(InputError, match=r'"range": \[low, high\] in "input" of ensemble.json'):
            picture_range(spec)


def test_16_bits_are_exact_in_their_own_range() -> None:
    pixels = np.arange(65536, dtype=np.uint16)
    np.testing.assert_array_equal(from_picture(pixels, {"scale": 65535, "range": [0, 65535]}), pixels)
    assert from_picture(pixels[[0, -1]], {"scale": 2, "range": [-2, 2]}).tolist() == [-2, 2]


@pytest.mark.parametrize("low, high", [(0, 255), (-1, 1), (0, 16), (-2.1, 2.6)])
def test_values_far_outside_are_refused(low: float, high: float) -> None:
    spec, width = {"scale": high, "range": [low, high]}, high - low
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for inside in ([low, high], [low - 0.4 * width, high + 0.4 * width], [low, low]):
            check_values(np.array(inside), spec, "images")
    for outside in ([low, high + 0.6 * width], [low - 0.6 * width, high]):
        with pytest.raises(InputError, match=f"^images: got a.npy with values from .*expected values in {low}..{high}"):
            check_values(np.array(outside), spec, "images", "a.npy")


def test_values_in_a_small_part_are_doubtful() -> None:
    with pytest.warns(InputWarning, match="images: got values from 0 to 1, which fill little of 0..255"):
        check_values(np.array([0.0, 1.0]), {"scale": 255, **UNIT}, "images")
    with pytest.raises(InputError, match="images: got values from 0 to 255; expected values in 0..16"):
        check_values(PIXELS, {"scale": 16, **UNIT}, "images")
    check_values(np.array([0.0, 1e9]), {"scale": 1, **UNIT}, "images")  # nobody knows the range


@pytest.mark.parametrize(
    "value", [None, 3, [1], [1, 1], [2, 1], [0, float("nan")], [-1e308, 1e308], ["0", "1"], [0, True]]
)
def test_malformed_ranges(value: Any) -> None:
    with pytest.raises(InputError, match="input.range: got"):
        check_range(value, "input.range")
