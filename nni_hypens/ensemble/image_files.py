"""Read the images that an ensemble is to predict: pictures, and arrays in `.npy` and `.npz` files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nni_hypens.errors import InputError, reason
from nni_hypens.utils.files import check_file
from nni_hypens.utils.npz import read_archive, read_array
from nni_hypens.utils.pictures import read_picture
from nni_hypens.utils.ranges import check_values, from_picture


def read_images(
    paths: Sequence[str | os.PathLike[str]], spec: dict[str, Any], resize: bool = False
) -> tuple[list[str], NDArray[np.float32]]:
    """Read images from files, as raw values.

    Args:
        paths: Image files, which are brought to the range of the training images (see `nni_hypens.utils.ranges`);
            `.npy` with raw values `H x W`, `H x W x C_in`, `N x H x W` or `N x H x W x C_in`; `.npz` with `images`,
            `x_test` or a single array.
        spec: The input spec.
        resize: Whether to resize image files of another size; otherwise they are an error.

    Returns:
        Names, and float32 `N x H x W x C_in`.

    Raises:
        InputError: A file is missing, unreadable, of another size, or has values far outside the training images'.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/digits.npy", np.zeros((2, 8, 8)))
        ...     names, images = read_images(
        ...         [f"{folder}/digits.npy"], {"height": 8, "width": 8, "channels": 1, "scale": 16}
        ...     )
        >>> len(names), images.shape, images.dtype
        (2, (2, 8, 8, 1), dtype('float32'))
    """
    names: list[str] = []
    images: list[NDArray[np.float32]] = []
    for given in paths:
        path = Path(given)
        try:
            check_file(path, links=True)
        except FileNotFoundError:
            raise InputError("images", f"{path}, which is not there", "image files, .npy or .npz") from None
        except OSError as error:
            raise InputError("images", f"{path} ({error.strerror})", "image files, .npy or .npz") from None
        if path.suffix in (".npy", ".npz"):
            batch = _read_arrays(path, spec)
            names += [f"{path}[{i}]" for i in range(len(batch))] if len(batch) > 1 else [str(path)]
        else:
            pixels = read_picture(path, spec["channels"], (spec["height"], spec["width"]), resize)
            batch = from_picture(pixels[None], spec)
            names.append(str(path))
        images.append(batch)
    return names, np.concatenate(images)


def _size(spec: dict[str, Any]) -> str:
    return f"{spec['height']} x {spec['width']} x {spec['channels']} (height x width x channels)"


def _images_of_archive(path: Path) -> NDArray[Any]:
    def choose(names: list[str]) -> list[str]:
        chosen = next((name for name in ("images", "x_test") if name in names), names[0] if len(names) == 1 else "")
        if not chosen:
            raise InputError("images", f"{path} with {', '.join(names)[:100] or 'nothing'}", "an array `images`")
        return [chosen]

    return read_archive(path, choose, links=True)[0]


def _read_arrays(path: Path, spec: dict[str, Any]) -> NDArray[np.float32]:
    try:
        content = _images_of_archive(path) if path.suffix == ".npz" else read_array(path, links=True)
    except (OSError, ValueError, EOFError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("images", f"{path} ({reason(error)})", "an array of numbers") from error
    wanted = (spec["height"], spec["width"], spec["channels"])
    shape = content.shape
    if spec["channels"] == 1 and content.shape[-2:] == wanted[:2] and content.ndim in (2, 3):
        content = content[..., None]
    content = content[None] if content.ndim == 3 else content
    if content.ndim != 4 or content.shape[1:] != wanted or not len(content):
        raise InputError("images", f"{path} of shape {shape}", f"images of {_size(spec)}; arrays are not resized")
    with np.errstate(over="ignore"):
        images: NDArray[np.float32] | None = content.astype(np.float32) if content.dtype.kind in "uif" else None
    if images is None or not np.isfinite(images).all():
        raise InputError("images", f"{path} of type {content.dtype}", "finite numbers that float32 can hold")
    check_values(images, spec, "images", str(path))
    return images
