"""Arrays in ``.npz`` and ``.npy`` files. Nothing is unpickled, and a header is read before memory is reserved."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from nni_hypens.errors import InputError
from nni_hypens.utils.files import AS_WRITTEN, memory_bytes, open_file, why, write_bytes

if TYPE_CHECKING:
    import numpy as np

MAX_ARRAY_BYTES = 2**30
"""Limit for an array of a run: float32 probabilities of 250,000 images and 1,000 classes."""
ARRAY_ERRORS = (
    OSError, EOFError, ValueError, KeyError, TypeError, NotImplementedError, MemoryError, RuntimeError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What NumPy and zipfile raise for a file that is no archive of arrays."""


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an ``.npz`` of plain arrays, atomically."""
    import numpy as np  # imported here, so that the command line can read settings without numpy

    buffer = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    np.savez_compressed(buffer, **named)
    write_bytes(path, buffer.getvalue())


def array_header(file: IO[bytes], at_most: int | None = None) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array at the start of a ``.npy`` file, before any memory is reserved for it.

    Args:
        file: At the start of the ``.npy`` file.
        at_most: Largest size of the array in bytes; None for the memory of this machine.

    Raises:
        ValueError: It is no such file, holds objects (which would be unpickled), or is too large.
    """
    from numpy.lib import format as npy

    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(file)
    if version not in readers:
        raise ValueError(f"an array in version {version} of its format")
    shape, _, kind = readers[version](file)
    if kind.hasobject:
        raise ValueError("an array of objects, which are pickled; nothing is unpickled")
    size, limit = math.prod(shape) * kind.itemsize, memory_bytes() if at_most is None else at_most
    if size > limit or math.prod(shape) > limit:
        raise ValueError(f"an array of {size} bytes, more than {limit}")
    return shape, kind


def read_archive(
    path: Path, names: Callable[[list[str]], list[str]], *, links: bool = False, at_most: int | None = None
) -> list[np.ndarray]:
    """Read some arrays of an ``.npz``; nothing is unpickled, and arrays that are not named are not read.

    Args:
        path: The file.
        names: Chooses names of arrays from those in the file.
        links: As for `open_file`.
        at_most: Largest size of an array in bytes; None for the memory of this machine.

    Raises:
        One of `ARRAY_ERRORS`.
    """
    import numpy as np

    with open_file(path, links=links) as file:
        content = np.load(file, allow_pickle=False)
        if not isinstance(content, np.lib.npyio.NpzFile):
            raise ValueError("a single array, not an .npz file")
        with content:
            return [read_member(content, name, at_most) for name in names(list(content))]


def read_array(path: Path, links: bool = False) -> np.ndarray:
    """The array of a ``.npy`` file; errors as for `read_archive`."""
    import numpy as np

    with open_file(path, links=links) as file:
        array_header(file)
        file.seek(0)
        array: np.ndarray = np.load(file, allow_pickle=False)
        return array


def read_member(archive: Any, name: str, at_most: int | None = None) -> np.ndarray:
    """One array of an open ``NpzFile``, if its header does not ask for too much; errors as for `read_archive`."""
    with archive.zip.open(name if name in archive.zip.namelist() else f"{name}.npy") as member:
        array_header(member, at_most)
    array: np.ndarray = archive[name]
    return array


def read_arrays(path: Path, *names: str) -> list[np.ndarray]:
    """Read some arrays of an ``.npz`` of a run; nothing is unpickled, and arrays not named are not read.

    Raises:
        InputError: The file is missing, truncated, too large, or lacks one of the arrays.
    """
    try:
        return read_archive(path, lambda _: list(names), at_most=MAX_ARRAY_BYTES)
    except FileNotFoundError:
        raise InputError(str(path), "no file", AS_WRITTEN) from None
    except ARRAY_ERRORS as error:
        raise InputError(str(path), f"no readable arrays ({why(error)})", AS_WRITTEN) from None


def array_shape(path: Path, name: str) -> tuple[int, ...]:
    """Shape of an array in an ``.npz`` of a run; the array is not read.

    Raises:
        InputError: As for `read_arrays`.
    """
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive, archive.open(f"{name}.npy") as member:
            return array_header(member, MAX_ARRAY_BYTES)[0]
    except ARRAY_ERRORS as error:
        raise InputError(str(path), f"no readable arrays ({why(error)})", AS_WRITTEN) from None
