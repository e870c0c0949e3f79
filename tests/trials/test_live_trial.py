"""The command of a live search's trial: it passes on what the search says, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from nni_hypens.trials import live_trial
from nni_hypens.utils.processes import OWNER, ProcessName
from tests.support.loaded import PATIENCE


def start_trial(folder: Path, *command: str, owner: int | None = None) -> subprocess.Popen:
    environment = {
        live_trial.STATE: str(folder / "search.json"),
        OWNER: str(ProcessName.of(owner or os.getpid())),
        "NNI_EXP_ID": "exp",
        "NNI_TRIAL_JOB_ID": "job",
        "NNI_PLATFORM": "local",
        "NNI_OUTPUT_DIR": str(folder),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "nni_hypens.trials.live_trial", *command],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_trial_passes_on_output_exit_code_and_its_name(tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['NNI_HYPENS_LIVE']); sys.exit(3)"
    process = start_trial(tmp_path, "-c", code)
    assert process.communicate(timeout=PATIENCE)[0] == "exp/job\n" and process.returncode == 3
    assert json.loads((tmp_path / "search.json").read_text()) == {"trial": "job", "output": str(tmp_path), "code": 3}
    process = start_trial(tmp_path, "/does/not/exist")
    assert "No such file" in process.communicate(timeout=PATIENCE)[1] and process.returncode == 127


def test_the_trial_loads_neither_torch_nor_nni() -> None:
    """It waits beside the search, which has loaded them."""
    code = f"import sys, {live_trial.__name__}; sys.exit(str({{'torch', 'nni', 'numpy'}} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert found.stderr.strip() == "set()"


SLEEPER = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(900)"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(900)
"""


@pytest.mark.parametrize("end", ["signal", "owner"])
def test_the_search_ends_with_all_its_processes(end: str, tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(900)"])
    pid = tmp_path / "pid"
    process = start_trial(tmp_path, "-c", SLEEPER, str(pid), owner=owner.pid)
    try:
        deadline = time.monotonic() + PATIENCE
        while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        worker = psutil.Process(int(pid.read_text()))
        if end == "signal":
            process.send_signal(signal.SIGINT)
        else:
            owner.kill()
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        worker.wait(PATIENCE)
    finally:
        owner.kill()
        owner.wait()
