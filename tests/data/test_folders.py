"""Folders of images: their layouts, classes, sizes and kinds of pictures, and the cache of their arrays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nni_hypens.data import folders, sources
from nni_hypens.data.module import ImageData
from nni_hypens.ensemble.reading import read_inputs
from nni_hypens.errors import InputError
from nni_hypens.utils.images import normalise

COUNT = 5


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sources, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "pictures"


def picture(path: Path, shape: tuple[int, ...] = (9, 8), kind: Any = np.uint8) -> Path:
    """A picture whose pixels depend on its name."""
    pixels = np.random.default_rng(list(path.name.encode())).integers(0, np.iinfo(kind).max, shape).astype(kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def make(folder: Path, parts: tuple[str, ...] = (".",), classes: tuple[str, ...] = ("dog", "cat")) -> Path:
    for part in parts:
        for name in classes:
            for index in range(COUNT):
                picture(folder / part / name / f"{name}{index}-{part}.png")
    return folder


def test_classes_alone_get_a_test_part(tmp_path: Path) -> None:
    data = ImageData(str(make(tmp_path / "pets")), validation_size=2)
    data.check()
    assert data.class_names == ["cat", "dog"]
    assert data.describe()["sizes"] == {"train": 6, "validation": 2, "test": 2}
    for split in ("train", "validation", "test"):
        assert np.ptp(np.bincount(data.labels(split))) == 0
    every = np.concatenate([data.raw(split, range(size)) for split, size in data.describe()["sizes"].items()])
    names = [tmp_path / "pets" / name / f"{name}{i}-..png" for name in ("cat", "dog") for i in range(COUNT)]
    files = np.stack([np.asarray(Image.open(path)) for path in names])[..., None]
    assert sorted(x.tobytes() for x in every) == sorted(x.tobytes() for x in files)
    again = ImageData(str(tmp_path / "pets"), validation_size=2, split_seed=1)
    np.testing.assert_array_equal(again.raw("test", [0, 1]), data.raw("test", [0, 1]))  # whatever the run's seed


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_parts_are_those_of_the_folder(tmp_path: Path, validation: str) -> None:
    make(tmp_path / "pets", ("train", validation, "test"))
    data = ImageData(str(tmp_path / "pets"))
    data.check()
    assert data.describe()["sizes"] == {"train": 10, "validation": 10, "test": 10}
    expected = np.asarray(Image.open(tmp_path / "pets" / validation / "dog" / f"dog0-{validation}.png"))
    np.testing.assert_array_equal(data.raw("validation", [5])[0, ..., 0], expected)
    assert data.labels("validation").tolist() == [0] * 5 + [1] * 5
    before = data.checksum()
    picture(tmp_path / "pets" / validation / "dog" / f"new-{validation}.png").rename(
        tmp_path / "pets" / validation / "dog" / f"dog0-{validation}.png"
    )
    assert ImageData(str(tmp_path / "pets")).checksum() != before


def test_without_val_the_validation_split_is_taken_from_train(tmp_path: Path) -> None:
    data = ImageData(str(make(tmp_path / "pets", ("train", "test"))), validation_size=4)
    assert (len(data.labels("train")), len(data.labels("validation"))) == (6, 4)


def test_kinds_are_mixed(tmp_path: Path) -> None:
    """One colour picture makes all of them colour; one of 16 bits keeps the depth of all; predict sees the same."""
    folder = make(tmp_path / "pets", ("train", "test"))
    assert ImageData(str(folder), validation_size=2).input_spec["channels"] == 1
    picture(folder / "train" / "cat" / "colour.png", (9, 8, 3))
    deep = picture(folder / "train" / "cat" / "deep.png", kind=np.uint16)
    data = ImageData(str(folder), validation_size=2)
    spec = data.input_spec
    assert spec["channels"] == 3 and spec["range"] == [0.0, 65535.0]
    assert data.raw("test", [0]).max() > 50_000  # of 8 bits
    paths = [deep, folder / "train" / "cat" / "cat0-train.png"]
    _, found = read_inputs(paths, spec)
    rows = {**dict(zip(data.indices("train").tolist(), next(iter(_ordered(data, "train")))[0], strict=True))}
    rows |= dict(zip(data.indices("validation").tolist(), next(iter(_ordered(data, "validation")))[0], strict=True))
    for image, position in zip(normalise(found, spec), (6, 0), strict=True):  # cat0..cat4, colour, deep
        np.testing.assert_allclose(image, rows[position], atol=1e-5)


def _ordered(data: ImageData, split: str) -> Any:
    return [(data._split(split).images.numpy(), data.labels(split))]


def test_sizes(tmp_path: Path) -> None:
    folder = make(tmp_path / "pets")
    picture(folder / "cat" / "large.png", (20, 16))
    with pytest.raises(InputError, match=r"data: got .*of (20 x 16|9 x 8) .*expected .*, or --image-size"):
        ImageData(str(folder)).check()
    data = ImageData(str(folder), image_size=12, validation_size=2)
    data.check()
    assert (data.input_spec["height"], data.input_spec["width"]) == (12, 12)
    with pytest.raises(InputError, match="data.image_size: got 12; expected nothing for 'digits'"):
        ImageData("digits", image_size=12)
    with pytest.raises(InputError, match="data.image_size: got 4"):
        ImageData(str(folder), image_size=4)


def text(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("no picture")
    return path


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda f: text(f / "train" / "cat" / "notes.txt"), r"data: got .*train/cat/notes.txt .*expected PNG"),
        (lambda f: text(f / "test" / "cat" / "cut.png"), r"data: got .*test/cat/cut.png .*expected PNG"),
        (lambda f: (f / "train" / "eel").mkdir(), "train/eel, a class without pictures"),
        (lambda f: os.mkfifo(f / "train" / "cat" / "pipe"), "train/cat/pipe, which is no regular file"),
        (lambda f: (f / "train" / "cat" / "old").mkdir(), "train/cat/old, a folder in that of a class"),
        (lambda f: picture(f / "test" / "eel" / "a.png"), "test/eel, a class that train does not have; expected cat"),
        (lambda f: picture(f / "train" / "a.png"), "train/a.png, a picture outside the folders of classes"),
        (lambda f: (f / "extra").mkdir(), "extra, beside train; expected train, test and maybe val"),
        (lambda f: (f / "test").rename(f.parent / "gone"), "with train, but without test"),
    ],
)
def test_bad_folders_are_refused(tmp_path: Path, spoil: Any, message: str) -> None:
    folder = make(tmp_path / "pets", ("train", "test"))
    spoil(folder)
    with pytest.raises(InputError, match=message):
        ImageData(str(folder)).check()


def test_all_files_that_cannot_be_read_are_named_at_once(tmp_path: Path) -> None:
    folder = make(tmp_path / "pets", ("train", "test"))
    for number in range(7):
        text(folder / "train" / "cat" / f"0{number}.png")
    with pytest.raises(InputError, match=r"cat/00.png .*; .*cat/04.png \(.*\); 2 more; expected PNG, JPEG") as caught:
        ImageData(str(folder)).check()
    assert "05.png" not in str(caught.value)
    for number in range(7):  # the header of a file that was cut off is whole
        path = folder / "train" / "cat" / f"0{number}.png"
        picture(path)
        path.write_bytes(path.read_bytes()[:60] if number in (0, 3) else path.read_bytes())
    with pytest.raises(InputError, match=r"cat/00.png \([^;]*\); [^;]*cat/03.png \([^;]*\); expected PNG"):
        ImageData(str(folder)).check()


def test_folders_without_classes(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="without folders of classes; expected DIR/CLASS"):
        ImageData(str(tmp_path / "empty")).check()
    with pytest.raises(InputError, match="data: got '.*/nowhere', which is not there; expected one of digits"):
        ImageData(str(tmp_path / "nowhere"))
    make(tmp_path / "pets", classes=("cat",))
    with pytest.raises(InputError, match="data.y_train: got the one class cat; expected two classes or more"):
        ImageData(str(tmp_path / "pets")).check()


def test_files_of_file_managers_are_ignored(tmp_path: Path) -> None:
    folder = make(tmp_path / "pets")
    for name in ("cat/.DS_Store", "cat/Thumbs.db", "README.txt", ".git/config"):
        text(folder / name)
    data = ImageData(str(folder), validation_size=2)
    data.check()
    assert data.class_names == ["cat", "dog"]


def test_pictures_are_decoded_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = folders.read_picture
    monkeypatch.setattr(folders, "read_picture", lambda path, *a: (read.append(Path(path).name), original(path, *a))[1])
    folder = make(tmp_path / "pets")
    first = ImageData(str(folder), validation_size=2)
    first.check()
    assert set(read) == {path.name for path in folder.glob("*/*")}
    read.clear()
    again = ImageData(str(folder), validation_size=2)  # as in a trial
    assert again.checksum() == first.checksum() and not read
    picture(folder / "cat" / "new.png").replace(folder / "cat" / "cat0-..png")
    assert ImageData(str(folder), validation_size=2).checksum() != first.checksum() and read
    assert len(list(cache.iterdir())) == 2  # old arrays are gone
    for path in cache.iterdir():
        path.write_bytes(b"damaged")
    read.clear()
    ImageData(str(folder), validation_size=2).check()
    assert read


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text(cache.parent)
    ImageData(str(make(tmp_path / "pets")), validation_size=2).check()
