"""Run the command in another process, wait for what it does, and look at its web server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from tests.support.loaded import PATIENCE


class Process(subprocess.Popen):
    """A command whose output goes to files: a manager that outlives it would keep pipes open."""

    def __init__(self, *arguments: str) -> None:
        self.out_file, self.err_file = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        super().__init__(
            [sys.executable, "-m", "nni_hypens", *arguments],
            stdout=self.out_file,
            stderr=self.err_file,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
            # a shell that runs the tests in the background makes its children deaf to Ctrl-C
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def text(self) -> tuple[str, str]:
        self.out_file.seek(0)
        self.err_file.seek(0)
        return self.out_file.read(), self.err_file.read()


def start(*arguments: str) -> Process:
    return Process(*arguments)


def finish(process: Process, code: int = 0) -> tuple[str, str]:
    process.wait(timeout=PATIENCE)
    assert process.returncode == code, process.text()[1][-3000:]
    return process.text()


def wait_for(condition: Callable[[], Any], process: Process, seconds: float = PATIENCE) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        if process.poll() is not None:
            pytest.fail(f"the run ended before what was waited for: {process.text()[1][-3000:]}")
        time.sleep(0.1)
    process.kill()
    pytest.fail("waited in vain")


def get(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            return json.loads(response.read())
    except (OSError, ValueError):
        return None


def reachable_from_outside(port: int) -> list[str]:
    """Addresses of this machine other than loopback on which something answers at ``port``."""
    addresses = [
        entry.address
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family == socket.AF_INET and not entry.address.startswith("127.")
    ]
    answering = []
    for address in addresses:
        with socket.socket() as probe:
            probe.settimeout(2)
            if probe.connect_ex((address, port)) == 0:
                answering.append(address)
    return answering


def kill(process: Process) -> None:
    process.kill()
    process.wait()
