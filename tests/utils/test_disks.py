"""Which folder can no longer be written, and which disk is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from nni_hypens.errors import InputError
from nni_hypens.utils import disks
from nni_hypens.utils.disks import check_writable, full_disk, places, with_full_disk
from nni_hypens.utils.files import write_text


def machine(monkeypatch: pytest.MonkeyPatch, full: Path | None = None, read_only: bool = False) -> None:
    """A machine with a disk that is full, for everybody but root, or is read-only."""

    def statvfs(folder: str | Path) -> SimpleNamespace:
        free = 0 if full is not None and Path(folder) in (full, *full.glob("*")) else 1000
        return SimpleNamespace(
            f_flag=os.ST_RDONLY * read_only, f_bfree=free, f_bavail=free, f_frsize=4096, f_blocks=9000
        )

    monkeypatch.setattr(disks.os, "statvfs", statvfs)
    monkeypatch.setattr(disks.os, "access", lambda folder, mode: not read_only)


def test_a_folder_that_can_no_longer_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_writable(tmp_path)
    with pytest.raises(FileNotFoundError, match="missing"):
        check_writable(tmp_path / "missing")
    for arguments, number in (({"full": tmp_path}, errno.ENOSPC), ({"read_only": True}, errno.EROFS)):
        with monkeypatch.context() as patch, pytest.raises(OSError) as error:
            machine(patch, **arguments)
            check_writable(tmp_path)
        assert error.value.errno == number and error.value.filename == str(tmp_path)


def test_the_full_disk_is_named_not_that_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NNI writes a list in the home folder, torch and others temporary files."""
    home, run, temporary = (tmp_path / name for name in ("home", "run", "temporary"))
    for folder in (home, run, temporary):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(temporary))
    unnamed = OSError(errno.ENOSPC, "No space left on device")
    errors = [
        unnamed,
        RuntimeError("PytorchStreamWriter failed writing file data/0"),
        RuntimeError("SQLITE_FULL: disk is full"),
    ]
    machine(monkeypatch)
    assert all(with_full_disk(error, run / "new") is error for error in errors) and full_disk(places(run)) is None
    for full in (home, run, temporary):
        machine(monkeypatch, full)
        for error in errors:
            found = with_full_disk(error, run / "new")
            assert isinstance(found, OSError) and found.errno == errno.ENOSPC and found.filename == str(full)
    named = OSError(errno.ENOSPC, "No space left on device", "/a/file")
    others = [named, RuntimeError("too hot"), InputError("disk is full", 1, "x"), FileNotFoundError("gone")]
    assert all(with_full_disk(error, run) is error for error in others)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError) as error:
        write_text(tmp_path / "a.json", "{}")
    assert error.value.filename == str(tmp_path / "a.json") and not list(tmp_path.iterdir())
