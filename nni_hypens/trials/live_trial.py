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

from nni_hypens.utils.files import json_text
from nni_hypens.utils.paths import drop_working_folder
from nni_hypens.utils.processes import LIVE, MANAGER, OWNER, ProcessName, trial_name

STATE = "NNI_HYPENS_STATE"
"""Variable with the file that the launcher reads. It is not an argument: the web UI shows the command in one line that
does not wrap."""
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


def run_search(command: Sequence[str], leaders: Sequence[ProcessName]) -> int:
    """Run the search until it ends, is stopped, or one of its leaders is gone.

    Args:
        command: The search.
        leaders: The process that started the experiment, and NNI's manager.

    Returns:
        Exit code of the search, as a shell would give it.
    """
    stopping = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: stopping.append(number))
    environment = {**os.environ, LIVE: trial_name() or "", "NNI_PLATFORM": PLATFORM, "PYTHONUNBUFFERED": "1"}
    try:
        process = subprocess.Popen(command, env=environment, start_new_session=True)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    while process.poll() is None:
        if stopping or not all(leader.runs() for leader in leaders):
            stop_group(process)
        else:
            time.sleep(0.2)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def main(command: Sequence[str]) -> int:
    """Run a command and write its state at its start and end. A command that begins with an option is run by this
    Python."""
    drop_working_folder()
    state = Path(os.environ[STATE])
    names = (os.environ.get(name, "") for name in (OWNER, MANAGER))
    leaders = [name for text in names if (name := ProcessName.parse(text)) is not None]
    known = {"trial": os.environ.get("NNI_TRIAL_JOB_ID"), "output": os.environ.get("NNI_OUTPUT_DIR")}
    write_state(state, **known, code=None)
    code = run_search([sys.executable, *command] if command[0].startswith("-") else command, leaders)
    sys.stdout.flush()
    write_state(state, **known, code=code)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
