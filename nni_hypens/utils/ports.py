"""Free ports, reserved while NNI's manager starts."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from nni_hypens.errors import InputError

FIRST_PORT = 8080


def free_port(port: int | None, count: int = 1, first: int | None = None) -> int:
    """Check that a port is free, or find one.

    Args:
        port: The port to check; None to find one.
        count: Number of consecutive ports that must be free, from this one on.
        first: Where the search begins; None for 8080.

    Returns:
        The first of the ports.

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
            raise InputError("port", f"{each}, which is in use", "a free port: --port P, or no --port to find one")
    return port


@contextmanager
def held_port(port: int | None, count: int = 1) -> Iterator[int]:
    """Reserve a free port against other runs, until NNI's manager listens on it some seconds later.

    Without this, two runs that started in the same second both chose 8080, and one talked to the other's manager. A
    name in the system's abstract socket namespace stands for the port: it needs no file, belongs to the same machine or
    container as the port, and is free again when the process dies.

    Args:
        port: The port; None for the first from 8080 that is free and not reserved.
        count: Number of consecutive ports.

    Raises:
        InputError: Out of range, taken or held.
    """
    first = FIRST_PORT
    while True:
        candidate = free_port(port, count, first)
        with ExitStack() as held:
            if all(_try_hold(each, held) for each in range(candidate, candidate + count)):
                yield candidate
                return
        if port is not None:
            raise InputError("port", f"{port}, which another run has taken", "a free port: --port P")
        first = candidate + 1


def _try_hold(port: int, held: ExitStack) -> bool:
    """Take the name of a port until `held` closes; False if another process has it."""
    name = held.enter_context(socket.socket(socket.AF_UNIX))
    try:
        name.bind(f"\0nni_hypens-port-{port}")
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True


def _is_free(port: int) -> bool:
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0")):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True
