"""SIGTERM and SIGHUP end a command like Ctrl-C. Slurm, docker, systemd and `timeout` send the first, a terminal that
closes sends the second."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 25.0
"""After this time a command that is still cleaning up is killed; docker and Slurm do so after 10 to 30 seconds."""


@contextmanager
def ended_by_signals() -> Iterator[list[signal.Signals]]:
    """Raise KeyboardInterrupt at Ctrl-C and at the first SIGTERM or SIGHUP; later ones do not disturb the clean-up.

    A signal that is ignored, as SIGHUP under `nohup`, stays ignored.

    Yields:
        A list that gets the signals: libraries turn a KeyboardInterrupt into other errors, torch's import for one.
    """
    got: list[signal.Signals] = []
    timers: list[threading.Timer] = []

    def end(number: int, frame: object) -> None:
        got.append(signal.Signals(number))
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if not timers:
            timers.append(threading.Timer(PATIENCE_SECONDS, _kill, (number,)))
            timers[0].daemon = True
            timers[0].start()
            raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, end)
    try:
        yield got
    finally:
        for timer in timers:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def _kill(number: int) -> None:
    """End this process and what it has started, at once."""
    import psutil

    from nni_hypens.utils.processes import kill_family

    for child in psutil.Process().children():
        kill_family(child)
    os._exit(128 + number)
