"""A trial's process: what it imports, and how it ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nni_hypens.trials.process import ENTRY, main
from tests.support.loaded import PATIENCE

NNI_ALONE = "import nni.nas.execution.training_service, nni.nas.evaluator.pytorch, nni.nas.nn.pytorch, nni.nas.strategy"
OURS = "import nni_hypens.trials.process, nni_hypens.trials.training, nni_hypens.data, nni_hypens.trials.evaluators"
NOT_OURS = ("ensemble", "report", "run", "compare", "cli", "search.", "selection", "trials.remote", "trials.services",
    "trials.experiment", "trials.live")  # fmt: skip


def test_trials_import_little_more_than_nni_does() -> None:
    """NNI, Lightning and torch bring most of what is heavy; nothing is added but the reading and writing of files."""
    code = f"import sys\n{NNI_ALONE}\nnnis = set(sys.modules)\n{OURS}\nprint('modules', *set(sys.modules) - nnis)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr[-2000:]
    more = set(done.stdout.split("modules ")[-1].split())
    packages = {name.split(".")[0] for name in more} - set(sys.stdlib_module_names)
    assert packages == {"nni_hypens", "safetensors", "lazy_loader"}
    assert not [name for name in more if name.removeprefix("nni_hypens.").startswith(NOT_OURS)]


def run(*lines: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """A trial process whose trial is these lines of Python."""
    body = "\n    ".join(lines)
    code = (
        f"import gc, sys, types\n{before}\n"
        f"def trial_entry():\n    {body}\n"
        "sys.modules['nni.nas.execution.training_service'] = types.SimpleNamespace(trial_entry=trial_entry)\n"
        "sys.modules['nni_hypens.trials.training'] = types.ModuleType('training')\n"
        "from nni_hypens.trials.process import ENTRY, main\n"
        "main(ENTRY)"
    )
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=PATIENCE
    )


def test_what_was_registered_for_the_end_is_done() -> None:
    done = run(
        "import atexit, threading, time",
        "atexit.register(print, 'at exit')",
        "threading.Thread(target=lambda: (time.sleep(0.3), print('thread'))).start()",
        "print('trained', gc.isenabled(), gc.get_freeze_count() > 1000)",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["trained True True", "thread", "at exit"]


def test_a_trial_that_fails_fails() -> None:
    no_nni = "sys.modules['nni_hypens._nni'] = types.ModuleType('_nni')"  # it takes seconds, for a successful end only
    done = run("raise ValueError('too hot')", before=no_nni)
    assert done.returncode == 1
    assert done.stderr.split()[-3:] == ["ValueError:", "too", "hot"]  # an excepthook may break the line


def test_it_is_for_nni_alone() -> None:
    for words in ([], ["-m", "x"], [*ENTRY, "more"]):
        with pytest.raises(SystemExit, match="usage"):
            main(words)
