"""Sources of images: one small reader per kind of source.

A reader gives the training part and the test part separately, so that code which only trains or selects cannot touch
the test images. No reader opens a pickle, with one exception: torchvision's CIFAR files are pickles, and they are
opened only if each has the checksum that torchvision publishes for it.
"""

from __future__ import annotations

import difflib
import importlib
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from nni_hypens.data.arrays import read_idx, stratified_subset
from nni_hypens.data.folders import PictureFolder
from nni_hypens.data.names import SOURCE_NAMES, is_picture_folder
from nni_hypens.errors import InputError, raised, reason
from nni_hypens.utils.checks import brief, nearest
from nni_hypens.utils.declared import makes
from nni_hypens.utils.files import open_file
from nni_hypens.utils.npz import read_member
from nni_hypens.utils.ranges import check_range

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"
)  # fmt: skip
_ARRAY_KEYS = ("x_train", "y_train", "x_test", "y_test")
_MORE_KEYS = ("x_val", "y_val", "class_names", "range")
KEY_OF = {"train": "train", "validation": "val", "test": "test"}
"""Part of a source -> end of the names of its arrays."""
_IDX_PREFIX = {"train": "train", "test": "t10k"}
_TABLES = (".csv", ".tsv", ".parquet", ".xlsx")
_FORMS = f"{', '.join(SOURCE_NAMES)}, a folder of images, a path to an .npz file, or module:callable"
_READ_ERRORS = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError, MemoryError)


