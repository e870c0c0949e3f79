"""A file that the user wants written: a pipe or device is written to, and a link is followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from nni_hypens.utils.files import replacing

_MOST_LINKS = 40
"""As many as Linux follows."""


@contextmanager
def output_file(path: Path, theirs: Path | None = None) -> Iterator[TextIO]:
    """Open a UTF-8 text file to write, at a path that the user gives.

    A new or regular file appears whole or not at all. What is there and is something else, such as a pipe, a device or
    an open file under ``/proc``, cannot be replaced without breaking it, so the text is written to it directly.

    Args:
        path: The file. If it is a link, the file that it leads to is written, and the link stays.
        theirs: A folder that may come from somebody else. In it a link, pipe or device is replaced, not followed.

    Raises:
        OSError: It cannot be written.
    """
    options = {"encoding": "utf-8", "errors": "backslashreplace"}
    foreign = theirs is not None and path.parent.resolve().is_relative_to(theirs.resolve())
    if not foreign and not _is_replaced(path):
        # Appended: the file behind an open one, such as /dev/stdout, may hold text already.
        with path.open("a", **options) as file:  # type: ignore[call-overload]
            yield file
        return
    target = path if foreign else Path(os.path.realpath(path))
    with replacing(target) as temporary, temporary.open("w", **options) as file:  # type: ignore[call-overload]
        yield file
        file.flush()
        os.fsync(file.fileno())


def is_standard_output(path: Path) -> bool:
    """Whether a path is where standard output goes, so that nothing else should be printed there."""
    try:
        return os.path.samestat(path.stat(), os.fstat(1))
    except OSError:
        return False


def _is_replaced(path: Path) -> bool:
    """Whether there is nothing, or a regular file that no process has opened under this name."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
    except FileNotFoundError:
        return True
    for _ in range(_MOST_LINKS):
        folder = path.parent.resolve()
        if folder.is_relative_to("/proc"):
            return False
        if not path.is_symlink():
            break
        path = folder / path.readlink()
    return True
