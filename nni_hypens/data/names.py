"""Names of data sources, augmentations and out-of-distribution sets; imports nothing heavy."""

from __future__ import annotations

from nni_hypens.errors import InputError

SOURCE_NAMES = ("digits", "fashion_mnist", "cifar10", "cifar100")
AUGMENTATION_NAMES = ("none", "crop", "crop_flip")
NAMED_SETS = ("digits", "fashion_mnist", "noise")
"""Out-of-distribution sets that have a name."""
_OOD_FORMS = f"auto, none, or a comma-separated list of {', '.join(NAMED_SETS)} and paths to .npz files with x_test"
_OTHER = {"digits": "fashion_mnist", "fashion_mnist": "digits"}


def ood_names(setting: str, source: str | None) -> list[str]:
    """The out-of-distribution sets that a setting stands for; opens no file.

    Args:
        setting: `auto`: noise, and Fashion-MNIST for digits or digits for Fashion-MNIST; `none`; or a comma-separated
            list of `NAMED_SETS` and paths ending in `.npz`.
        source: Name of the run's data, if it has one.

    Raises:
        InputError: The setting has another form, or names the run's own data.
    """
    if setting == "none":
        return []
    if setting == "auto":
        return ["noise", *([_OTHER[source]] if source in _OTHER else [])]
    names = [name.strip() for name in setting.split(",")]
    for name in names:
        if name not in NAMED_SETS and not name.endswith(".npz"):
            raise InputError("ood", repr(name), _OOD_FORMS)
        if name == source:
            raise InputError("ood", repr(name), "another set than the data of the run")
    return list(dict.fromkeys(names))
