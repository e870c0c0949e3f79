"""Readers of images and the checks on their arrays."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from torchvision import datasets

from nni_hypens.data import sources
from nni_hypens.data.sources import Npz, open_source
from nni_hypens.errors import InputError

IDX_NAMES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_fashion(folder: Path, suffix: str = ".gz") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Forty training and twenty test pictures in Fashion-MNIST's files."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for split, count in (("train", 40), ("test", 20)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        arrays[split] = (images, labels)
        for name, array in zip(IDX_NAMES[split], (images, labels), strict=True):
            content = idx_bytes(array)
            (folder / f"{name}{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    return arrays


@pytest.fixture
def no_system_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a cache, a machine without Debian's package, a network that is down; the cache's folder."""

    def down(*args: Any, **kwargs: Any) -> None:
        raise OSError("network is down")

    monkeypatch.setattr(sources, "DEBIAN_FASHION_MNIST", tmp_path / "absent")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(datasets.FashionMNIST, "download", down)
    monkeypatch.setattr(datasets.CIFAR10, "download", down)
    return tmp_path / "home" / ".cache" / "nni_hypens"


def message(error: pytest.ExceptionInfo[InputError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# -- names ----------------------------------------------------------------------------------------------------------


def test_unknown_name_lists_the_choices_and_the_nearest() -> None:
    with pytest.raises(InputError) as error:
        open_source("fashion-mnits")
    text = message(error)
    assert text.startswith("data: got 'fashion-mnits'; expected one of digits, fashion_mnist, cifar10, cifar100")
    assert ".npz" in text and "module:callable" in text and "did you mean fashion_mnist?" in text


def test_a_name_like_no_other_gets_no_guess() -> None:
    with pytest.raises(InputError) as error:
        open_source("zzz")
    assert "did you mean" not in message(error)


def test_files_of_another_kind_need_a_function(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    with pytest.raises(InputError) as error:
        open_source(path.name)
    assert "'list.csv', which is not there" in message(error)
    path.write_text("1,2\n")
    with pytest.raises(InputError) as error:
        open_source(str(path))
    text = message(error)
    assert "list.csv', a file of another kind" in text and "a function of yours can read any" in text


def test_a_source_is_a_string() -> None:
    with pytest.raises(InputError, match="data: got 3 of type int"):
        open_source(3)  # type: ignore[arg-type]


# -- digits ---------------------------------------------------------------------------------------------------------


def test_digits_parts_are_all_of_scikit_learns_digits() -> None:
    reader = open_source("digits")
    (x_train, y_train), (x_test, y_test) = reader.load("train"), reader.load("test")
    reference = load_digits()
    assert (len(y_train), len(y_test)) == (1348, 449)
    both = np.concatenate([x_train, x_test]).reshape(1797, -1)
    rows = sorted(map(bytes, np.column_stack([both, np.concatenate([y_train, y_test])]).astype(np.uint8)))
    assert rows == sorted(map(bytes, np.column_stack([reference.data, reference.target]).astype(np.uint8)))
    np.testing.assert_allclose(np.bincount(y_test) / np.bincount(reference.target), 0.25, atol=0.01)
    np.testing.assert_array_equal(reader.load("test")[0], x_test)


# -- fashion-mnist --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("below", ["", "FashionMNIST/raw"])
def test_fashion_mnist_from_a_folder(tmp_path: Path, suffix: str, below: str) -> None:
    arrays = write_fashion(tmp_path / below, suffix)
    reader = open_source("fashion_mnist", str(tmp_path))
    reader.fetch()
    for split in ("train", "test"):
        for got, want in zip(reader.load(split), arrays[split], strict=True):
            np.testing.assert_array_equal(got, want)


def test_fashion_mnist_prefers_debians_folder_then_the_cache(
    tmp_path: Path, no_system_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="could not be downloaded .*network is down.*expected a network.* or root="):
        open_source("fashion_mnist").fetch()
    cached = write_fashion(no_system_files / "FashionMNIST" / "raw", "")
    np.testing.assert_array_equal(open_source("fashion_mnist").load("train")[0], cached["train"][0])
    write_fashion(tmp_path / "debian")
    (tmp_path / "debian" / "train-images-idx3-ubyte.gz").write_bytes(
        gzip.compress(idx_bytes(np.zeros((40, 28, 28), dtype=np.uint8)))
    )
    monkeypatch.setattr(sources, "DEBIAN_FASHION_MNIST", tmp_path / "debian")
    assert open_source("fashion_mnist").load("train")[0].sum() == 0


def test_a_root_without_files_is_an_error_even_when_the_system_has_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="data.root: got .*; expected a folder that holds train-images-idx3-ubyte"):
        open_source("fashion_mnist", str(tmp_path)).fetch()


@pytest.mark.skipif(
    not sources.DEBIAN_FASHION_MNIST.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed"
)
def test_debians_fashion_mnist(tmp_path: Path) -> None:
    images, labels = open_source("fashion_mnist").load("test")
    np.testing.assert_array_equal(np.bincount(labels), np.full(10, 1000))
    plain = tmp_path / "plain"  # torchvision reads the unpacked format with code of its own
    plain.write_bytes(gzip.decompress((sources.DEBIAN_FASHION_MNIST / "t10k-images-idx3-ubyte.gz").read_bytes()))
    np.testing.assert_array_equal(images, datasets.mnist.read_image_file(str(plain)).numpy())


# -- cifar ----------------------------------------------------------------------------------------------------------


def write_cifar(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[np.ndarray, list[int]]]:
    """Small files in CIFAR-10's format, and checksums of torchvision that agree with them."""
    import hashlib

    base = folder / "cifar-10-batches-py"
    base.mkdir(parents=True)
    rng = np.random.default_rng(2)
    arrays, sums = {}, {}
    for split, name in (("train", "data_batch_1"), ("test", "test_batch")):
        images = rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
        labels = [i % 10 for i in range(20)]
        arrays[split] = (images, labels)
        flat = images.transpose(0, 3, 1, 2).reshape(20, -1)
        (base / name).write_bytes(pickle.dumps({"data": flat, "labels": labels}))
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class{i}" for i in range(10)]}))
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        sums[name] = hashlib.md5((base / name).read_bytes()).hexdigest()
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [["data_batch_1", sums["data_batch_1"]]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    return arrays


@pytest.mark.parametrize("inside", [False, True])
def test_cifar_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool) -> None:
    arrays = write_cifar(tmp_path, monkeypatch)
    reader = open_source("cifar10", str(tmp_path / "cifar-10-batches-py" if inside else tmp_path))
    reader.fetch()
    for split in ("train", "test"):
        images, labels = reader.load(split)
        np.testing.assert_array_equal(images, arrays[split][0])
        assert labels.tolist() == arrays[split][1]
    assert reader.class_names == tuple(f"class{i}" for i in range(10))


@pytest.mark.parametrize("name", ["data_batch_1", "test_batch", "batches.meta"])
def test_a_forged_cifar_file_is_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write_cifar(tmp_path, monkeypatch)
    loads: list[str] = []
    monkeypatch.setattr(pickle, "load", lambda *args, **kwargs: loads.append("read"))
    (tmp_path / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(print))
    with pytest.raises(InputError, match=f"data.root: got .*{name} with a wrong checksum"):
        open_source("cifar10", str(tmp_path)).load("train")
    assert loads == []


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_missing_cifar_files(tmp_path: Path, no_system_files: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"data: got {name}, which could not be downloaded"):
        open_source(name).fetch()
    with pytest.raises(InputError, match="data.root: got .* without it; expected a folder that holds cifar-"):
        open_source(name, str(tmp_path)).fetch()


# -- npz and callables ----------------------------------------------------------------------------------------------


def four_arrays(count: int = 20) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    arrays = {}
    for split in ("train", "test"):
        arrays[f"x_{split}"] = rng.integers(0, 256, (count, 8, 9), dtype=np.uint8)
        arrays[f"y_{split}"] = np.arange(count) % 2
    return arrays


def test_npz_reads_one_part_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = four_arrays()
    np.savez(tmp_path / "data.npz", **arrays)
    read: list[str] = []
    original = np.lib.npyio.NpzFile.__getitem__
    monkeypatch.setattr(
        np.lib.npyio.NpzFile, "__getitem__", lambda self, key: (read.append(key), original(self, key))[1]
    )
    images, labels = open_source(str(tmp_path / "data.npz")).load("test")
    np.testing.assert_array_equal(images, arrays["x_test"])
    np.testing.assert_array_equal(labels, arrays["y_test"])
    assert read == ["x_test", "y_test"]


def test_npz_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="data: got .*nowhere.npz, which is not a file"):
        open_source(str(tmp_path / "nowhere.npz")).fetch()


def test_npz_without_a_key(tmp_path: Path) -> None:
    arrays = four_arrays()
    del arrays["y_test"]
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(InputError, match=r"data.y_test: got no such array .*\(found x_train, y_train, x_test\)"):
        open_source(str(tmp_path / "data.npz")).load("train")


def test_npz_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    arrays = {**four_arrays(), "x_train": np.array([{}, {}], dtype=object)}
    np.savez(tmp_path / "data.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="data.x_train: got an array that cannot be read .*x.to_numpy"):
        open_source(str(tmp_path / "data.npz")).load("train")


@pytest.mark.parametrize("content", [b"", b"not a zip", pickle.dumps({"x_train": 1}), b"PK\x03\x04 cut short"])
def test_npz_that_is_something_else(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(InputError, match="data: got .*data.npz") as error:
        open_source(str(tmp_path / "data.npz")).load("train")
    message(error)


def test_npy_under_the_name_npz(tmp_path: Path) -> None:
    with (tmp_path / "data.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InputError, match="data.npz, a single array; expected an .npz file with x_train"):
        open_source(str(tmp_path / "data.npz")).load("train")


def test_npz_with_a_damaged_member(tmp_path: Path) -> None:
    arrays = four_arrays()
    np.savez(tmp_path / "data.npz", **arrays)
    content = (tmp_path / "data.npz").read_bytes()
    payload = arrays["x_test"].tobytes()
    assert content.count(payload) == 1
    (tmp_path / "data.npz").write_bytes(content.replace(payload, payload[::-1]))
    reader = open_source(str(tmp_path / "data.npz"))
    reader.load("train")
    with pytest.raises(InputError, match="data.x_test: got an array that cannot be read"):
        reader.load("test")


def loader(value: Any) -> Any:
    """A user's function that says that it returns a dict."""

    def load() -> dict[str, np.ndarray]:
        return value

    return load


@pytest.fixture
def user_module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("users_own_data")
    monkeypatch.setitem(sys.modules, "users_own_data", module)
    return module


def test_callable(user_module: types.ModuleType) -> None:
    arrays = {key: array / 255 if key[0] == "x" else array.tolist() for key, array in four_arrays().items()}
    user_module.make = loader(arrays)  # type: ignore[attr-defined]
    images, labels = open_source("users_own_data:make").load("train")
    np.testing.assert_array_equal(images, arrays["x_train"])
    np.testing.assert_array_equal(labels, arrays["y_train"])


@pytest.mark.parametrize(
    "source, function, text",
    [
        ("no_such_module_here:make", None, "data: got 'no_such_module_here:make'.*No module named"),
        ("users_own_data:nothing", None, "'nothing' is no callable"),
        (":make", None, "data: got ':make'"),
        ("users_own_data:make", loader([1, 2]), "data: got list from users_own_data:make; expected a dict of x_train"),
        ("users_own_data:make", dict, "data.x_train: got no such array .*found nothing"),
        (
            "users_own_data:make",
            loader({**four_arrays(), "x_train": [[1, 2], [3]]}),
            "data.x_train: got list .*expected an array of numbers",
        ),
    ],
)
def test_bad_callables(user_module: types.ModuleType, source: str, function: Any, text: str) -> None:
    user_module.make = function  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=text) as error:
        open_source(source).load("train")
    message(error)


def test_a_function_that_is_no_loader_is_never_called(user_module: types.ModuleType) -> None:
    called = []
    functions = {
        "lambda": lambda: called.append(1),
        "class": type("C", (), {"__init__": lambda self: called.append(1)}),
    }
    for function in (*functions.values(), os.abort, os.getcwd, print):
        user_module.make = function  # type: ignore[attr-defined]
        with pytest.raises(InputError, match="data: got 'users_own_data:make', whose annotation .*-> dict") as error:
            open_source("users_own_data:make").load("train")
        message(error)
    with pytest.raises(InputError, match="data: got 'os:abort'"):
        open_source("os:abort").fetch()
    assert not called


def test_pipes_devices_and_archives_that_ask_for_gigabytes_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    for name in (str(tmp_path / "pipe.npz"), "/dev/zero"):
        with pytest.raises(InputError, match="^data"):
            Npz(Path(name)).load("train")
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        for key in ("x_train", "y_train", "x_test", "y_test"):
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(
                header, {"descr": "|u1", "fortran_order": False, "shape": (10**7, 1000, 1000)}
            )
            archive.writestr(f"{key}.npy", header.getvalue() + b"\0" * 100)
    with pytest.raises(InputError, match="an array of 10000000000000 bytes, more than"):
        Npz(tmp_path / "bomb.npz").load("train")


# -- stratified subsets ---------------------------------------------------------------------------------------------
