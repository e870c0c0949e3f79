"""Which folder can no longer be written, and which disk is full: the system, torch and SQLite often do not say."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from nni_hypens.errors import reason

LEAST_BYTES = 2**16
"""A disk with less free space counts as full."""
_FULL = re.compile("No space left|disk is full|disk quota|write failed|failed writing|unexpected pos", re.IGNORECASE)


def places(out: Path) -> list[Path]:
    """Folders that a command writes: its own, that of NNI in the home folder, and that for temporary files."""
    return [out, Path(os.path.expanduser("~"), "nni-experiments"), Path(os.environ.get("TMPDIR") or "/tmp")]


def check_writable(folder: Path) -> None:
    """Check that files can still be written in a folder, as far as can be told without writing one.

    Raises:
        OSError: The folder is gone, is read-only, or its disk is full; it names the folder.
    """
    fault = None
    if not folder.is_dir():
        fault = errno.ENOENT
    elif not os.access(folder, os.W_OK | os.X_OK):
        fault = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
    elif _is_full(folder):
        fault = errno.ENOSPC
    if fault is not None:
        raise OSError(fault, os.strerror(fault), str(folder))


def full_disk(folders: list[Path]) -> OSError | None:
    """The error of the first folder that is on a full disk; of one that is missing, the nearest above it is meant."""
    for place in folders:
        folder = next(parent for parent in (place.absolute(), *place.absolute().parents) if parent.is_dir())
        if _is_full(folder):
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    return None


def with_full_disk(error: BaseException, out: Path) -> BaseException:
    """The error, or one that names the full disk behind it, if it is about a full disk and names none.

    Args:
        error: Of a command.
        out: The folder that the command writes.
    """
    names_none = not isinstance(error, ValueError) and getattr(error, "filename", None) is None
    return (full_disk(places(out)) if names_none and _FULL.search(reason(error, 100_000)) else None) or error


def _is_full(folder: Path) -> bool:
    disk = os.statvfs(folder)
    blocks = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail
    return disk.f_blocks > 0 and blocks * disk.f_frsize < LEAST_BYTES
