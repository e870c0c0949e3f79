"""Parts of a source: their classes, the split of the training part, and checks that all parts belong together."""

from __future__ import annotations

from typing import Any

import numpy as np

from nni_hypens.data.arrays import stratified_subset, warn_about_values
from nni_hypens.errors import InputError
from nni_hypens.utils.checks import check_class_names
from nni_hypens.utils.inputs import is_image, noun, raw_shape
from nni_hypens.utils.ranges import NARROW, check_values
from nni_hypens.utils.seeds import Purpose, seed_words


def name_classes(classes: np.ndarray, known: tuple[str, ...] | None) -> list[str]:
    """Names of the classes.

    Args:
        classes: The labels that occur, ascending: integers, or strings, which are names themselves.
        known: Name of label 0, 1, ...; None uses the label as the name.

    Raises:
        InputError: Names are missing, cannot be shown or occur twice.

    Examples:
        >>> name_classes(np.array([0, 2]), ("cat", "dog", "owl")), name_classes(np.array(["cat", "dog"]), None)
        (['cat', 'owl'], ['cat', 'dog'])
    """
    if known is not None and classes.dtype.kind == "U":
        raise InputError("data.class_names", "names, but y_train has strings", "class_names or strings in y_train")
    if known is not None and classes[-1] >= len(known):
        expected = f"a name for each of the labels 0..{classes[-1]}"
        raise InputError("data.class_names", f"{len(known)} names", expected)
    names = [str(label) if known is None else known[label] for label in classes.tolist()]
    check_class_names(names, "data.class_names")
    return names


def check_counts(names: list[str], labels: np.ndarray, least: int) -> None:
    """Check that there are two classes, and enough examples of each.

    Raises:
        InputError: Naming `data.y_train`.
    """
    if len(names) < 2:
        raise InputError("data.y_train", f"the one class {names[0]}", "two classes or more")
    counts = np.bincount(labels)
    if counts.min() < least:
        got = f"class {names[counts.argmin()]} with one example"
        raise InputError("data.y_train", got, "two examples or more of each class, to split by label")


def split_validation(labels: np.ndarray, size: int | float, split_seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide the training part by label.

    Args:
        labels: `N` labels 0..C-1.
        size: Validation images, as a share or a number.
        split_seed: Seed of the split.

    Returns:
        Ascending positions of the validation split, and of the rest.

    Raises:
        InputError: Naming `data.validation_size`.
    """
    classes, total = int(labels.max()) + 1, len(labels)
    number = size if isinstance(size, int) else round(size * total)
    if not classes <= number <= total - classes:
        got = f"{size} ({number} of {total} images)"
        expected = f"{classes} to {total - classes} images, one or more of each class for validation and for train"
        raise InputError("data.validation_size", got, expected)
    validation = stratified_subset(labels, number, seed_words(split_seed, Purpose.VALIDATION_SPLIT))
    return validation, np.setdiff1d(np.arange(total), validation)


def choose_train(
    labels: np.ndarray, rest: np.ndarray, size: int | None, validation_size: int | float, split_seed: int
) -> np.ndarray:
    """Draw the train split from the positions that are not validation.

    Args:
        labels: `N` labels 0..C-1 of the training part.
        rest: Positions to choose from.
        size: Train images; None for all.
        validation_size: For the error.
        split_seed: Seed of the draw.

    Raises:
        InputError: Naming `data.train_size` or `data.validation_size`.
    """
    classes = int(labels.max()) + 1
    if size is not None:
        if not classes <= size <= len(rest):
            expected = f"{classes} (one per class) to {len(rest)} (those not in the validation split)"
            raise InputError("data.train_size", size, expected)
        rest = rest[stratified_subset(labels[rest], size, seed_words(split_seed, Purpose.TRAIN_SUBSET))]
    missing = classes - len(np.unique(labels[rest]))
    if missing:
        name, got = ("validation_size", validation_size) if size is None else ("train_size", size)
        left = f"{got}, which leaves {missing} class(es) without a training image"
        raise InputError(f"data.{name}", left, "a split whose train part has every class")
    return rest


def check_part(
    images: np.ndarray,
    labels: np.ndarray,
    part: str,
    spec: dict[str, Any],
    classes: np.ndarray,
    extremes: tuple[float, float],
    stated: bool,
) -> np.ndarray:
    """Check that a validation or test part has examples and classes like those of the training part.

    Args:
        images: `N x H x W x C`, or other tensors.
        labels: `N` labels as in the source.
        part: "val" or "test", for the messages.
        spec: The input spec.
        classes: Labels of the training part, ascending.
        extremes: Least and greatest value of the training part.
        stated: Whether the source states its range.

    Returns:
        `N` labels 0..C-1.

    Raises:
        InputError: Naming `data.x_PART` or `data.y_PART`.
    """
    shape = raw_shape(spec)
    if images.shape[1:] != shape:
        raise InputError(f"data.x_{part}", f"{noun(spec)}s of shape {images.shape[1:]}", f"{shape}, as in x_train")
    check_values(images, spec, f"data.x_{part}", warn=False)
    lowest, highest = float(images.min()), float(images.max())
    low, high = extremes
    if is_image(spec) and 0 < highest - lowest < NARROW * (
        high - low
    ):  # scaled otherwise, for example 0..1 instead of 0..255
        expected = f"values like those of x_train, {low:g} to {high:g}"
        raise InputError(f"data.x_{part}", f"values from {lowest:g} to {highest:g}", expected)
    warn_about_values(images, part, stated)
    unseen = np.unique(labels) if labels.dtype.kind != classes.dtype.kind else np.setdiff1d(labels, classes)
    if len(unseen):
        raise InputError(f"data.y_{part}", f"class(es) {unseen[:5].tolist()}", "classes that y_train has too")
    return np.searchsorted(classes, labels)
