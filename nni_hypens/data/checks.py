"""One look at the data of a run before any long work, and the checksum by which they are recognised later."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch

from nni_hypens.data.protocols import LabelledData
from nni_hypens.errors import InputError

LOADER_OF = {"validation": "val_dataloader", "test": "test_dataloader"}
"""Splits whose predictions are kept in the order of the loader, and compared with `labels(split)`."""
_CHUNK = 2**24
"""Bytes that are hashed at once, so that no copy of all images is needed."""


def checksum(*arrays: np.ndarray) -> str:
    """Checksum of arrays: their types, shapes and values.

    Args:
        arrays: Of any shapes; the order counts.

    Returns:
        64 hexadecimal digits (SHA-256), the same on every machine.

    Examples:
        >>> labels = np.array([0, 1, 1])
        >>> checksum(labels) == checksum(labels.copy()), checksum(labels) == checksum(labels[::-1])
        (True, False)
    """
    digest = hashlib.sha256()
    for array in arrays:
        array = array.astype(str) if array.dtype.kind == "O" else array  # not the addresses of the objects
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        rows = max(1, _CHUNK * len(array) // max(array.nbytes, 1)) if array.ndim else 1
        for first in range(0, len(array), rows):
            digest.update(np.ascontiguousarray(array[first : first + rows]).tobytes())
    return digest.hexdigest()


def check_data(data: LabelledData) -> str:
    """Read the validation and test loaders once, and compare them with the labels.

    Predictions are kept in the order of the loaders and compared with ``labels(split)``: if the two differ, members are
    chosen and calibrated by wrong labels.

    Args:
        data: The data module.

    Returns:
        A checksum of the data. Two data modules with the same checksum have the same validation and test images and
        labels, and as many training images of each class: their order is that of a loader which may shuffle. A module
        with a method ``checksum`` decides for itself; that of `ImageData` covers the training images too.

    Raises:
        InputError: A loader shuffles, drops images, augments at random, or does not give pairs of images and labels; or
            a label is not a number of a class.
    """
    with torch.random.fork_rng(devices=[]):  # a DataLoader draws a seed whenever it is read
        for split in ("train", *LOADER_OF):
            _check_range(np.asarray(data.labels(split)), data.num_classes, split)
        found = [_look(data, split) for split in LOADER_OF]
    own = getattr(data, "checksum", None)
    if own is not None:
        return str(own())
    return checksum(np.frombuffer("".join(found).encode(), np.uint8), np.sort(data.labels("train")))


def _check_range(labels: np.ndarray, classes: int, split: str) -> None:
    """Check that labels are 0..C-1; torch's loss ignores -100, without a word."""
    if labels.dtype.kind not in "iu" or (len(labels) and not 0 <= labels.min() <= labels.max() < classes):
        got = f"labels from {labels.min()} to {labels.max()}" if labels.dtype.kind in "iu" else f"{labels.dtype} labels"
        raise InputError(f'data.labels("{split}")', got, f"whole numbers from 0 to {classes - 1}, those of the classes")


def _look(data: LabelledData, split: str) -> str:
    """Compare a split's loader with its labels; returns a checksum of both."""
    loader = getattr(data, LOADER_OF[split])()
    expected = np.asarray(data.labels(split))
    digest, labels = hashlib.sha256(), []
    for number, (images, targets) in enumerate(_pairs(loader, split)):
        labels.append(targets.numpy())
        part = checksum(images.float().numpy(), labels[-1])
        digest.update(part.encode())
        if number == 0:
            first = part
    if not labels:
        raise InputError(f"data.{LOADER_OF[split]}", "no batch", f"all {len(expected)} {split} images")
    _compare(np.concatenate(labels), expected, split)
    for images, targets in islice(_pairs(loader, split), 1):
        if checksum(images.float().numpy(), targets.numpy()) != first:
            raise InputError(
                f"data.{LOADER_OF[split]}",
                "other images each time it is read",
                "the same images in the same order each time: no shuffling, no random augmentation",
            )
    return digest.hexdigest()


def _pairs(loader: Any, split: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The batches of a loader, on the CPU."""
    for batch in loader:
        pair = isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(x, torch.Tensor) for x in batch)
        if not pair or batch[1].ndim != 1 or len(batch[0]) != len(batch[1]):
            kind = [tuple(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__ for x in batch]
            raise InputError(
                f"data.{LOADER_OF[split]}",
                f"a batch of {', '.join(map(str, kind))}",
                "pairs of tensors: images B x C x H x W, or other inputs with B first, and labels B",
            )
        yield batch[0].detach().cpu(), batch[1].detach().cpu()


def _compare(found: np.ndarray, expected: np.ndarray, split: str) -> None:
    field, labels = f"data.{LOADER_OF[split]}", f'labels("{split}")'
    if len(found) != len(expected):
        raise InputError(
            field,
            f"{len(found)} images for the {len(expected)} labels of {labels}",
            "every image once: no drop_last, no sampler that leaves images out",
        )
    wrong = np.flatnonzero(found != expected)
    if len(wrong):
        raise InputError(
            field,
            f"label {found[wrong[0]]} at image {wrong[0]}, where {labels} has {expected[wrong[0]]} "
            f"({len(wrong)} of {len(found)} differ)",
            f"the order of {labels}: shuffle=False",
        )
