"""Processes that belong together: what we start ends when its starter is gone, and nothing else is ended.

A process id alone is not enough, because the system gives it to another process later. So a process is named by its id
and its start time, both from ``/proc``.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

OWNER = "NNI_HYPENS_OWNER"
"""Environment variable with the name of the process that started NNI's manager, for the manager and its trials."""
MANAGER = "NNI_HYPENS_MANAGER"
"""Environment variable with the name of NNI's manager, for its trials on this machine (``lifetime.js``)."""
LIVE = "NNI_HYPENS_LIVE"
"""Environment variable that marks the trial of a live search; its value is the name of that trial."""
FOLLOW_SECONDS = 1.0


def trial_name() -> str | None:
    """NNI's experiment and trial of this process; None outside of trials."""
    experiment, trial = os.environ.get("NNI_EXP_ID"), os.environ.get("NNI_TRIAL_JOB_ID")
    return f"{experiment}/{trial}" if experiment and trial and os.environ.get("NNI_PLATFORM") else None


@dataclass(frozen=True)
class ProcessName:
    """One process of this machine, never confused with a later one of the same id.

    Args:
        pid: Its id.
        start: Its start, in ticks of the kernel's clock since the machine started.

    Examples:
        >>> own = ProcessName.of(os.getpid())
        >>> own.runs(), ProcessName.parse(str(own)) == own, ProcessName(own.pid, own.start - 1).runs()
        (True, True, False)
    """

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> ProcessName | None:
        """Name of the process that has this id now; None if there is none, or it has ended and waits for its parent."""
        try:
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        state, *fields = text.rpartition(")")[2].split()  # the command's name, in parentheses, may contain anything
        return None if state in "ZX" else cls(pid, int(fields[18]))

    @classmethod
    def own(cls) -> ProcessName:
        """Name of this process."""
        name = cls.of(os.getpid())
        assert name is not None
        return name

    @classmethod
    def parse(cls, text: str) -> ProcessName | None:
        """A name from its text, ``PID:START``; None if it is something else."""
        pid, _, start = text.partition(":")
        return cls(int(pid), int(start)) if pid.isdecimal() and start.isdecimal() else None

    def __str__(self) -> str:
        return f"{self.pid}:{self.start}"

    def runs(self) -> bool:
        """Whether the process still runs."""
        return ProcessName.of(self.pid) == self


def follow(*leaders: str) -> None:
    """End this process and its children, by SIGKILL, as soon as one of its leaders has ended.

    A thread looks once a second. Files that are written atomically stay whole.

    Args:
        leaders: Names of processes as text; others, such as an empty text, are ignored.
    """
    names = [name for text in leaders if (name := ProcessName.parse(text)) is not None]

    def look() -> None:
        while all(name.runs() for name in names):
            time.sleep(FOLLOW_SECONDS)
        kill_family(psutil.Process())

    if names:
        threading.Thread(target=look, name="follow", daemon=True).start()


def begin_worker(leader: str) -> None:
    """Make this process, of a pool, end with its leader alone: Ctrl-C and a closed terminal are for the leader.

    Args:
        leader: Name of the process that has the pool.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    follow(leader)


def kill_family(process: psutil.Process) -> None:
    """Kill a process and everything it has started: the process first, or it would start the next child; last if it is
    this one."""
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    own = process.pid == os.getpid()
    for member in family[1:] if own else family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    if own:
        os.kill(os.getpid(), signal.SIGKILL)
    psutil.wait_procs(family, timeout=10)
