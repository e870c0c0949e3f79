"""Normalisation of raw images."""

from __future__ import annotations

import numpy as np
import pytest

from nni_hypens.errors import InputError
from nni_hypens.utils.images import check_normalisation, normalise

SPEC = {"scale": 2.0, "mean": [0.5, 1.0, 1.5], "std": [0.1, 0.2, 0.3]}


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_normalises_in_double_precision_channels_first(kind: type) -> None:
    images = np.random.default_rng(0).integers(0, 255, (5, 8, 9, 3)).astype(kind)
    expected = (images.astype(np.float64) / 2 - SPEC["mean"]) / SPEC["std"]
    result = normalise(images, SPEC)
    assert result.dtype == np.float32 and result.flags.c_contiguous
    np.testing.assert_array_equal(result, expected.transpose(0, 3, 1, 2).astype(np.float32))


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).normal(3, 2, (50, 8, 8, 3))
    rows = np.arange(0, 50, 3)
    whole = normalise(images, SPEC, rows)
    monkeypatch.setattr("nni_hypens.utils.images._CHUNK_VALUES", 5 * images[0].size)
    np.testing.assert_array_equal(normalise(images, SPEC, rows), whole)
    np.testing.assert_array_equal(normalise(images[rows], SPEC), whole)


@pytest.mark.parametrize(
    "change", [{"std": [1.0, 1e-320, 1.0]}, {"scale": 1e300}, {"scale": 1e-300}, {"mean": [0.0, 1e30, 0.0]}]
)
def test_numbers_that_float32_cannot_hold_are_refused(change: dict) -> None:
    check_normalisation(SPEC)
    with pytest.raises(InputError, match="^data.x_train: got scale"):
        check_normalisation(SPEC | change, "data.x_train")


def test_images_that_float32_cannot_hold_are_refused() -> None:
    with pytest.raises(InputError, match="images: got values up to 1e\\+300"):
        normalise(np.full((1, 2, 2, 3), 1e300), SPEC)


def test_other_tensors_by_their_first_size() -> None:
    table, series = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(2, 3, 2)
    spec = {"shape": [3], "scale": 2.0, "mean": [0.5, 1.0, 1.5], "std": [0.1, 0.2, 0.3]}
    expected = (table / 2 - spec["mean"]) / spec["std"]
    np.testing.assert_array_equal(normalise(table, spec), expected.astype(np.float32))
    found = normalise(series, spec | {"shape": [3, 2]}, np.array([1]))
    expected = (series[1:] / 2 - np.array(spec["mean"])[:, None]) / np.array(spec["std"])[:, None]
    np.testing.assert_array_equal(found, expected.astype(np.float32))
