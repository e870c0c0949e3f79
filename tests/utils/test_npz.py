"""Archives of arrays that ask for more than they hold, or for code."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nni_hypens.errors import InputError
from nni_hypens.utils.npz import array_header, array_shape, read_arrays, write_arrays


def bomb(path: Path, shape: tuple[int, ...], kind: str = "|u1") -> Path:
    """An archive of a few bytes whose array has this shape, by its header."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": kind, "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("val.npy", header.getvalue() + b"\0" * 100)
    return path


@pytest.mark.parametrize("shape", [(10**12,), (10**6, 10**6), (2**62, 4), (2**31,)])
def test_an_array_that_asks_for_gigabytes_is_refused_before_it_gets_them(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    path = bomb(tmp_path / "a.npz", shape)
    for read in (lambda: read_arrays(path, "val"), lambda: array_shape(path, "val")):
        with pytest.raises(InputError, match=r"a\.npz: got no readable arrays \(an array of \d+ bytes, more than"):
            read()


def test_types_without_a_size_count_their_values(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no readable arrays"):
        read_arrays(bomb(tmp_path / "a.npz", (10**15,), "|V0"), "val")


def test_objects_pipes_and_files_that_are_no_archive_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", val=np.array([{}], dtype=object))
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "single.npy").rename(tmp_path / "b.npz")
    (tmp_path / "link.npz").symlink_to(tmp_path / "a.npz")
    for name, says in {"a": "pickled", "b": "a single array", "link": "a link", "gone": "no file"}.items():
        with pytest.raises(InputError, match=rf"{name}\.npz: got .*{says}"):
            read_arrays(tmp_path / f"{name}.npz", "val")


def test_shapes_are_read_without_arrays(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.npz", {"val": np.zeros((7, 2), np.float32)})
    assert array_shape(tmp_path / "a.npz", "val") == (7, 2)
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    with (tmp_path / "a.npy").open("rb") as file:
        assert array_header(file) == ((3, 4), np.dtype(float))
