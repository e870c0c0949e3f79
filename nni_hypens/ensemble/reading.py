"""Read what a model is asked about from files: pictures, arrays, and tables of numbers. Nothing is unpickled."""

from __future__ import annotations

import array
import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nni_hypens.errors import InputError, reason
from nni_hypens.utils.checks import brief
from nni_hypens.utils.files import check_file, open_file
from nni_hypens.utils.inputs import is_image, noun, raw_shape, shape_text
from nni_hypens.utils.npz import read_archive, read_array
from nni_hypens.utils.pictures import read_picture
from nni_hypens.utils.ranges import check_values, from_picture

ARRAY_SUFFIXES = (".npy", ".npz")
TABLE_SUFFIX = ".csv"
_LARGEST = float(np.finfo(np.float32).max)
Examples = NDArray[np.floating[Any]]
"""Images in float32, other tensors in float64."""
_BOOLS = {"True": 1.0, "False": 0.0, "true": 1.0, "false": 0.0}
_KEYS = ("images", "examples", "x_test")
"""Arrays of an ``.npz`` that are taken if it has several."""


def kinds_of_files(spec: dict[str, Any]) -> str:
    """Which files a model reads, in words."""
    if is_image(spec):
        return "image files, .npy or .npz"
    return ".npy, .npz or .csv" if len(spec["shape"]) == 1 else ".npy or .npz"


def read_inputs(
    paths: Sequence[str | os.PathLike[str]], spec: dict[str, Any], resize: bool = False
) -> tuple[list[str], Examples]:
    """Read examples from files, as raw values.

    Args:
        paths: Image files, which are brought to the range of the training images (see `nni_hypens.utils.ranges`);
            `.npy` with raw values `H x W`, `H x W x C_in`, `N x H x W` or `N x H x W x C_in`; `.npz` with `images`,
            `examples`, `x_test` or a single array. For a model of other tensors: `.npy` or `.npz` of `shape` or
            `N x shape`, and if an example is a row, `.csv` (see `read_table`).
        spec: The input spec.
        resize: Whether to resize image files of another size; otherwise they are an error.

    Returns:
        Names, and images `N x H x W x C_in` in float32, or other tensors `N x shape` in float64: numbers of a table may
        be large and differ little, and are normalised in double precision.

    Raises:
        InputError: A file is missing, unreadable, of another size, or has values far outside the training images'.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/digits.npy", np.zeros((2, 8, 8)))
        ...     names, images = read_inputs(
        ...         [f"{folder}/digits.npy"], {"height": 8, "width": 8, "channels": 1, "scale": 16}
        ...     )
        >>> len(names), images.shape, images.dtype
        (2, (2, 8, 8, 1), dtype('float32'))
    """
    names: list[str] = []
    batches: list[Examples] = []
    field = f"{noun(spec)}s"
    for given in paths:
        path = Path(given)
        try:
            check_file(path, links=True)
        except FileNotFoundError:
            raise InputError(field, f"{path}, which is not there", kinds_of_files(spec)) from None
        except OSError as error:
            raise InputError(field, f"{path} ({error.strerror})", kinds_of_files(spec)) from None
        if path.suffix in ARRAY_SUFFIXES:
            batch = _read_arrays(path, spec)
        elif is_image(spec):
            pixels = read_picture(path, spec["channels"], (spec["height"], spec["width"]), resize)
            batch = from_picture(pixels[None], spec)
        elif path.suffix == TABLE_SUFFIX and len(spec["shape"]) == 1:
            batch = read_table(path, *spec["shape"])
            check_values(batch, spec, field, str(path))
        else:
            raise InputError(field, f"{path}, for a model of {shape_text(spec)}", kinds_of_files(spec))
        names += [f"{path}[{i}]" for i in range(len(batch))] if len(batch) > 1 else [str(path)]
        batches.append(batch)
    return names, np.concatenate(batches)


def read_table(path: Path, columns: int) -> NDArray[np.float64]:
    """Read a CSV file of numbers.

    Values are separated by commas, a row of `columns` numbers per line, after a header or without one: the first line
    is a header if none of its values is a number. `True` and `False`, as pandas writes bools, are 1 and 0. Empty lines
    are passed over. A first line `0,1,2`... is refused: it is how pandas numbers columns without names, but may be a
    row as well.

    Args:
        path: The file.
        columns: How many there must be.

    Returns:
        `N x columns`, N at least 1.

    Raises:
        InputError: The file cannot be read, or its first line is 0,1,2..., or a line has other columns, or a value that
            is no number; names the line.
    """
    values, header = array.array("d"), True
    expected = f"{columns} columns of numbers separated by commas: the features of the training data, in their order"
    for line, row in _lines(path):
        if len(row) != columns:
            raise InputError("examples", f"{path} with {len(row)} columns in line {line}", expected)
        numbers = [_number(cell) for cell in row]
        if header and row == [str(column) for column in range(columns)]:
            got = f"{path} with {brief(','.join(row))} in line {line}, which may be pandas' numbers of the columns"
            raise InputError("examples", got, "names of the columns, or no header: to_csv(..., header=False)")
        if header and all(number is None for number in numbers):
            header = False
            continue
        header = False
        for column, number in enumerate(numbers):
            if number is None or not abs(number) <= _LARGEST:  # nor NaN
                got = f"{path} with {brief(row[column])} in line {line}, column {column + 1}"
                raise InputError("examples", got, "a finite number that float32 can hold; fill missing values")
            values.append(number)
    if not values:
        raise InputError("examples", f"{path} without rows", expected)
    return np.frombuffer(values, dtype=np.float64).reshape(-1, columns)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines of a CSV file that are not empty, with their numbers."""
    try:
        with open_file(path, links=True) as file:
            reader = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
            for row in reader:
                if row:
                    yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError("examples", f"{path} ({reason(error)})", "a readable CSV file") from error


def _number(cell: str) -> float | None:
    if cell in _BOOLS:
        return _BOOLS[cell]
    try:
        return float(cell)
    except ValueError:
        return None


def _array_of_archive(path: Path, field: str) -> NDArray[Any]:
    def choose(names: list[str]) -> list[str]:
        chosen = next((name for name in _KEYS if name in names), names[0] if len(names) == 1 else "")
        if not chosen:
            raise InputError(field, f"{path} with {', '.join(names)[:100] or 'nothing'}", f"an array `{field}`")
        return [chosen]

    return read_archive(path, choose, links=True)[0]


def _read_arrays(path: Path, spec: dict[str, Any]) -> Examples:
    field = f"{noun(spec)}s"
    try:
        content = _array_of_archive(path, field) if path.suffix == ".npz" else read_array(path, links=True)
    except (OSError, ValueError, EOFError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(field, f"{path} ({reason(error)})", "an array of numbers") from error
    wanted, shape = raw_shape(spec), content.shape
    if is_image(spec) and wanted[2] == 1 and content.shape[-2:] == wanted[:2] and content.ndim in (2, 3):
        content = content[..., None]
    content = content[None] if content.ndim == len(wanted) else content
    if content.shape[1:] != wanted or not len(content):
        hint = "; arrays are not resized" if is_image(spec) else ""
        raise InputError(field, f"{path} of shape {shape}", f"{shape_text(spec)}{hint}")
    with np.errstate(over="ignore"):
        single = content.astype(np.float32) if content.dtype.kind in "uifb" else None
    if single is None or not np.isfinite(single).all():
        raise InputError(field, f"{path} of type {content.dtype}", "finite numbers that float32 can hold")
    examples: Examples = single if is_image(spec) else content.astype(np.float64)
    check_values(examples, spec, field, str(path))
    return examples
