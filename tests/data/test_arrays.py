"""Idx files, checks of arrays, and subsets by class."""

from __future__ import annotations

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from torchvision import datasets

from nni_hypens.data.arrays import (
    channel_statistics,
    check_arrays,
    read_idx,
    stratified_subset,
)
from nni_hypens.errors import InputError
from nni_hypens.utils.ranges import training_range

LABELS = np.array([0, 1, 0, 1])
IMAGES = np.zeros((4, 8, 8), np.uint8)


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def message(error: pytest.ExceptionInfo[InputError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


GOOD_IDX = idx_bytes(np.zeros((3, 8, 8), dtype=np.uint8))


def test_idx_agrees_with_torchvision(tmp_path: Path) -> None:
    array = np.random.default_rng(1).integers(0, 256, (5, 9, 11), dtype=np.uint8)
    (tmp_path / "images").write_bytes(idx_bytes(array))
    np.testing.assert_array_equal(
        read_idx(tmp_path / "images", 3), datasets.mnist.read_image_file(str(tmp_path / "images")).numpy()
    )


@pytest.mark.parametrize(
    "name, content",
    [
        ("short", GOOD_IDX[:-1]),
        ("long", GOOD_IDX + b"x"),
        ("empty", b""),
        ("header_only", GOOD_IDX[:7]),
        ("int32", bytes([0, 0, 12, 3]) + GOOD_IDX[4:]),
        ("labels", idx_bytes(np.zeros(3, dtype=np.uint8))),
        ("huge", bytes([0, 0, 8, 3]) + b"\xff" * 12 + b"x"),
        ("plain.gz", GOOD_IDX),
        ("cut.gz", gzip.compress(GOOD_IDX, mtime=0)[:-9]),
        ("pickle", pickle.dumps([1, 2, 3])),
    ],
)
def test_bad_idx_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"data.root: got .*{name}.*expected a complete idx file") as error:
        read_idx(tmp_path / name, 3)
    message(error)


def test_good_arrays_keep_their_dtype_and_get_channels() -> None:
    images, labels = check_arrays(np.zeros((4, 8, 9), np.uint8), np.array([0, 1, 0, 1], np.uint8), "train")
    assert images.shape == (4, 8, 9, 1) and images.dtype == np.uint8 and labels.dtype == np.int64
    images, _ = check_arrays(np.eye(8, 9, dtype=bool)[None].repeat(4, 0), np.array([0, 1, 0, 1]), "train")
    assert images.dtype == np.float32 and training_range(images) == (0.0, 1.0), "white is 1"
    images, _ = check_arrays(np.zeros((4, 8, 9, 2)), np.array([0, 1, 0, 1]), "train")
    assert images.shape == (4, 8, 9, 2) and images.dtype == np.float64


def _with(value: float) -> np.ndarray:
    images = np.zeros((4, 8, 8))
    images[3, 2, 1] = value
    return images


@pytest.mark.parametrize(
    "images, labels, text",
    [
        (np.zeros(4), LABELS, r"data.x_test: got shape \(4,\)"),
        (np.zeros((4, 0)), LABELS, r"data.x_test: got shape \(4, 0\); expected at least one example"),
        (np.zeros((4, 2)), LABELS[:3], "data.y_test: got 3 labels for 4 examples"),
        (np.zeros((4, 7, 8)), LABELS, r"data.x_test: got shape \(4, 7, 8, 1\); expected images of 8 x 8"),
        (np.zeros((4, 3, 32, 32)), LABELS, "channels last"),
        (np.zeros((0, 8, 8)), LABELS[:0], "data.x_test: got shape .*at least one image"),
        (np.zeros((4, 8, 8, 0)), LABELS, "data.x_test: got shape .*one channel"),
        (_with(np.nan), LABELS, "data.x_test: got NaN or infinite"),
        (_with(-np.inf), LABELS, "data.x_test: got NaN or infinite"),
        (_with(1e39), LABELS, "data.x_test: got NaN or infinite .*within float32"),
        (IMAGES.astype(str).astype(object), LABELS, "data.x_test: got dtype object with a str"),
        (IMAGES.astype(complex), LABELS, "data.x_test: got dtype complex128"),
        (IMAGES.astype(str), LABELS, "data.x_test: got dtype <U"),
        (IMAGES, LABELS[:3], "data.y_test: got 3 labels for 4 images"),
        (
            IMAGES,
            LABELS.astype(float),
            "data.y_test: got dtype float64; expected integer labels, or strings: regression is not covered",
        ),
        (IMAGES, LABELS.astype(bool), "data.y_test: got dtype bool"),
        (IMAGES, LABELS[:, None], r"data.y_test: got shape \(4, 1\); expected one label per image"),
        (IMAGES, LABELS - 1, "data.y_test: got labels from -1 to 0"),
        (IMAGES, np.full(4, 2**64 - 1, np.uint64), "data.y_test: got labels from"),
    ],
)
def test_bad_arrays(images: np.ndarray, labels: np.ndarray, text: str) -> None:
    with pytest.raises(InputError, match=text) as error:
        check_arrays(images, labels, "test")
    message(error)


@given(labels=st.lists(st.integers(0, 5), min_size=1, max_size=80), data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_stratified_subset(labels: list[int], data: st.DataObject, seed: int) -> None:
    array = np.array(labels)
    size = data.draw(st.integers(0, len(labels)))
    subset = stratified_subset(array, size, (seed, 1))
    assert len(subset) == size and subset.dtype == np.int64
    assert (np.diff(subset) > 0).all() and set(subset) <= set(range(len(labels)))
    for label in set(labels):
        share = labels.count(label) * size / len(labels)
        assert int(share) <= (array[subset] == label).sum() <= int(share) + 1
    np.testing.assert_array_equal(stratified_subset(array, size, (seed, 1)), subset)


def test_stratified_subset_depends_on_both_seeds_and_is_fair() -> None:
    labels = np.arange(1000) % 4
    draws = [stratified_subset(labels, 200, seed) for seed in ((0, 0), (1, 0), (0, 1))]
    assert not np.array_equal(draws[0], draws[1]) and not np.array_equal(draws[0], draws[2])
    times = np.bincount(np.concatenate([stratified_subset(labels, 200, (s, 0)) for s in range(400)]), minlength=1000)
    # Each example is drawn with probability 0.2: 80 of 400 times, standard deviation 8.
    assert 40 < times.min() and times.max() < 120 and abs(times.std() - 8) < 1


def test_statistics_do_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).normal(3, 2, (50, 8, 8, 3))
    rows = np.arange(0, 50, 3)
    whole = channel_statistics(images, rows, 2.0)
    monkeypatch.setattr("nni_hypens.utils.images._CHUNK_VALUES", 5 * images[0].size)
    np.testing.assert_allclose(channel_statistics(images, rows, 2.0), whole, rtol=1e-12)
