"""Names that settings are checked against; imports neither NumPy nor torch."""

from __future__ import annotations

from pathlib import Path

from nni_hypens.errors import InputError
from nni_hypens.utils.checks import nearest

SOURCE_NAMES = ("digits", "fashion_mnist", "cifar10", "cifar100")
AUGMENTATION_NAMES = ("crop", "crop_flip", "trivial_augment", "cutout")
NAMED_SETS = ("digits", "fashion_mnist", "noise")
"""Out-of-distribution sets that have a name; any other set is an .npz file."""
_AUTO_OOD = {"digits": "fashion_mnist", "fashion_mnist": "digits"}


def augmentation_names(setting: str, field: str = "augment") -> list[str]:
    """Augmentations that a setting selects, in their order.

    Args:
        setting: `none`, or a comma-separated list of `AUGMENTATION_NAMES`.
        field: Where it comes from, for errors.

    Raises:
        InputError: An unknown name.

    Examples:
        >>> augmentation_names("crop_flip, cutout")
        ['crop_flip', 'cutout']
    """
    if setting == "none":
        return []
    names = [name.strip() for name in setting.split(",")]
    for name in names:
        if name not in AUGMENTATION_NAMES:
            expected = f"none, or names separated by commas: {', '.join(AUGMENTATION_NAMES)}"
            raise InputError(field, repr(name), f"{expected}{nearest(name, AUGMENTATION_NAMES)}")
    return names


def is_picture_folder(source: str) -> bool:
    """Whether a source is a folder of images; a data set of the same name has precedence."""
    return source not in SOURCE_NAMES and not source.endswith(".npz") and Path(source).expanduser().is_dir()


def ood_names(setting: str, source: str | None) -> list[str]:
    """Out-of-distribution sets that a setting selects; opens no file.

    Args:
        setting: `auto` (noise, and Fashion-MNIST for digits or digits for Fashion-MNIST), `none`, or a
            comma-separated list of `NAMED_SETS` and paths ending in `.npz`.
        source: Name of the run's data, or None if it has no name.

    Raises:
        InputError: An unknown set, or the run's own data.

    Examples:
        >>> ood_names("auto", "digits")
        ['noise', 'fashion_mnist']
    """
    if setting == "none":
        return []
    if setting == "auto":
        return ["noise", *([_AUTO_OOD[source]] if source in _AUTO_OOD else [])]
    names = [name.strip() for name in setting.split(",")]
    for name in names:
        if name not in NAMED_SETS and not name.endswith(".npz"):
            expected = f"auto, none, or a comma-separated list of {', '.join(NAMED_SETS)} and paths to .npz files"
            raise InputError("ood", repr(name), f"{expected} with x_test")
        if name == source:
            raise InputError("ood", repr(name), "a set other than the run's own data")
    return list(dict.fromkeys(names))
