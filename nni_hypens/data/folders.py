"""Folders of images: one folder per class, with or without folders for the parts of the data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from nni_hypens.data.arrays import stratified_subset
from nni_hypens.errors import InputError
from nni_hypens.utils.files import replacing
from nni_hypens.utils.npz import read_array
from nni_hypens.utils.pictures import PICTURE_SUFFIXES, is_coloured_or_deep, read_picture

PARTS = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}
"""Part of a source -> names that its folder may have."""
TEST_SHARE = 0.2
IGNORED = ("Thumbs.db", "desktop.ini")
"""Files of file managers; files whose name starts with a dot are ignored too."""
_READER = 1
"""Raise it when the same files would give other arrays, so that old arrays in the cache are not used."""
_NAMED = 5
"""Most files that an error names."""
_LAYOUT = "DIR/CLASS/*, or DIR/train/CLASS/* and DIR/test/CLASS/* (and DIR/val/CLASS/*)"
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class PictureFolder:
    """Images in a folder per class: `DIR/CLASS/*`, or `DIR/train/CLASS/*`, `DIR/test/CLASS/*`, maybe `DIR/val/CLASS/*`.

    Without parts, a fifth of each class is the test part, always the same for the same files. Images are in colour if
    one training image is, and have 16 bits if one training image is grey of more than 8 bits. Pictures are read as
    `nni_hypens.utils.pictures` says, once: their arrays are kept in the cache until a file changes.

    Args:
        folder: The folder.
        size: Height and width to which all pictures are resized; None requires pictures of one size.
        cache: Folder for the arrays.
    """

    value_range: tuple[float, float] | None = None
    class_names: tuple[str, ...] | None = None
    has_validation = False

    def __init__(self, folder: Path, size: int | None, cache: Path) -> None:
        self.folder = folder
        self.size = size
        self.cache = cache

    def fetch(self) -> None:
        """Make sure that there are classes with files."""
        self._parts()

    def load(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Read one part, as `N x H x W x C` and labels that count the classes in the order of their names."""
        parts = self._parts()
        paths, labels = parts[split]
        return self._kept(split, paths, lambda: self._decode(paths, parts["train"][0])), labels

    def _parts(self) -> dict[str, tuple[list[Path], np.ndarray]]:
        """Files and labels of each part."""
        roots = _part_folders(self.folder)
        first = _classes(roots.get("train", self.folder))
        self.class_names = tuple(first)
        found = {part: _labelled(_classes(root), self.class_names, root) for part, root in roots.items()}
        if not found:
            paths, labels = _labelled(first, self.class_names, self.folder)
            rows = stratified_subset(labels, round(TEST_SHARE * len(labels)), seed=(0, 0))
            rest = np.setdiff1d(np.arange(len(labels)), rows)
            for part, chosen in (("train", rest), ("test", rows)):
                found[part] = [paths[i] for i in chosen], labels[chosen]
        self.has_validation = "validation" in found
        return found

    def _decode(self, paths: list[Path], train: list[Path]) -> np.ndarray:
        with ThreadPoolExecutor() as pool:
            kinds = _each(pool, is_coloured_or_deep, train)
            channels = 3 if any(coloured for coloured, _ in kinds) else 1
            kind = np.uint16 if any(deep for _, deep in kinds) else np.uint8
            size = None if self.size is None else (self.size, self.size)
            result = np.empty((len(paths), *_first_shape(paths, channels, size)), kind)

            def fill(row: int) -> None:
                image = read_picture(paths[row], channels, size, True, "data")
                if image.shape != result.shape[1:]:
                    got = f"{paths[row]} of {image.shape[0]} x {image.shape[1]} (height x width)"
                    expected = f"{result.shape[1]} x {result.shape[2]} as {paths[0].name}, or --image-size"
                    raise InputError("data", got, expected)
                result[row] = _as_type(image, kind)

            _each(pool, fill, range(len(paths)))
        return result

    def _kept(self, split: str, paths: list[Path], decode: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of a part: from the cache if no file has changed, otherwise decoded."""
        listing = hashlib.sha256(f"{_READER} {self.size}".encode())
        for path in [*paths, *(path for path in self._parts()["train"][0] if split != "train")]:
            about = path.stat()
            listing.update(f"{path.relative_to(self.folder)}\0{about.st_size} {about.st_mtime_ns}\0".encode())
        place = hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:16]
        name = f"{place}-{self.size}-{split}"
        file = self.cache / f"{name}-{listing.hexdigest()[:32]}.npy"
        try:
            stored = read_array(file)
            if len(stored) == len(paths):
                return stored
        except (OSError, ValueError, EOFError):
            pass  # not there, or damaged: decode again
        images = decode()
        try:
            for old in self.cache.glob(f"{name}-*.npy"):
                old.unlink()
            with replacing(file) as temporary, temporary.open("wb") as opened:
                np.save(opened, images)
        except OSError:
            pass  # without a cache, each process decodes the pictures
        return images


def _first_shape(paths: list[Path], channels: int, size: tuple[int, int] | None) -> tuple[int, ...]:
    """Shape of the first picture that can be read; the others are named when all are read."""
    for path in paths:
        try:
            return read_picture(path, channels, size, True, "data").shape
        except InputError:
            continue
    return 0, 0, channels


def _each(pool: ThreadPoolExecutor, call: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """The results of a call for each item.

    Raises:
        InputError: That of the first item with one; it names the others of the same kind, so that all can be mended.
    """
    made = [pool.submit(call, item) for item in items]
    results, refused = [], list[InputError]()
    for one in made:
        try:
            results.append(one.result())
        except InputError as error:
            refused.append(error)
    if refused:
        field, expected = refused[0].field, refused[0].expected
        got = [str(error.got) for error in refused if error.expected == expected]
        left = [f"{len(got) - _NAMED} more"] if len(got) > _NAMED else []
        raise InputError(field, "; ".join(got[:_NAMED] + left), expected)
    return results


def _part_folders(folder: Path) -> dict[str, Path]:
    """Part -> its folder; empty if the folder has classes, not parts."""
    try:
        inside = {path.name: path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
    except OSError as error:
        raise InputError("data", f"{folder} ({error.strerror})", "a folder that can be read") from error
    train = inside.get("train")
    if train is None or not any(path.is_dir() for path in train.iterdir()):
        return {}
    found = {}
    for part, names in PARTS.items():
        places = [inside.pop(name) for name in names if name in inside]
        if len(places) > 1:
            raise InputError("data", f"{places[0]} and {places[1]}", "one folder of validation images")
        if places:
            found[part] = places[0]
    if inside:
        raise InputError("data", f"{next(iter(inside.values()))}, beside train", "train, test and maybe val")
    if "test" not in found:
        raise InputError("data", f"{folder} with train, but without test", _LAYOUT)
    return found


def _classes(root: Path) -> dict[str, list[Path]]:
    """Class -> its files, both in the order of their names."""
    found: dict[str, list[Path]] = {}
    for entry in sorted(root.iterdir(), key=lambda path: path.name):
        if entry.name.startswith(".") or entry.name in IGNORED:
            continue
        if entry.is_dir():
            found[entry.name] = _files(entry)
        elif entry.suffix.lower() in PICTURE_SUFFIXES:
            raise InputError("data", f"{entry}, a picture outside the folders of classes", _LAYOUT)
    if not found:
        raise InputError("data", f"{root} without folders of classes", _LAYOUT)
    return found


def _files(folder: Path) -> list[Path]:
    files = []
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.startswith(".") or path.name in IGNORED:
            continue
        if path.is_dir():
            raise InputError("data", f"{path}, a folder in that of a class", _LAYOUT)
        if not path.is_file():
            raise InputError("data", f"{path}, which is no regular file", "pictures")
        files.append(path)
    if not files:
        raise InputError("data", f"{folder}, a class without pictures", "one picture or more in each class")
    return files


def _labelled(classes: dict[str, list[Path]], names: tuple[str, ...], root: Path) -> tuple[list[Path], np.ndarray]:
    unknown = [name for name in classes if name not in names]
    if unknown:
        raise InputError("data", f"{root / unknown[0]}, a class that train does not have", ", ".join(names)[:200])
    paths = [path for files in classes.values() for path in files]
    labels = np.concatenate([np.full(len(files), names.index(name)) for name, files in classes.items()])
    return paths, labels.astype(np.int64)


def _as_type(pixels: np.ndarray, kind: type) -> np.ndarray:
    """Bring 8 bits to 16 or back; white stays white."""
    if pixels.dtype == kind:
        return pixels
    return pixels.astype(np.uint16) * np.uint16(257) if kind is np.uint16 else np.rint(pixels / 257).astype(np.uint8)
