"""The data module: splits, normalisation, loaders, augmentation, and life inside NNI and Lightning."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import nni
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given, settings, strategies as st
from nni.nas.evaluator.pytorch import Classification
from PIL import Image

from nni_hypens.data.module import ImageData
from nni_hypens.ensemble.reading import read_inputs
from nni_hypens.errors import InputError, InputWarning
from nni_hypens.utils.images import normalise
from tests.support.loaded import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
KEYS = ("x_train", "y_train", "x_test", "y_test")


def make_arrays(train: int = 60, test: int = 30, classes: int = 3, channels: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for split, count in (("train", train), ("test", test)):
        arrays[f"x_{split}"] = rng.integers(0, 256, (count, 9, 8, channels), dtype=np.uint8)
        arrays[f"y_{split}"] = 5 + 2 * (np.arange(count) % classes)
    return arrays


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    return make_arrays()


@pytest.fixture
def npz(tmp_path: Path, arrays: dict[str, np.ndarray]) -> str:
    np.savez(tmp_path / "data.npz", **arrays)
    return str(tmp_path / "data.npz")


def save(tmp_path: Path, **arrays: np.ndarray) -> str:
    np.savez(tmp_path / "changed.npz", **arrays)
    return str(tmp_path / "changed.npz")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the npz arrays that were read, in order."""
    names: list[str] = []
    original = np.lib.npyio.NpzFile.__getitem__

    def counted(self: Any, key: str) -> np.ndarray:
        names.append(key)
        return original(self, key)

    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", counted)
    return names


