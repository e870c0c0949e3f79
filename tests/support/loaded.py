"""What makes tests indifferent to other work on the machine: long time-outs, and ports that nobody else takes."""

from __future__ import annotations

import os
import random
import re
import socket

PATIENCE = 400
"""Seconds until a process that should end or answer has failed to; where all is well, it takes a few at most."""


def own_ports() -> range:
    """The ports of this process of pytest: other processes have others, and the kernel gives none of them away (its own
    begin at 32768), so that a port may be named long before somebody listens there."""
    worker = re.fullmatch(r"gw(\d+)", os.environ.get("PYTEST_XDIST_WORKER", ""))
    first = 12000 + 2000 * (int(worker[1]) % 9 + 1 if worker else 0)
    return range(first, first + 2000)


def free_port() -> int:
    """One of these, at random, on which nothing listens."""
    while True:
        port = random.SystemRandom().choice(own_ports())
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