class Source(Protocol):
    """One readable source of images.

    Attributes:
        value_range: Values of black and white; None if the source does not state them. Known after `load`.
        class_names: Name of label 0, 1, ...; None uses the label as the name. Known after `load`.
        has_validation: Whether there is a validation part; otherwise it is split off the training part. Known after
            `load`.
    """

    value_range: tuple[float, float] | None
    class_names: tuple[str, ...] | None
    has_validation: bool

    def fetch(self) -> None:
        """Make sure that the files exist. Download them if the source allows it."""

    def load(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Read the images and labels of "train", "test" or "validation", without reading the other parts."""


def cache_folder() -> Path:
    """Folder for downloaded files."""
    return Path.home() / ".cache" / "nni_hypens"


def open_source(source: str, root: str | None = None, image_size: int | None = None) -> Source:
    """Find the reader of a source; opens no file.

    Args:
        source: One of `SOURCE_NAMES`, a folder of images, a path ending in `.npz`, or `module:callable`.
        root: Folder that holds the files of `fashion_mnist`, `cifar10` or `cifar100`.
        image_size: Height and width for the pictures of a folder; None keeps their size.

    Returns:
        The reader.

    Raises:
        InputError: If `source` is none of these.
    """
    if not isinstance(source, str):
        raise InputError("data", f"{source!r} of type {type(source).__name__}", f"one of {_FORMS}")
    folder = None if root is None else Path(root).expanduser()
    if is_picture_folder(source):
        return PictureFolder(Path(source).expanduser(), image_size, cache_folder() / "pictures")
    if image_size is not None:
        raise InputError(
            "data.image_size", image_size, f"nothing for {source!r}; only pictures of a folder are resized"
        )
    if source == "digits":
        return Digits()
    if source == "fashion_mnist":
        return FashionMnist(folder)
    if source in ("cifar10", "cifar100"):
        return Cifar(source, folder)
    if source.endswith(".npz"):
        return Npz(Path(source).expanduser())
    if Path(source).expanduser().is_file():
        expected = f"one of {_FORMS}; a function of yours can read any file (guide: data, tables)"
        raise InputError("data", f"{source!r}, a file of another kind", expected)
    if ":" in source:
        return FromCallable(source)
    if "/" in source or source.endswith(_TABLES):
        raise InputError("data", f"{source!r}, which is not there", f"one of {_FORMS}")
    near = difflib.get_close_matches(source.lower().replace("-", "_"), SOURCE_NAMES, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise InputError("data", repr(source), f"one of {_FORMS}{hint}")


class Digits:
    """scikit-learn's handwritten digits: 8x8 pixels, one channel, values 0..16; a quarter of them is the test part."""

    value_range: tuple[float, float] | None = (0.0, 16.0)
    class_names: tuple[str, ...] | None = tuple(str(digit) for digit in range(10))
    has_validation = False

    def fetch(self) -> None:
        """Nothing to fetch: the images are installed with scikit-learn."""

    def load(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Read one part; the split is stratified by label and always the same."""
        from sklearn.datasets import load_digits  # imported here because it is slow, and only this source needs it

        data = load_digits()
        test = stratified_subset(data.target, round(len(data.target) / 4), seed=(0, 0))
        rows = test if split == "test" else np.setdiff1d(np.arange(len(data.target)), test)
        return data.images[rows].astype(np.uint8), data.target[rows].astype(np.int64)


class FashionMnist:
    """Fashion-MNIST (Xiao et al. 2017) from idx files, plain or gzipped.

    Args:
        folder: Where the files are; None means Debian's folder, then the cache, then a download into the cache.
    """

    value_range: tuple[float, float] | None = (0.0, 255.0)
    class_names: tuple[str, ...] | None = FASHION_CLASSES
    has_validation = False

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def fetch(self) -> None:
        """Make sure that all four files are there."""
        self._files()

    def load(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Read one part."""
        images, labels = self._files()[split]
        return read_idx(images, 3), read_idx(labels, 1)

    def _files(self) -> dict[str, tuple[Path, Path]]:
        cache = cache_folder() / "FashionMNIST" / "raw"
        if self.folder is not None:
            places = [self.folder, self.folder / "FashionMNIST" / "raw"]
        else:
            places = [DEBIAN_FASHION_MNIST, cache]
        for place in places:
            files = _idx_files(place)
            if files is not None:
                return files
        if self.folder is not None:
            expected = "a folder that holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte"
            raise InputError("data.root", self.folder, f"{expected} and t10k-labels-idx1-ubyte, plain or .gz")
        from torchvision.datasets import FashionMNIST

        _download("fashion_mnist", lambda: FashionMNIST(str(cache_folder()), download=True))
        files = _idx_files(cache)
        if files is None:
            raise InputError("data", f"fashion_mnist, whose download left no idx files in {cache}", "root=a folder")
        return files


class Cifar:
    """CIFAR-10 and CIFAR-100 (Krizhevsky 2009) through torchvision.

    Args:
        name: "cifar10" or "cifar100".
        folder: Folder that holds the extracted `cifar-10-batches-py` or `cifar-100-python`; None means the cache.
    """

    value_range: tuple[float, float] | None = (0.0, 255.0)
    class_names: tuple[str, ...] | None = None
    has_validation = False

    def __init__(self, name: str, folder: Path | None) -> None:
        from torchvision import datasets

        self.name = name
        self.folder = folder
        self._dataset = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100

    def fetch(self) -> None:
        """Make sure that the files are there and have their published checksums.

        torchvision unpickles the files, which runs any code in a forged file. The checksums exclude forged files.
        """
        from torchvision.datasets.utils import check_integrity

        dataset = self._dataset
        wanted = [*dataset.train_list, *dataset.test_list, [dataset.meta["filename"], dataset.meta["md5"]]]
        folder = self._root() / dataset.base_folder
        if self.folder is None and not folder.exists():
            _download(self.name, lambda: dataset(str(self._root()), download=True))
        for filename, md5 in wanted:
            path = folder / filename
            if not path.is_file():
                expected = f"a folder that holds {dataset.base_folder}/{filename}"
                raise InputError("data.root", f"{self._root()} without it", expected)
            if not check_integrity(str(path), md5):
                raise InputError("data.root", f"{path} with a wrong checksum", f"the published file, md5 {md5}")

    def load(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Read one part."""
        self.fetch()
        dataset = self._dataset(str(self._root()), train=split == "train")
        self.class_names = tuple(dataset.classes)
        return np.asarray(dataset.data), np.asarray(dataset.targets, dtype=np.int64)

    def _root(self) -> Path:
        if self.folder is None:
            return cache_folder()
        return self.folder.parent if self.folder.name == self._dataset.base_folder else self.folder


class Npz:
    """A NumPy archive with `x_train, y_train, x_test, y_test`, and maybe `x_val, y_val, class_names, range`.

    Args:
        path: The file.
    """

    value_range: tuple[float, float] | None = None
    class_names: tuple[str, ...] | None = None
    has_validation = False

    def __init__(self, path: Path) -> None:
        self.path = path

    def fetch(self) -> None:
        """Make sure that the file is there."""
        if not self.path.is_file():
            raise InputError("data", f"{self.path}, which is not a file", "the path of an .npz file that exists")

    def load(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Read one part; the other part's arrays stay compressed on disk."""
        self.fetch()
        # Opened here, because numpy does not close a file that is not an archive.
        with self._opened() as file:
            archive = self._archive(file)
            _check_keys(archive, str(self.path))
            _describe(self, archive, lambda key: self._read(archive, key))
            return self._read(archive, f"x_{KEY_OF[split]}"), self._read(archive, f"y_{KEY_OF[split]}")

    def _opened(self) -> BinaryIO:
        try:
            return open_file(self.path, links=True)
        except OSError as error:
            raise InputError("data", f"{self.path} ({error.strerror})", "an .npz file written by numpy.savez") from None

    def _archive(self, file: BinaryIO) -> np.lib.npyio.NpzFile:
        try:
            archive = np.load(file, allow_pickle=False)
        except _READ_ERRORS as error:
            raise InputError("data", f"{self.path} ({error})", "an .npz file written by numpy.savez") from error
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError("data", f"{self.path}, a single array", f"an .npz file with {', '.join(_ARRAY_KEYS)}")
        return archive

    def _read(self, archive: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
        try:
            return read_member(archive, key)
        except _READ_ERRORS as error:
            expected = "numbers, and labels also strings; of a data frame x.to_numpy(float) and y.to_numpy(str)"
            raise InputError(f"data.{key}", f"an array that cannot be read ({error})", expected) from error


class FromCallable:
    """Arrays from the user's function: `module:callable` returns a mapping with the same arrays as an `.npz` file.

    Its annotation must say so, as in `def load() -> dict[str, np.ndarray]`: another function is not called.

    Each part calls the function again. If the mapping reads arrays on access, training never reads the test arrays.

    Args:
        name: `module:callable`.
    """

    value_range: tuple[float, float] | None = None
    class_names: tuple[str, ...] | None = None
    has_validation = False

    def __init__(self, name: str) -> None:
        self.name = name

    def fetch(self) -> None:
        """Make sure that the callable can be imported."""
        self._callable()

    def load(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Call it and take one part."""
        try:
            arrays = self._callable()()
        except InputError:
            raise
        except (Exception, SystemExit) as error:  # the user's code runs here
            got = f"{type(error).__name__} from {self.name} ({reason(error)})"
            raise InputError("data", got, f"a dict of {', '.join(_ARRAY_KEYS)}") from error
        if not isinstance(arrays, Mapping):
            raise InputError("data", f"{type(arrays).__name__} from {self.name}", f"a dict of {', '.join(_ARRAY_KEYS)}")
        _check_keys(arrays, self.name)
        _describe(self, arrays, lambda key: self._array(arrays, key))
        return self._array(arrays, f"x_{KEY_OF[split]}"), self._array(arrays, f"y_{KEY_OF[split]}")

    def _array(self, arrays: Mapping[str, Any], key: str) -> np.ndarray:
        try:
            values = arrays[key]
        except (Exception, SystemExit) as error:  # the user's mapping may read files on access
            got = f"{type(error).__name__} from {self.name} ({reason(error)})"
            raise InputError(f"data.{key}", got, "an array of numbers") from error
        try:
            return np.asarray(values)
        except (ValueError, TypeError) as error:
            raise InputError(
                f"data.{key}", f"{type(values).__name__} ({reason(error)})", "an array of numbers"
            ) from error

    def _callable(self) -> Any:
        module_name, _, attribute = self.name.partition(":")
        expected = "module:callable, importable from here"
        try:
            module = importlib.import_module(module_name)
        except (Exception, SystemExit) as error:  # the module's code runs here
            raise InputError("data", f"{self.name!r} ({raised(error)})", expected) from error
        function = getattr(module, attribute, None)
        if not callable(function):
            raise InputError("data", f"{self.name!r}, where {attribute!r} is no callable of the module", expected)
        if not makes(function, Mapping):  # it is not called to find out: the name may come from another person's file
            declared = f"a function that declares its arrays: `def {attribute}() -> dict[str, np.ndarray]`"
            raise InputError("data", f"{self.name!r}, whose annotation does not say that it returns a dict", declared)
        return function


def _check_keys(arrays: Mapping[str, Any], name: str) -> None:
    missing = [key for key in _ARRAY_KEYS if key not in arrays]
    if missing:
        present = ", ".join(map(str, arrays)) or "nothing"
        raise InputError(f"data.{missing[0]}", f"no such array in {name} (found {present})", ", ".join(_ARRAY_KEYS))
    unknown = [key for key in arrays if key not in (*_ARRAY_KEYS, *_MORE_KEYS)]
    if unknown:
        expected = f"no arrays but {', '.join((*_ARRAY_KEYS, *_MORE_KEYS))}"
        raise InputError("data", f"{brief(unknown[0])} in {name}", f"{expected}{nearest(str(unknown[0]), _MORE_KEYS)}")
    if ("x_val" in arrays) != ("y_val" in arrays):
        raise InputError("data", f"one of x_val and y_val in {name}", "both or neither")


def _describe(source: Npz | FromCallable, arrays: Mapping[str, Any], read: Callable[[str], np.ndarray]) -> None:
    """Take what a mapping says about its arrays."""
    source.has_validation = "x_val" in arrays
    if "range" in arrays:
        source.value_range = check_range(read("range"), "data.range")
    if "class_names" in arrays:
        names = read("class_names")
        if names.ndim != 1 or names.dtype.kind != "U":
            got = f"an array of type {names.dtype} and shape {names.shape}"
            raise InputError("data.class_names", got, "strings, the name of label 0, 1, ...")
        source.class_names = tuple(names.tolist())


def _idx_files(folder: Path) -> dict[str, tuple[Path, Path]] | None:
    files = {}
    for split, prefix in _IDX_PREFIX.items():
        pair = []
        for name in (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"):
            existing = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
            if not existing:
                return None
            pair.append(existing[0])
        files[split] = (pair[0], pair[1])
    return files


def _download(name: str, download: Any) -> None:
    try:
        download()
    except Exception as error:  # torchvision does not catch what its network and archive libraries raise
        got = f"{name}, which could not be downloaded ({raised(error)})"
        raise InputError("data", got, "a network connection, or root=a folder that already holds the files") from error
