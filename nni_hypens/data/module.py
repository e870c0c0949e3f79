"""`ImageData`: images or a table in memory, split for search and training, rebuilt in a trial from a few arguments.

`ImageData` is traced by NNI: a trial receives its constructor's arguments, never a tensor. The traced class is a
subclass of the class written here, with the same name, so `isinstance(data, ImageData)` and attributes work as usual.
"""

from __future__ import annotations

import copyreg
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import nni
import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from nni_hypens.data.arrays import (
    MIN_SIDE,
    channel_statistics,
    check_arrays,
    feature_statistics,
    stratified_subset,
    warn_about_values,
)
from nni_hypens.data.augment import Augmentation, augmentation
from nni_hypens.data.batches import Batch, ImageBatches, as_batch, fitting_batch_size
from nni_hypens.data.checks import checksum
from nni_hypens.data.names import AUGMENTATION_NAMES, augmentation_names
from nni_hypens.data.parts import check_counts, check_part, choose_train, name_classes, split_validation
from nni_hypens.data.repeats import check_repeats
from nni_hypens.data.resident import Resident, place_of
from nni_hypens.data.sources import KEY_OF, Source, open_source
from nni_hypens.errors import InputError
from nni_hypens.utils.checks import check_whole
from nni_hypens.utils.images import check_normalisation, normalise
from nni_hypens.utils.ranges import check_values, largest, training_range
from nni_hypens.utils.seeds import Purpose, seed_words

SPLITS = ("train", "validation", "test")
_OPTIONS = (
    "source", "root", "train_size", "validation_size", "test_size", "batch_size", "eval_batch_size", "augment",
    "split_seed", "image_size",
)  # fmt: skip


@dataclass
class _Split:
    """One split: positions in the source's part, normalised images, labels 0..C-1."""

    indices: np.ndarray
    images: torch.Tensor
    labels: np.ndarray


@dataclass
class _Prepared:
    """Result of `prepare`; `classes` are the labels in ascending order, `extremes` the least and greatest value."""

    source: Source
    classes: np.ndarray
    class_names: list[str]
    input_spec: dict[str, Any]
    extremes: tuple[float, float]
    splits: dict[str, _Split] = field(default_factory=dict)
    test_count: int | None = None
    checksums: dict[str, str] = field(default_factory=dict)
    resident: Resident = field(default_factory=Resident)

    def check_part(self, images: np.ndarray, labels: np.ndarray, part: str) -> np.ndarray:
        stated = self.source.value_range is not None
        return check_part(images, labels, part, self.input_spec, self.classes, self.extremes, stated)


