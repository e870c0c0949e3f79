"""Out-of-distribution images, on which a network should be uncertain.

Nothing is downloaded. Each set is converted to the size and channels of the run's data.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from nni_hypens.data.arrays import check_arrays
from nni_hypens.data.names import ood_names
from nni_hypens.data.sources import DEBIAN_FASHION_MNIST, Digits, FashionMnist, cache_folder
from nni_hypens.errors import InputError
from nni_hypens.utils.npz import ARRAY_ERRORS, read_archive
from nni_hypens.utils.ranges import training_range
from nni_hypens.utils.seeds import Purpose, seed_words


def check_ood(setting: str, source: str | None) -> None:
    """Check a setting, and that every set it names is on this computer; sets that `auto` adds may be missing.

    Raises:
        InputError: Naming `ood`.
    """
    for name in ood_names(setting, source):
        if setting != "auto" and name != "noise":
            read_ood(name)


def read_ood(name: str) -> np.ndarray:
    """Read a set that is not noise.

    Args:
        name: `digits`, `fashion_mnist` or the path of an .npz file with `x_test` (`N x H x W` or `N x H x W x C`).

    Returns:
        `N x H x W x C` float32 in [0, 1], rescaled from their own range, which `training_range` infers.

    Raises:
        InputError: If it is not on this computer, or not of that form.
    """
    if name == "digits":
        return (Digits().load("test")[0][..., None] / 16).astype(np.float32)
    if name == "fashion_mnist":
        return (_fashion_mnist()[..., None] / 255).astype(np.float32)
    path = Path(name).expanduser()
    try:
        (images,) = read_archive(path, lambda _: ["x_test"], links=True)
    except ARRAY_ERRORS as error:
        raise InputError("ood", f"{path} ({error})", "an .npz file with the array x_test") from error
    try:
        images, _ = check_arrays(images, np.zeros(len(images), dtype=np.int64), "test")
    except InputError as error:
        raise InputError("ood", f"{path} with {error.got}", error.expected) from None
    if images.ndim != 4:
        raise InputError("ood", f"{path} with x_test of shape {images.shape}", "images N x H x W or N x H x W x C")
    values = images.astype(np.float32)
    low, high = training_range(images)
    return (values - low) / (high - low)


def _fashion_mnist() -> np.ndarray:
    # A folder that is given is never filled by a download.
    for folder in (DEBIAN_FASHION_MNIST, cache_folder()):
        try:
            return FashionMnist(folder).load("test")[0]
        except InputError:
            continue
    expected = f"its files in {DEBIAN_FASHION_MNIST} (Debian's dataset-fashion-mnist) or {cache_folder()}"
    raise InputError("ood", "fashion_mnist, which is not on this computer", expected)


def fit_images(images: np.ndarray, channels: int, height: int, width: int) -> torch.Tensor:
    """Bring images to the size and the channels of other data.

    Args:
        images: `N x H x W x C` float32 in [0, 1].
        channels: Channels wanted: grey is repeated, colour averaged.
        height: Height wanted.
        width: Width wanted.

    Returns:
        `N x channels x height x width` float32 in [0, 1].
    """
    from torchvision.transforms.v2 import functional

    tensor = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    if tensor.shape[1] != channels:
        tensor = tensor.mean(dim=1, keepdim=True).expand(-1, channels, -1, -1)
    sized: torch.Tensor = functional.resize(tensor, [height, width], antialias=True).clamp(0, 1).contiguous()
    return sized


def ood_images(name: str, count: int, channels: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Images of an out-of-distribution set, with the size and channels of other data.

    Args:
        name: `noise` (each value uniform in [0, 1]), `digits`, `fashion_mnist` or the path of an .npz file.
        count: Most images to draw, at least 1; a smaller set is taken whole.
        channels: Channels wanted.
        height: Height wanted.
        width: Width wanted.
        seed: Of the draw.

    Returns:
        `N x channels x height x width` float32 in [0, 1], `N <= count`.

    Raises:
        InputError: If the set is not on this computer, or not of that form.

    Examples:
        >>> ood_images("digits", 5, channels=3, height=32, width=32).shape
        torch.Size([5, 3, 32, 32])
    """
    # numpy promises that the stream of a RandomState never changes
    rng = np.random.RandomState(list(seed_words(seed, Purpose.OUT_OF_DISTRIBUTION)))
    if name == "noise":
        return torch.from_numpy(rng.random_sample((count, channels, height, width)).astype(np.float32))
    images = read_ood(name)
    rows = np.sort(rng.permutation(len(images))[:count])
    return fit_images(images[rows], channels, height, width)
