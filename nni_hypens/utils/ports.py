"""Free ports, held while NNI's manager starts."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nni_hypens.errors import InputError

FIRST_PORT = 8080


def free_port(port: int | None, count: int = 1, first: int | None = None) -> int:
    """``port`` if it can be had; None for the first free one.

    Args:
        port: The first of them.
        count: Ports that must be free, one after the other.
        first: Where to begin to look for a free one, 8080 unless told.

    Raises:
        InputError: Out of range or taken.
    """
    if port is None:
        for candidate in range(first or FIRST_PORT, FIRST_PORT + 200):
            if all(map(_is_free, range(candidate, candidate + count))):
                return candidate
        raise InputError("port", f"{FIRST_PORT}..{FIRST_PORT + 199}, all in use", "a free port: --port P")
    if not isinstance(port, int) or not 1024 <= port <= 65536 - count:
        raise InputError("port", repr(port), f"a whole number in 1024..{65536 - count}")
    for each in range(port, port + count):
        if not _is_free(each):
            raise InputError("port", f"{each}, which is in use", "a free port: --port P, or none to let one be found")
    return port


@contextmanager
def held_port(port: int | None, count: int = 1) -> Iterator[int]:
    """A free port that no other run of this user takes before NNI's manager listens on it, some seconds later.

    Two runs that began in the same second were seen to agree on 8080: one then talked to the other's manager. A locked
    file in the folder for temporary files stands for the port; it is empty, and stays.

    Args:
        port: The port; None for the first from 8080 that is free and not held.
        count: Ports, one after the other.

    Raises:
        InputError: Out of range, taken or held.
    """
    folder = Path(tempfile.gettempdir()) / f"nni_hypens-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise RuntimeError(f"{folder} belongs to another user; it may be removed")
    first = FIRST_PORT
    while True:
        found = free_port(port, count, first)
        with ExitStack() as held:
            if all(held.enter_context(_locked(folder / str(each))) for each in range(found, found + count)):
                yield found
                return
        if port is not None:
            raise InputError("port", f"{port}, which another run has taken", "a free port: --port P")
        first = found + 1


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether the file could be locked; it is until the block ends."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _is_free(port: int) -> bool:
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0")):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True