@nni.trace
class ImageData(pl.LightningDataModule):
    """A dataset for classification, in memory, split into train, validation and test: images, or a table.

    The test arrays are read when the test split is first used. `check` reads them too, but does not keep them. The
    order of training batches and the augmentation come from torch's global generator at the time of iteration.

    A trainer on a GPU gets batches that are made there, the same as on a CPU, from images that were sent there once. In
    several processes each gets its part of the batch.

    Args:
        source: `digits`, `fashion_mnist`, `cifar10`, `cifar100`, a folder of images (see
            `nni_hypens.data.folders.PictureFolder`), a path ending in `.npz`, or `module:callable`. The last two give
            `x_train, y_train, x_test, y_test`; images are `N x H x W` or `N x H x W x C`, a table is `N x F`, labels
            are integers or strings. They may also give `x_val, y_val`, a validation part; `class_names`, the name of
            label 0, 1, ...; and `range`, the values `[low, high]` of black and white.
        root: Folder that already holds the files of `fashion_mnist`, `cifar10` or `cifar100`; None looks in the
            system's folder and the cache, and downloads missing files.
        train_size: How many training images to use; None for all that are not in the validation split.
        validation_size: Size of the validation split, taken from the source's training part: a share (float between 0
            and 1) or a number of images (int). A source's own validation part is used as it is.
        test_size: How many test images to use; None for all.
        batch_size: Images per training batch of all processes together; None for 64, or fewer if an epoch would have
            less than 8 batches. A last incomplete batch is dropped unless it is the only one.
        eval_batch_size: Images per validation or test batch.
        augment: `none`, or some of `crop`, `crop_flip`, `trivial_augment` and `cutout`, separated by commas and applied
            in this order; training batches only, and only for images.
        split_seed: Seed of the splits, 0..2^32-1. The splits are stratified by label.
        image_size: Height and width to which pictures of a folder are resized; None keeps their size.

    Raises:
        InputError: If an argument is wrong. Files are not opened before `prepare`.

    Examples:
        >>> data = ImageData("digits", train_size=100, validation_size=50, test_size=40)
        >>> data.input_spec["channels"], data.num_classes
        (1, 10)
        >>> images, labels = next(iter(data.val_dataloader()))
        >>> images.shape, labels.shape
        (torch.Size([50, 1, 8, 8]), torch.Size([50]))
    """

    def __init__(
        self,
        source: str,
        *,
        root: str | None = None,
        train_size: int | None = None,
        validation_size: int | float = 0.2,
        test_size: int | None = None,
        batch_size: int | None = None,
        eval_batch_size: int = 256,
        augment: str = "none",
        split_seed: int = 0,
        image_size: int | None = None,
    ) -> None:
        super().__init__()
        self.image_size = None if image_size is None else check_whole("data.image_size", image_size, MIN_SIDE)
        open_source(source, root, image_size)
        self.source = source
        self.root = root
        self.train_size = None if train_size is None else check_whole("data.train_size", train_size)
        self.validation_size = _share_or_number("validation_size", validation_size)
        self.test_size = None if test_size is None else check_whole("data.test_size", test_size)
        self.batch_size = None if batch_size is None else check_whole("data.batch_size", batch_size)
        self.eval_batch_size = check_whole("data.eval_batch_size", eval_batch_size)
        if not isinstance(augment, str):
            raise InputError("data.augment", repr(augment), f"none, or some of {', '.join(AUGMENTATION_NAMES)}")
        augmentation_names(augment, "data.augment")
        self.augment = augment
        self.split_seed = check_whole("data.split_seed", split_seed, 0, 2**32 - 1)
        self._prepared: _Prepared | None = None

    @property
    def input_spec(self) -> dict[str, Any]:
        """What networks expect: `channels, height, width, range, scale, mean, std`, or `shape, scale, mean, std`.

        The second is that of tables, whose features are standardised one by one by `mean` and `std`.

        `range` are the values of black and white in the source: as the source states them, or as
        `nni_hypens.utils.ranges.training_range` infers them from the training part. Pixel values are divided by
        `scale`, the larger absolute value of the two, then normalised by the `mean` and `std` of each channel on the
        train split.
        """
        return self._ready().input_spec

    @property
    def num_classes(self) -> int:
        """Number of classes C; labels are 0..C-1 in the order of the source's labels."""
        return len(self._ready().classes)

    @property
    def class_names(self) -> list[str]:
        """Name of each class."""
        return self._ready().class_names

    def describe(self) -> dict[str, Any]:
        """Summary for JSON: source, sizes of the splits, input_spec, num_classes, class_names.

        The size of the test split is None if `test_size` is not given and the test arrays were not opened yet.
        """
        ready = self._ready()
        sizes: dict[str, int | None] = {split: len(ready.splits[split].labels) for split in ("train", "validation")}
        sizes["test"] = ready.test_count if self.test_size is None else self.test_size
        return {
            "source": self.source,
            "sizes": sizes,
            "input_spec": ready.input_spec,
            "num_classes": len(ready.classes),
            "class_names": ready.class_names,
        }

    def indices(self, split: str) -> np.ndarray:
        """Positions of a split's examples in the source, as ascending int64.

        They count within the part of the source that the split is from: "validation" is from the training part, unless
        the source has a validation part.
        """
        return self._split(split).indices.copy()

    def labels(self, split: str) -> np.ndarray:
        """Labels 0..C-1 of a split, int64, in the order of `indices` and of the validation and test loaders."""
        return self._split(split).labels.copy()

    def raw(self, split: str, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Original images, read again from the source.

        Args:
            split: "train", "validation" or "test".
            indices: Positions within the split.

        Returns:
            `len(indices) x H x W x C`, or rows of a table, in the source's dtype.
        """
        rows = self._split(split).indices[np.asarray(indices, dtype=np.int64)]
        source = self._ready().source
        part = split if split == "test" or source.has_validation else "train"
        images, _ = check_arrays(*source.load(part), KEY_OF[part])
        chosen: np.ndarray = images[rows]
        return chosen

    def prepare(self) -> None:
        """Fetch, read, check and split the training part. A second call does nothing.

        Raises:
            InputError: The data or an argument is wrong; the error names the field.
        """
        self._ready()

    def check(self) -> None:
        """Run every check, before any long work. It reads the test arrays too, but does not keep them.

        A function that gives the arrays is called twice for each part: it must give the same ones each time.

        Raises:
            InputError: The data or an argument is wrong; the error names the field.
        """
        self._read_test()
        check_repeats(self._ready().source, self._ready().checksums)

    def checksum(self) -> str:
        """Checksum of all images and labels of the source, as they came, and of their range: it changes if one does.

        It reads the test arrays, but does not keep them.
        """
        ready = self._ready()
        if "test" not in ready.checksums:
            self._read_test()
        about = [*ready.checksums.values(), str(ready.source.value_range)]
        return checksum(np.array(about))

    def _ready(self) -> _Prepared:
        if self._prepared is None:
            source = open_source(self.source, self.root, self.image_size)
            images, labels = check_arrays(*source.load("train"), "train")
            checksums = {"train": checksum(images, labels)}
            classes, labels = np.unique(labels, return_inverse=True)
            names = name_classes(classes, source.class_names)
            check_counts(names, labels, least=1 if source.has_validation else 2)
            validation, train = self._divide(labels, source.has_validation)
            spec = _input_spec(images, train, source.value_range)
            augmentation(self.augment, spec)
            warn_about_values(images, "train", source.value_range is not None)
            extremes = (float(images.min()), float(images.max()))
            prepared = _Prepared(source, classes, names, spec, extremes, checksums=checksums)
            prepared.splits["train"] = _make_split(images, labels, train, spec)
            if source.has_validation:
                images, own_labels = check_arrays(*source.load("validation"), KEY_OF["validation"])
                labels, validation = prepared.check_part(images, own_labels, "val"), np.arange(len(images))
                checksums["train"] = checksum(np.array([checksums["train"], checksum(images, own_labels)]))
            prepared.splits["validation"] = _make_split(images, labels, validation, spec)
            self._prepared = prepared
        return self._prepared

    def _divide(self, labels: np.ndarray, own_validation: bool) -> tuple[np.ndarray, np.ndarray]:
        """Positions in the training part for validation and train; validation does not depend on `train_size`."""
        validation, rest = np.arange(0), np.arange(len(labels))
        if not own_validation:
            validation, rest = split_validation(labels, self.validation_size, self.split_seed)
        return validation, choose_train(labels, rest, self.train_size, self.validation_size, self.split_seed)

    def _read_test(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images (source's dtype) and labels 0..C-1 of the test part, checked, and the chosen positions."""
        ready = self._ready()
        images, own_labels = check_arrays(*ready.source.load("test"), "test")
        labels = ready.check_part(images, own_labels, "test")
        rows = np.arange(len(labels))
        if self.test_size is not None:
            if self.test_size > len(labels):
                raise InputError("data.test_size", self.test_size, f"1 to {len(labels)}, the images in the test part")
            rows = stratified_subset(labels, self.test_size, seed_words(self.split_seed, Purpose.TEST_SUBSET))
        ready.test_count = len(rows)
        ready.checksums["test"] = checksum(images, own_labels)
        return images, labels, rows

    def _split(self, split: str) -> _Split:
        if split not in SPLITS:
            raise InputError("split", repr(split), f"one of {', '.join(SPLITS)}")
        ready = self._ready()
        if split not in ready.splits:
            images, labels, rows = self._read_test()
            ready.splits[split] = _make_split(images, labels, rows, ready.input_spec)
        return ready.splits[split]

    def prepare_data(self) -> None:
        """Fetch the source's files; Lightning calls this in one process only."""
        open_source(self.source, self.root, self.image_size).fetch()

    def setup(self, stage: str | None = None) -> None:
        """Read the data; Lightning calls this in every process."""
        self.prepare()

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled batches `(B x C x H x W or B x F float32, B int64)` of the train split, augmented if asked."""
        n = len(self._split("train").labels)
        size = self.batch_size or fitting_batch_size(n)
        augment = augmentation(self.augment, self.input_spec)
        return self._loader("train", size, augment, shuffle=True, drop_last=n >= size)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Batches of the validation split, in the order of `indices`."""
        return self._loader("validation", self.eval_batch_size)

    def test_dataloader(self) -> DataLoader[Batch]:
        """Batches of the test split, in the order of `indices`; reads the test arrays."""
        return self._loader("test", self.eval_batch_size)

    def _loader(self, name: str, size: int, augment: Augmentation | None = None, **options: Any) -> DataLoader[Batch]:
        """Batches of a split, made on the device of the trainer that asks for them, and shared by its processes."""
        split, ready, (device, processes) = self._split(name), self._ready(), place_of(self.trainer)
        images, labels = split.images, torch.from_numpy(split.labels)
        if ready.resident.fits(sum(ready.splits[part].images.nbytes for part in SPLITS[:2]), device):
            images, labels = ready.resident.put(name, images, labels, device)
        elif device.type == "cuda":
            options["pin_memory"] = True
        # Lightning advises worker processes. Here they would only cost time, since batches are slices of memory.
        warnings.filterwarnings("ignore", message=r"The '\w+' does not have many workers", category=UserWarning)
        collate: Callable[[Any], Batch] = as_batch
        dataset = ImageBatches(images, labels, augment)
        return DataLoader(dataset, max(1, size // processes), collate_fn=collate, **options)

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _OPTIONS}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImageData) and self._options() == other._options()

    def __hash__(self) -> int:
        return hash(tuple(self._options().values()))

    def __repr__(self) -> str:
        return f"ImageData({', '.join(f'{name}={value!r}' for name, value in self._options().items())})"

    def __str__(self) -> str:
        # Lightning's method opens every loader, even the test loader.
        return repr(self)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # NNI's `__reduce__` pickles the traced class by value. A copy in another process would not be an ImageData, and
        # the pickle would contain the images. Here the copy gets the class by name and reads the images when needed.
        state = {name: value for name, value in self.__dict__.items() if name != "_nni_symbol"}
        return copyreg.__newobj__, (type(self),), {**state, "_prepared": None}  # type: ignore[attr-defined]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__["_nni_symbol"] = getattr(type(self), "__wrapped__", type(self))


def _make_split(images: np.ndarray, labels: np.ndarray, rows: np.ndarray, input_spec: dict[str, Any]) -> _Split:
    return _Split(rows, torch.from_numpy(normalise(images, input_spec, rows)), labels[rows])


def _input_spec(images: np.ndarray, train: np.ndarray, stated: tuple[float, float] | None) -> dict[str, Any]:
    if images.ndim != 4:
        if stated is not None:
            raise InputError(
                "data.range", list(stated), f"no range for arrays of shape {images.shape}: only images have one"
            )
        mean, std = feature_statistics(images, train)
        table = {"shape": list(images.shape[1:]), "scale": 1.0, "mean": mean, "std": std}
        check_normalisation(table, "data.x_train")
        return table
    low, high = stated or training_range(images)
    scale = largest(low, high)
    mean, std = channel_statistics(images, train, scale)
    height, width, channels = (int(size) for size in images.shape[1:])
    spec = {"channels": channels, "height": height, "width": width, "range": [low, high], "scale": scale}
    spec |= {"mean": mean, "std": std}
    check_normalisation(spec, "data.x_train")
    check_values(images, spec, "data.x_train")
    return spec


def _share_or_number(name: str, value: Any) -> int | float:
    if isinstance(value, float):
        if not 0 < value < 1:
            raise InputError(f"data.{name}", value, "a share between 0 and 1, or a whole number of images")
        return float(value)
    return check_whole(f"data.{name}", value)
