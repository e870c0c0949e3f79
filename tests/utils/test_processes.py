"""Processes that follow others, and how a process is told from another of the same id."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from nni_hypens.utils.processes import ProcessName, follow
from tests.support.loaded import PATIENCE

FOLLOWER = """
import subprocess, sys, time
from nni_hypens.utils.processes import follow
child = subprocess.Popen(["sleep", "900"])
print(child.pid, flush=True)
follow(*sys.argv[1:])
time.sleep(900)
"""


def gone(pid: int) -> bool:
    """Whether a process ends in time; a zombie counts."""
    end = time.monotonic() + PATIENCE
    while ProcessName.of(pid) is not None:
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_a_name_is_of_one_process_alone(tmp_path: Path) -> None:
    program = tmp_path / "a) Z 1 (b"  # a name that looks like the fields after it
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([str(program), "900"])
    name = ProcessName.of(process.pid)
    assert name is not None and name.runs() and ProcessName.parse(str(name)) == name
    assert not ProcessName(name.pid, name.start + 1).runs()  # the id belongs to another process meanwhile
    process.kill()
    assert gone(process.pid) and not name.runs()  # a zombie, until its parent asks
    process.wait()
    assert not name.runs()
    assert [ProcessName.parse(text) for text in ("", "12", "12:x", ":", "-1:2")] == [None] * 5


@pytest.mark.parametrize("second", [False, True])
def test_a_process_ends_with_its_leader(second: bool) -> None:
    leader = subprocess.Popen(["sleep", "900"])
    names = [str(ProcessName.of(leader.pid))]
    process = subprocess.Popen(
        [sys.executable, "-c", FOLLOWER, *([str(ProcessName.own())] if second else ["", "nonsense"]), *names],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        assert process.poll() is None
        leader.kill()
        leader.wait()
        assert gone(process.pid) and gone(child)
    finally:
        for pid in (process.pid, child):
            if ProcessName.of(pid) is not None:
                psutil.Process(pid).kill()
        process.communicate()


def test_nobody_to_follow() -> None:
    follow("", "x")
    assert ProcessName.of(os.getpid()) == ProcessName.own()
