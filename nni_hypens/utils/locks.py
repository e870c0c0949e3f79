"""Lock files. filelock (which NNI needs in an old version) empties the file that it locks, and follows links to it."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from nni_hypens.errors import InputError
from nni_hypens.utils.files import remove_unfinished

LOCK = ".lock"
"""Name of the lock file in a folder."""


def file_lock(path: Path) -> FileLock:
    """A lock on a file, which is made if it is missing. The system releases the lock when the process dies.

    Args:
        path: The file; it must not be a link or hold anything, because it is opened for writing and emptied.

    Raises:
        InputError: It is a link, something other than a file, or not empty.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return FileLock(path)
    if not stat.S_ISREG(found.st_mode) or found.st_size:
        what = "a link" if stat.S_ISLNK(found.st_mode) else "something other than an empty file"
        raise InputError(str(path), what, "an empty file, or none: remove it")
    return FileLock(path)


@contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Make a folder and hold it against other processes; what killed ones were writing is removed.

    Args:
        folder: Of a run or a comparison.

    Raises:
        InputError: Another process holds it, or its lock file is something else; see `file_lock`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = file_lock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError("out", f"{folder}, in use by another run", "a folder that no run is using, or wait") from None
    try:
        remove_unfinished(folder)
        yield
    finally:
        lock.release()
