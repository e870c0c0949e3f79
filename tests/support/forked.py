"""Work in a process of its own, which has everything imported and has computed nothing.

A server, started once for each process of pytest, imports what is needed, some seconds, and forks a child for each
piece of work. So nothing that ran before in pytest's own process matters: torch, for one, refuses autograd in a child
of some processes that have used it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from tests.support.loaded import PATIENCE

CONTEXT = multiprocessing.get_context("forkserver")
ROOT = str(Path(__file__).parents[2])


def start_server() -> None:
    """Start the server of this process, unless it runs; it finds the modules of tests and has them imported."""
    CONTEXT.set_forkserver_preload(["pytest", "tests.support.commands"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", ROOT, prepend=os.pathsep)
        forkserver.ensure_running()


class Forked:
    """A child that does some work.

    Args:
        work: Pickled by value if it is a lambda or a function inside another. What it returns is the child's exit code,
            None for 0; an exception is printed and makes it 1.
        files: Where standard output and standard error go; None for those of pytest.
    """

    def __init__(self, work: Callable[[], int | None], files: tuple[Path, Path] | None = None) -> None:
        start_server()
        state = dict(os.environ), os.getcwd(), files
        self.process = CONTEXT.Process(target=_do, args=(cloudpickle.dumps(work), *state), daemon=True)
        self.process.start()
        assert self.process.pid is not None
        self.pid: int = self.process.pid

    def ended(self) -> bool:
        """Whether it is over."""
        return not self.process.is_alive()

    def kill(self) -> None:
        """End it with SIGKILL, and wait for that."""
        self.process.kill()
        self.process.join()

    def wait(self) -> int:
        """Its exit code, once it has ended; negative: the signal."""
        self.process.join()
        code = self.process.exitcode
        assert code is not None
        return code

    def when(self, condition: Callable[[], Any], number: int, seconds: float = PATIENCE) -> None:
        """Send a signal as soon as something holds."""
        self.until(condition, seconds)
        os.kill(self.pid, number)

    def until(self, condition: Callable[[], Any], seconds: float = PATIENCE, pause: float = 0.002) -> None:
        """Wait for something that holds while the child runs; look again after a pause."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end and not self.ended(), "it ended before"
            time.sleep(pause)


def _do(work: bytes, environment: dict[str, str], folder: str, files: tuple[Path, Path] | None) -> None:
    code = 1
    try:
        for number, file in zip((1, 2), files or (), strict=False):
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.stdout, sys.stderr = open(1, "w", buffering=1), open(2, "w", buffering=1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        code = cloudpickle.loads(work)() or 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)  # without the clean-up of multiprocessing
