"""Tables in `ImageData`: standardised by feature, and nothing of images is done with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nni_hypens.data.arrays import check_arrays
from nni_hypens.data.module import ImageData
from nni_hypens.data.sources import FromCallable
from nni_hypens.errors import InputError
from tests.support import tables


def test_features_are_standardised_by_the_training_rows(tmp_path: Path) -> None:
    arrays = tables.load()
    np.savez(tmp_path / "table.npz", **arrays)
    data, again = ImageData("tests.support.tables:load"), ImageData(str(tmp_path / "table.npz"))
    spec = data.input_spec
    assert spec == again.input_spec and set(spec) == {"shape", "scale", "mean", "std"} and spec["shape"] == [4]
    assert data.class_names == ["ash", "oak", "yew"]
    train = arrays["x_train"][data.indices("train")]
    np.testing.assert_allclose(spec["mean"], train.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(spec["std"][:3], train.std(axis=0)[:3], rtol=1e-6)
    assert spec["mean"][3] == 5.0 and spec["std"][3] == 1.0  # constant
    rows = np.concatenate([batch.numpy() for batch, _ in data.test_dataloader()])
    np.testing.assert_allclose(rows, (arrays["x_test"] - spec["mean"]) / spec["std"], rtol=1e-5, atol=1e-6)
    batch, labels = next(iter(data.train_dataloader()))
    assert batch.shape == (8, 4) and labels.shape == (8,)
    np.testing.assert_array_equal(data.raw("test", [2, 0]), arrays["x_test"][[2, 0]])
    data.check()


@pytest.mark.parametrize(
    "function, words",
    [
        ("with_categories", "data.x_train: got dtype object with a str; .*get_dummies"),
        ("with_numbers_for_labels", "data.y_train: got dtype float64; .*regression is not covered"),
        ("with_range", "data.range: got .*only images have one"),
        ("split_without_a_seed", "data: got other train arrays from .*; expected the same arrays at each call"),
        ("other_validation_part_without_a_seed", "data: got other train arrays"),
        ("other_test_part_without_a_seed", "data: got other test arrays"),
        ("with_fewer_columns", r"data.x_test: got examples of shape \(3,\); expected \(4,\)"),
    ],
)
def test_what_is_no_table_for_classification_is_refused(function: str, words: str) -> None:
    with pytest.raises(InputError, match=f"^{words}"):
        ImageData(f"tests.support.tables:{function}").check()


@pytest.mark.parametrize("name", ["crop", "crop_flip", "cutout", "trivial_augment"])
def test_augmentation_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(InputError, match=f"^data.augment: got {name} for rows of 4 numbers; expected none"):
        ImageData("tests.support.tables:load", augment=name).prepare()


def test_a_function_is_called_again_only_by_the_check_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, load = [], FromCallable.load
    monkeypatch.setattr(FromCallable, "load", lambda self, part: (calls.append(part), load(self, part))[1])
    data = ImageData("tests.support.tables:with_validation")
    data.prepare()
    data.labels("test")
    assert calls == ["train", "validation", "test"]
    ImageData("tests.support.tables:with_validation").check()
    assert calls[3:] == ["train", "validation", "test"] * 2


def test_labels_may_be_a_column_of_pandas() -> None:
    data = ImageData("tests.support.tables:objects_of_pandas")
    assert data.class_names == ["ash", "oak", "yew"]
    data.check()


def test_missing_values_are_refused() -> None:
    rows = np.zeros((3, 2))
    rows[1, 1] = np.nan
    with pytest.raises(InputError, match="^data.x_test: got NaN .*fill missing ones"):
        check_arrays(rows, np.arange(3), "test")


@pytest.mark.parametrize("nullable", [False, True])
def test_a_data_frame_with_dummies_is_a_table(nullable: bool) -> None:
    """pandas makes them bools; next to floats, the whole table becomes an array of objects."""
    frame = pd.get_dummies(pd.DataFrame({"size": [1.5, 2.0, -1.0], "kind": ["a", "b", "a"]}))
    frame = frame.convert_dtypes() if nullable else frame
    expected = [[1.5, 1, 0], [2, 0, 1], [-1, 1, 0]]
    for table in (np.asarray(frame), frame.to_numpy()):
        assert table.dtype == object
        rows, _ = check_arrays(table, np.arange(3), "train")
        assert rows.dtype == np.float64 and rows.tolist() == expected
    bools, _ = check_arrays(np.asarray(frame)[:, 1:].astype(bool), np.arange(3), "train")
    assert bools.dtype == np.float32 and bools.tolist() == [[1, 0], [0, 1], [1, 0]]


def test_a_function_may_give_data_frames() -> None:
    data, plain = (ImageData(f"tests.support.tables:{name}") for name in ("frames_of_pandas", "load"))
    data.check()
    assert data.input_spec["shape"] == [5] and data.input_spec["mean"][:4] == plain.input_spec["mean"]


@pytest.mark.parametrize("value", [None, pd.NA, pd.NaT, float("nan")])
def test_missing_values_among_objects_are_refused(value: object) -> None:
    rows = np.array([[True, 0.5], [False, value]], dtype=object)
    with pytest.raises(InputError, match="^data.x_train: got .*(missing value|NaN).*fill"):
        check_arrays(rows, np.arange(2), "train")


@pytest.mark.parametrize("value", ["1", 1j, pd.Timestamp("2020-01-01"), [1.0], 10**400])
def test_objects_that_are_no_numbers_are_refused(value: object) -> None:
    rows = np.zeros((2, 2), dtype=object)
    rows[1, 1] = value
    with pytest.raises(InputError, match="^data.x_train: got (dtype object with a|a whole number beyond)"):
        check_arrays(rows, np.arange(2), "train")
