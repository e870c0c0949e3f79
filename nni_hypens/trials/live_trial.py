"""The command of a live search's only trial: ``python -m nni_hypens.trials.live_trial COMMAND...``.

It runs the search in a new process group, passes signals on to the group, records how the search ended, and ends with
it. NNI alone would signal one process, keep no exit code, and let the search run on after its starter is gone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from nni_hypens._nni import LIVE, trial_name
from nni_hypens.utils.files import json_text

STATE, OWNER = "NNI_HYPENS_STATE", "NNI_HYPENS_OWNER"
"""Variables with the file that the launcher reads and the launcher's process id. They are not arguments, because the
web UI shows the command in one line that does not wrap."""
PLATFORM = "live"
"""Our value of ``NNI_PLATFORM``. Under NNI's own, ``local``, ``nni.runtime.log`` redirects standard output into a log
file that is written late. Can go when printing in a local trial reaches its stdout."""
STOP_SECONDS = 4.0
"""NNI kills a trial five seconds after asking it to end; the search must have ended by then."""


def write_state(path: Path, **state: Any) -> None:
    """Write the state that the launcher reads, atomically."""
    part = path.with_name(path.name + ".part")
    part.write_text(json_text(state), encoding="utf-8")
    part.replace(path)


def stop_group(process: subprocess.Popen[Any]) -> None:
    """End a process and its group: first ask, then kill."""
    for number, seconds in ((signal.SIGINT, STOP_SECONDS), (signal.SIGKILL, 10.0)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
        if number == signal.SIGKILL:
            break


def stop_manager() -> None:
    """End NNI's manager, the parent of this process, after its starter is gone."""
    manager = psutil.Process(os.getppid())
    if "--experiment-id" in manager.cmdline():
        manager.terminate()


def run_search(command: Sequence[str], owner: int) -> int:
    """Run the search until it ends, is stopped, or its owner is gone.

    Args:
        command: The search.
        owner: Process that started the experiment.

    Returns:
        Exit code of the search, as a shell would give it.
    """
    stopping = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: stopping.append(number))
    owners = psutil.Process(owner) if psutil.pid_exists(owner) else None
    environment = {**os.environ, LIVE: trial_name() or "", "NNI_PLATFORM": PLATFORM, "PYTHONUNBUFFERED": "1"}
    try:
        process = subprocess.Popen(command, env=environment, start_new_session=True)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    while process.poll() is None:
        if owners is None or not owners.is_running() or owners.status() == psutil.STATUS_ZOMBIE:
            stop_group(process)
            stop_manager()
        elif stopping:
            stop_group(process)
        else:
            time.sleep(0.2)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def main(command: Sequence[str]) -> int:
    """Run a command and write its state at its start and end. A command that begins with an option is run by this
    Python."""
    state, owner = Path(os.environ[STATE]), int(os.environ[OWNER])
    known = {"trial": os.environ.get("NNI_TRIAL_JOB_ID"), "output": os.environ.get("NNI_OUTPUT_DIR")}
    write_state(state, **known, code=None)
    code = run_search([sys.executable, *command] if command[0].startswith("-") else command, owner)
    sys.stdout.flush()
    write_state(state, **known, code=code)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
