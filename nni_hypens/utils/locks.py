"""Lock files. filelock (which NNI needs in an old version) empties the file that it locks, and follows links to it."""

from __future__ import annotations

import stat
from pathlib import Path

from filelock import FileLock

from nni_hypens.errors import InputError


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