class Net(pl.LightningModule):
    """The smallest thing that trains."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(features, classes)
        self.seen: list[torch.Tensor] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        images, labels = batch
        self.seen.append(images)
        loss = torch.nn.functional.cross_entropy(self.layer(images.flatten(1)), labels)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        images, labels = batch
        self.log("val_accuracy", (self.layer(images.flatten(1)).argmax(1) == labels).float().mean())

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(tmp_path: Path, **options: Any) -> pl.Trainer:
    defaults = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
    quiet = {"logger": False, "enable_checkpointing": False, "default_root_dir": tmp_path, "log_every_n_steps": 1}
    return pl.Trainer(**{**defaults, **quiet, **options})


# -- splits ---------------------------------------------------------------------------------------------------------


def test_splits_of_digits() -> None:
    data = ImageData("digits")
    train, validation = data.indices("train"), data.indices("validation")
    assert (len(train), len(validation), len(data.indices("test"))) == (1078, 270, 449)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), np.arange(1348))
    ratio = np.bincount(data.labels("validation")) / np.bincount(data.labels("train"))
    np.testing.assert_allclose(ratio, 0.25, atol=0.02)
    assert data.num_classes == 10 and data.class_names == [str(digit) for digit in range(10)]
    assert data.input_spec["scale"] == 16.0


@settings(max_examples=30, deadline=None)
@given(
    validation=st.one_of(st.integers(3, 40), st.floats(0.1, 0.6)),
    train=st.one_of(st.none(), st.integers(6, 20)),
    seed=st.integers(0, 2**32 - 1),
)
def test_splits_are_disjoint_complete_and_repeatable(
    npz_once: str, validation: int | float, train: int | None, seed: int
) -> None:
    options = {"validation_size": validation, "train_size": train, "split_seed": seed}
    data = ImageData(npz_once, **options)
    first, second = data.indices("train"), data.indices("validation")
    size = validation if isinstance(validation, int) else round(60 * validation)
    assert len(second) == size and len(first) == (60 - size if train is None else train)
    assert not set(first) & set(second) and set(first) | set(second) <= set(range(60))
    for labels in (data.labels("train"), data.labels("validation")):
        assert np.ptp(np.bincount(labels, minlength=3)) <= 1  # 20 of each class, so shares differ by rounding only
    again = ImageData(npz_once, **options)
    for split in ("train", "validation"):
        np.testing.assert_array_equal(data.indices(split), again.indices(split))
    np.testing.assert_array_equal(
        ImageData(npz_once, validation_size=validation, split_seed=seed).indices("validation"), second
    )


@pytest.fixture(scope="module")
def npz_once(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("data") / "data.npz"
    np.savez(path, **make_arrays())
    return str(path)


def test_split_seed_changes_the_split(npz: str) -> None:
    assert set(ImageData(npz).indices("validation")) != set(ImageData(npz, split_seed=1).indices("validation"))


def test_labels_are_mapped_in_ascending_order(npz: str, arrays: dict[str, np.ndarray]) -> None:
    data = ImageData(npz)
    assert data.class_names == ["5", "7", "9"] and data.num_classes == 3
    for split, key in (("train", "y_train"), ("validation", "y_train"), ("test", "y_test")):
        labels = data.labels(split)
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(2 * labels + 5, arrays[key][data.indices(split)])


def test_test_subset(npz: str) -> None:
    data = ImageData(npz, test_size=9)
    assert data.describe()["sizes"]["test"] == 9
    np.testing.assert_array_equal(np.bincount(data.labels("test")), [3, 3, 3])
    assert len(data.test_dataloader().dataset) == 9  # type: ignore[arg-type]


# -- pictures -------------------------------------------------------------------------------------------------------


def test_input_spec_and_normalisation_against_plain_numpy(npz: str, arrays: dict[str, np.ndarray]) -> None:
    data = ImageData(npz, eval_batch_size=7)
    chosen = arrays["x_train"][data.indices("train")].astype(np.float64) / 255
    mean, std = chosen.mean(axis=(0, 1, 2)), chosen.std(axis=(0, 1, 2))
    spec = data.input_spec
    assert (spec["channels"], spec["height"], spec["width"], spec["scale"]) == (2, 9, 8, 255.0)
    np.testing.assert_allclose(spec["mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(spec["std"], std, rtol=1e-12)
    for split, loader in (("validation", data.val_dataloader()), ("test", data.test_dataloader())):
        source = arrays["x_test" if split == "test" else "x_train"][data.indices(split)]
        images, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
        expected = ((source / 255 - mean) / std).transpose(0, 3, 1, 2)
        assert images.dtype == torch.float32 and labels.dtype == torch.int64
        np.testing.assert_allclose(images.numpy(), expected, atol=1e-5)
        np.testing.assert_array_equal(labels.numpy(), data.labels(split))


def test_statistics_do_not_see_validation_images(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    before = ImageData(save(tmp_path, **arrays))
    spec = before.input_spec
    arrays["x_train"][before.indices("validation")] = 255
    assert ImageData(save(tmp_path, **arrays)).input_spec == spec


def test_constant_channels_become_zero(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    for key in ("x_train", "x_test"):
        arrays[key] = arrays[key] / 7
        arrays[key][..., 1] = 0.1
    data = ImageData(save(tmp_path, **arrays))
    assert data.input_spec["range"] == [0.0, 255 / 7] and data.input_spec["std"][1] == 1.0
    images, _ = next(iter(data.val_dataloader()))
    assert images[:, 1].abs().max() < 1e-6 and images[:, 0].std() > 0.5


def test_raw_is_the_source(npz: str, arrays: dict[str, np.ndarray]) -> None:
    data = ImageData(npz)
    for split, key in (("train", "x_train"), ("validation", "x_train"), ("test", "x_test")):
        raw = data.raw(split, [4, 0])
        assert raw.dtype == np.uint8
        np.testing.assert_array_equal(raw, arrays[key][data.indices(split)[[4, 0]]])
    digits = ImageData("digits").raw("train", [0])
    assert digits.shape == (1, 8, 8, 1) and digits.max() <= 16


def test_describe_is_json(npz: str) -> None:
    data = ImageData(npz)
    text = json.loads(json.dumps(data.describe()))
    assert set(text) == {"source", "sizes", "input_spec", "num_classes", "class_names"}
    assert text["sizes"] == {"train": 48, "validation": 12, "test": None}
    data.check()
    assert data.describe()["sizes"]["test"] == 30


# -- the range of values ---------------------------------------------------------------------------------------------

SCALES: dict[str, Any] = {
    "uint8": lambda x: x,
    "uint16": lambda x: x.astype(np.uint16) * 257,
    "int64": lambda x: x.astype(np.int64),
    "float32 0..255": lambda x: x.astype(np.float32),
    "float 0..16": lambda x: x / 255 * 16,
    "float -1..1": lambda x: x / 127.5 - 1,
    "float 0..1": lambda x: x / 255,
    "standardised": lambda x: (x - 120.0) / 60,
}


@pytest.mark.parametrize("change", SCALES.values(), ids=SCALES)
def test_a_picture_of_a_training_image_is_that_image(tmp_path: Path, change: Any) -> None:
    """To the networks, whatever range the arrays have: `predict` on a PNG sees what training saw."""
    arrays = make_arrays(channels=3)
    pixels = arrays["x_train"].copy()
    pixels[0, 0, 0], pixels[0, 0, 1] = 0, 255
    arrays |= {"x_train": change(pixels), "x_test": change(arrays["x_test"])}
    data = ImageData(save(tmp_path, **arrays))
    row = int(data.indices("validation")[0])
    Image.fromarray(pixels[row]).save(tmp_path / "a.png")
    _, found = read_inputs([tmp_path / "a.png"], data.input_spec)
    wanted = next(iter(data.val_dataloader()))[0][0]
    np.testing.assert_allclose(normalise(found, data.input_spec)[0], wanted, atol=1e-4)


def test_a_source_may_state_its_range(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    arrays = {key: array // 16 if key[0] == "x" else array for key, array in arrays.items()}
    data = ImageData(save(tmp_path, **arrays, range=np.array([0, 15])))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.check()
    assert data.input_spec["range"] == [0.0, 15.0]
    with pytest.warns(InputWarning, match="values from 0 to 15 of type uint8 count as nearly black, as white is 255"):
        ImageData(save(tmp_path, **arrays)).prepare()
    with pytest.raises(InputError, match=r"data.range: got \[3, 1\]; expected \[low, high\]"):
        ImageData(save(tmp_path, **arrays, range=np.array([3, 1]))).prepare()
    with pytest.raises(InputError, match=r"data.x_train: got values from 0 to 15; expected values in 0..1"):
        ImageData(save(tmp_path, **arrays, range=np.array([0, 1]))).prepare()


@pytest.mark.parametrize(
    "train, test, text",
    [
        (1, 1 / 255, "data.x_test: got values from 0 to 1; expected values like those of x_train, 0 to 255"),
        (1 / 255, 1, r"data.x_test: got values from 0 to 255; expected values in 0..1, the range"),
    ],
)
def test_test_images_of_another_range(
    tmp_path: Path, arrays: dict[str, np.ndarray], train: float, test: float, text: str
) -> None:
    arrays |= {"x_train": arrays["x_train"] * train, "x_test": arrays["x_test"] * test}
    with pytest.raises(InputError, match=text):
        ImageData(save(tmp_path, **arrays)).check()


def test_identical_images_are_named(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    arrays["x_test"][:] = arrays["x_test"][0]
    with pytest.warns(InputWarning, match="data.x_test: all 30 images are identical") as caught:
        ImageData(save(tmp_path, **arrays)).check()
    assert len(caught) == 1


# -- what arrays may say besides ------------------------------------------------------------------------------------


def test_a_validation_part_and_names(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    names = np.array([f"class {label}" for label in range(10)])
    own = {"x_val": arrays["x_test"][:9], "y_val": arrays["y_test"][:9], "class_names": names}
    data = ImageData(save(tmp_path, **arrays, **own))
    assert data.class_names == ["class 5", "class 7", "class 9"]
    assert data.describe()["sizes"] == {"train": 60, "validation": 9, "test": None}
    np.testing.assert_array_equal(data.raw("validation", [3, 1]), own["x_val"][[3, 1]])
    np.testing.assert_array_equal(2 * data.labels("validation") + 5, own["y_val"])
    before = data.checksum()
    own["x_val"] = 255 - own["x_val"]
    assert ImageData(save(tmp_path, **arrays, **own)).checksum() != before


def test_labels_may_be_strings(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    for key in ("y_train", "y_test"):
        arrays[key] = np.array(["owl", "cat", "aardvark"])[arrays[key] // 2 - 2]
    data = ImageData(save(tmp_path, **arrays))
    data.check()
    assert data.class_names == ["aardvark", "cat", "owl"]
    for split in ("train", "test"):
        named = np.array(data.class_names)[data.labels(split)]
        np.testing.assert_array_equal(named, arrays[f"y_{split}"][data.indices(split)])


@pytest.mark.parametrize(
    "more, text",
    [
        ({"x_vall": np.zeros(3)}, "data: got 'x_vall' in .*expected no arrays but x_train.*nearest: x_val"),
        ({"x_val": np.zeros((3, 9, 8, 2))}, "data: got one of x_val and y_val in .*expected both or neither"),
        ({"class_names": np.array(["a", "b"])}, "data.class_names: got 2 names; expected a name for each .* 0..9"),
        ({"class_names": np.array(["a"] * 10)}, "data.class_names: got 'a' twice"),
        ({"class_names": np.arange(10)}, "data.class_names: got an array of type int64"),
        ({"y_test": np.array(["a"] * 30)}, r"data.y_test: got class\(es\) \['a'\]; expected classes that y_train has"),
        ({"x_val": np.zeros((3, 9, 8, 1)), "y_val": np.full(3, 5)}, "data.x_val: got images of shape"),
        (
            {"x_val": np.arange(432).reshape(3, 9, 8, 2) % 256, "y_val": np.full(3, 6)},
            r"data.y_val: got class\(es\) \[6\]",
        ),
    ],
)
def test_bad_additions(tmp_path: Path, arrays: dict[str, np.ndarray], more: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        ImageData(save(tmp_path, **{**arrays, **more})).check()


# -- the test arrays stay closed ------------------------------------------------------------------------------------


def test_training_never_reads_the_test_arrays(npz: str, reads: list[str], tmp_path: Path) -> None:
    data = ImageData(npz, batch_size=16, augment="crop_flip")
    data.prepare()
    data.prepare()
    trainer(tmp_path).fit(Net(144, 3), datamodule=data)
    trainer(tmp_path).validate(Net(144, 3), datamodule=data, verbose=False)
    data.labels("train"), data.labels("validation"), data.raw("validation", [0])
    data.describe(), repr(data), str(data), nni.dump(data), hash(data), copy.deepcopy(data)
    assert reads.count("x_train") == 2 and set(reads) == {"x_train", "y_train"}  # once to prepare, once for raw
    data.test_dataloader()
    data.labels("test")
    assert reads.count("x_test") == 1


def test_unreadable_test_arrays_do_not_hinder_training(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    arrays["x_test"] = np.array([{}] * 30, dtype=object)
    data = ImageData(save(tmp_path, **arrays))
    list(data.train_dataloader()), list(data.val_dataloader())
    for use in (data.check, data.test_dataloader, lambda: data.labels("test"), lambda: data.raw("test", [0])):
        with pytest.raises(InputError, match="data.x_test"):
            use()


def test_check_keeps_nothing_of_the_test_arrays(npz: str, reads: list[str]) -> None:
    data = ImageData(npz)
    data.check()
    assert reads.count("x_test") == 1
    data.labels("test")
    assert reads.count("x_test") == 2


# -- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, text",
    [
        ({"source": "cifar"}, "data: got 'cifar'; expected one of .*did you mean cifar10"),
        ({"augment": "flip"}, "data.augment: got 'flip'; expected none, or names separated by commas: crop"),
        ({"augment": ["crop"]}, "data.augment: got "),
        ({"batch_size": 0}, "data.batch_size: got 0; expected a whole number of at least 1"),
        ({"batch_size": True}, "data.batch_size: got True"),
        ({"batch_size": 2.0}, "data.batch_size: got 2.0"),
        ({"eval_batch_size": -1}, "data.eval_batch_size: got -1"),
        ({"train_size": 0}, "data.train_size: got 0"),
        ({"test_size": "9"}, "data.test_size: got '9'"),
        ({"validation_size": 1.0}, "data.validation_size: got 1.0; expected a share between 0 and 1"),
        ({"validation_size": float("nan")}, "data.validation_size: got nan"),
        ({"validation_size": 0}, "data.validation_size: got 0"),
        ({"split_seed": -1}, "data.split_seed: got -1; expected a whole number in 0..4294967295"),
        ({"split_seed": 2**32}, "data.split_seed: got 4294967296"),
    ],
)
def test_bad_arguments_are_refused_at_once(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        ImageData(**{"source": "digits", **options})


@pytest.mark.parametrize(
    "options, text",
    [
        ({"validation_size": 58}, r"data.validation_size: got 58 \(58 of 60 images\); expected 3 to 57 images"),
        ({"validation_size": 2}, "data.validation_size: got 2"),
        ({"validation_size": 0.01}, r"data.validation_size: got 0.01 \(1 of 60 images\)"),
        ({"train_size": 49}, r"data.train_size: got 49; expected 3 \(one per class\) to 48"),
        ({"train_size": 2}, "data.train_size: got 2"),
        ({"test_size": 31}, "data.test_size: got 31; expected 1 to 30"),
    ],
)
def test_sizes_that_are_not_available(npz: str, options: dict[str, Any], text: str) -> None:
    data = ImageData(npz, **options)
    with pytest.raises(InputError, match=text):
        data.check()


def _one_class(arrays: dict[str, np.ndarray]) -> None:
    arrays["y_train"][:] = 5


def _lonely_class(arrays: dict[str, np.ndarray]) -> None:
    arrays["y_train"][0] = 11


def _unseen_class(arrays: dict[str, np.ndarray]) -> None:
    arrays["y_test"][0] = 6


def _other_shape(arrays: dict[str, np.ndarray]) -> None:
    arrays["x_test"] = arrays["x_test"][:, :8]


def _short_labels(arrays: dict[str, np.ndarray]) -> None:
    arrays["y_train"] = arrays["y_train"][:-1]


def _nan(arrays: dict[str, np.ndarray]) -> None:
    arrays["x_train"] = np.full(arrays["x_train"].shape, np.nan)


@pytest.mark.parametrize(
    "spoil, text",
    [
        (_one_class, "data.y_train: got the one class 5; expected two classes or more"),
        (_lonely_class, "data.y_train: got class 11 with one example"),
        (_unseen_class, r"data.y_test: got class\(es\) \[6\]; expected classes that y_train has"),
        (_other_shape, r"data.x_test: got images of shape \(8, 8, 2\); expected \(9, 8, 2\)"),
        (_short_labels, "data.y_train: got 59 labels for 60 images"),
        (_nan, "data.x_train: got NaN"),
    ],
)
def test_bad_contents(tmp_path: Path, arrays: dict[str, np.ndarray], spoil: Any, text: str) -> None:
    spoil(arrays)
    data = ImageData(save(tmp_path, **arrays))
    with pytest.raises(InputError, match=text):
        data.check()


def test_a_class_that_the_train_split_would_lose(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    arrays["y_train"] = np.where(np.arange(60) < 2, 5, 7)
    with pytest.raises(InputError, match=r"data.train_size: got 6, which leaves 1 class\(es\) without"):
        ImageData(save(tmp_path, **arrays), train_size=6).prepare()


def test_what_is_handed_out_can_be_changed_safely(npz: str) -> None:
    data = ImageData(npz)
    data.labels("train")[:] = 99
    data.indices("train")[:] = 99
    assert data.labels("train").max() == 2 and data.indices("train").max() < 60


def test_unknown_split(npz: str) -> None:
    with pytest.raises(InputError, match="split: got 'val'; expected one of train, validation, test"):
        ImageData(npz).labels("val")


# -- loaders --------------------------------------------------------------------------------------------------------


def epoch(loader: Any) -> list[torch.Tensor]:
    return [torch.cat(parts) for parts in zip(*loader, strict=True)]


def test_training_order_is_that_of_the_global_generator(npz: str) -> None:
    loader = ImageData(npz, batch_size=10, augment="crop_flip").train_dataloader()
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(epoch(loader)[0])
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_an_epoch_has_every_example_once(npz: str) -> None:
    data = ImageData(npz, batch_size=48)
    torch.manual_seed(0)
    images, labels = epoch(data.train_dataloader())
    everything = data.train_dataloader().dataset.images  # type: ignore[attr-defined]
    assert sorted(map(bytes, images.numpy())) == sorted(map(bytes, everything.numpy()))
    np.testing.assert_array_equal(np.bincount(labels), np.bincount(data.labels("train")))
    assert not torch.equal(images, everything)


def test_last_batch(npz: str) -> None:
    assert [len(labels) for _, labels in ImageData(npz, batch_size=20).train_dataloader()] == [20, 20]
    assert [len(labels) for _, labels in ImageData(npz).train_dataloader()] == [8] * 6  # unless told
    assert len(ImageData("digits", validation_size=0.3).train_dataloader()) == 943 // 64
    assert [len(labels) for _, labels in ImageData(npz, batch_size=100).train_dataloader()] == [48]
    assert [len(labels) for _, labels in ImageData(npz, eval_batch_size=8).val_dataloader()] == [8, 4]


def test_two_loaders_are_independent(npz: str) -> None:
    data = ImageData(npz, batch_size=12)
    loaders = data.train_dataloader(), data.train_dataloader()
    assert loaders[0] is not loaders[1]
    first, second = map(iter, loaders)
    for _ in range(4):
        next(first)
    assert len(list(second)) == 4 and next(first, None) is None


def test_evaluation_is_not_augmented(npz: str) -> None:
    plain, augmented = ImageData(npz), ImageData(npz, augment="crop_flip")
    for a, b in zip(epoch(plain.val_dataloader()), epoch(augmented.val_dataloader()), strict=True):
        assert torch.equal(a, b)
    torch.manual_seed(0)
    first = epoch(plain.train_dataloader())[0]
    torch.manual_seed(0)
    assert not torch.equal(first, epoch(augmented.train_dataloader())[0])


# -- augmentation ---------------------------------------------------------------------------------------------------


# -- NNI ------------------------------------------------------------------------------------------------------------

OPTIONS = {"train_size": 30, "validation_size": 9, "batch_size": 5, "augment": "crop", "split_seed": 3}


def assert_same_data(a: ImageData, b: ImageData) -> None:
    assert isinstance(b, ImageData) and isinstance(b, pl.LightningDataModule)
    assert a == b and hash(a) == hash(b)
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(a.indices(split), b.indices(split))
    assert a.describe() == b.describe()


def test_dump_and_load(npz: str) -> None:
    data = ImageData(npz, **OPTIONS)
    data.labels("test")
    text = nni.dump(data)
    assert len(text) < 1000 and "__nni_obj__" not in text
    assert_same_data(data, nni.load(text))
    assert data != ImageData(npz) and data != 3


def test_copies_are_light_and_of_the_same_class(npz: str) -> None:
    data = ImageData(npz, **OPTIONS)
    data.labels("test")
    content = pickle.dumps(data)
    assert len(content) < 1000
    for copied in (pickle.loads(content), copy.deepcopy(data), copy.copy(data)):
        assert type(copied) is type(data)
        assert nni.dump(copied) == nni.dump(data)
        assert_same_data(data, copied)


def test_patched_loaders_survive_a_copy(npz: str) -> None:
    data = ImageData(npz)
    data.train_dataloader = partial(patched_loader, data.train_dataloader)  # type: ignore[method-assign]
    copied = pickle.loads(pickle.dumps(data))
    assert copied.train_dataloader()[0] == "patched"


def patched_loader(factory: Any) -> tuple[str, Any]:
    return "patched", factory()


def test_evaluator_with_this_data_fits_in_a_trials_payload(npz: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluator = Classification(datamodule=ImageData(npz, **OPTIONS), num_classes=3, logger=False)
    text = nni.dump(evaluator)
    assert len(text.encode()) < 64 * 1024
    assert nni.load(text).datamodule == ImageData(npz, **OPTIONS)


def test_load_in_a_fresh_process(npz: str) -> None:
    data = ImageData(npz, **OPTIONS)
    program = (
        "import json, sys, nni\n"
        "data = nni.load(sys.argv[1])\n"
        "from nni_hypens.data import ImageData\n"
        "assert isinstance(data, ImageData) and type(data).__module__ == 'nni_hypens.data.module'\n"
        "print(json.dumps([data.describe(), data.indices('train').tolist()]))\n"
    )
    command = [sys.executable, "-c", program, nni.dump(data)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=PATIENCE)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == [data.describe(), data.indices("train").tolist()]


# -- Lightning ------------------------------------------------------------------------------------------------------


def complaints(caught: list[warnings.WarningMessage]) -> list[str]:
    words = ("dataloader", "data loader", "worker", "shuffl", "batch size", "batch_size", "datamodule", "sampler")
    found = [str(w.message) for w in caught if any(word in str(w.message).lower() for word in words)]
    # NNI's one-shot modules leave the validation step out on purpose, whatever the data.
    return [text for text in found if "have no `validation_step`" not in text]


def test_lightning_has_nothing_to_say_about_the_loaders(npz: str, tmp_path: Path) -> None:
    data = ImageData(npz, batch_size=12, augment="crop_flip")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        net = Net(144, 3)
        trainer(tmp_path).fit(net, datamodule=data)
        trainer(tmp_path).validate(net, datamodule=data, verbose=False)
        trainer(tmp_path).test(net, datamodule=data, verbose=False)
    assert complaints(caught) == []
    assert [len(batch) for batch in net.seen] == [12] * 4


def test_only_our_advice_is_silenced() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ImageData("digits").train_dataloader()
        warnings.warn("The 'train_dataloader' does not have many workers which may be a bottleneck.", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    assert [str(w.message) for w in caught] == ["something else"]


def test_overfit_batches_sees_single_examples(npz: str, tmp_path: Path) -> None:
    data = ImageData(npz, batch_size=12)
    net = Net(144, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning announces that it turns the shuffling off
        trainer(tmp_path, overfit_batches=1, max_epochs=2).fit(net, datamodule=data)
    assert len(net.seen) == 2 and torch.equal(net.seen[0], net.seen[1]) and len(net.seen[0]) == 12


def test_learns_digits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    fit = trainer(tmp_path, max_epochs=3)
    fit.fit(Net(64, 10), datamodule=ImageData("digits", batch_size=32))
    assert fit.callback_metrics["val_accuracy"] > 0.85


def test_one_shot_strategy_of_nni(tmp_path: Path) -> None:
    import nni.nas.nn.pytorch as nn
    from nni.nas.strategy import DARTS

    class Space(nn.ModelSpace):
        def __init__(self) -> None:
            super().__init__()
            self.choice = nn.LayerChoice([torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Conv2d(1, 4, 1)], label="op")
            self.out = torch.nn.Linear(256, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.choice(x).flatten(1))

    data = ImageData("digits", train_size=256, validation_size=256, augment="crop", batch_size=64)
    options = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False, "logger": False}
    quiet = {"enable_checkpointing": False, "default_root_dir": str(tmp_path)}
    strategy = DARTS()
    supernet = strategy.mutate_model(Space())
    evaluator = strategy.mutate_evaluator(Classification(datamodule=data, num_classes=10, **options, **quiet))
    assert isinstance(data.train_dataloader, partial)
    before = copy.deepcopy(supernet.state_dict())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        evaluator.evaluate(supernet)
    assert complaints(caught) == []
    # Weights learn from training batches, architecture parameters from validation batches: both kinds have arrived.
    unchanged = [name for name, value in supernet.state_dict().items() if torch.equal(value, before[name])]
    assert before and unchanged == []
    assert evaluator.trainer.num_training_batches == 4
