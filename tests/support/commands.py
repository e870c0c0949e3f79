"""The command line in a forked child, and trials without NNI's manager, for the tables of bad inputs and faults.

A child has everything imported, so a command costs what it does and not the five seconds of the imports; yet it is a
process of its own: what it prints to its file descriptors is seen, it can be killed, and limits bind it alone. What
pytest's process has done before does not reach it: see forked.py.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nni
import sklearn.datasets  # noqa: F401 - imported here, for the children
import torch
import torchvision.transforms.v2  # noqa: F401 - imported here, for the children
from nni.nas.execution.engine import ExecutionEngine
from nni.nas.execution.event import FinalMetricEvent, IntermediateMetricEvent, TrainingEndEvent
from nni.nas.nn.pytorch import ModelSpace
from nni.nas.space import ModelStatus, SimplifiedModelSpace
from nni.runtime.trial_command_channel import set_default_trial_command_channel

import search_spaces  # noqa: F401 - imported here, for the children
from nni_hypens import _nni
from nni_hypens.cli import main as cli  # noqa: F401 - imported here, for the children
from nni_hypens.ensemble import export, predict  # noqa: F401 - imported here, for the children
from nni_hypens.report import page  # noqa: F401 - imported here, for the children
from nni_hypens.run import pipeline, train_stage  # noqa: F401 - imported here, for the children
from tests.support.forked import ROOT, Forked

SETTINGS = (
    "--space-args=channels=2 --search-epochs=4 --epochs=1 --candidates=3 --members=2 --train-size=200 --batch-size=64 "
    "--validation-size=100 --test-size=60 --stress-images=20 --ood=noise"
).split()


ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(cli.__file__).parents[2])}
"""Of real processes in other working folders: they run this very package."""


@dataclass
class Ended:
    """How a command ended: exit code (negative: the signal), standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> list[str]:
        """Lines of standard error, without the warnings that every run gets that is as small as those of tests."""
        small = ("warning: each candidate gets", "warning: the ensemble's accuracy of")
        lines = [line for line in self.err.strip().splitlines() if not line.startswith(small)]
        return [line for line in lines if not re.match(r"warning: only \d+ validation", line)]


class Heard(Forked):
    """A child whose output is kept until it has ended."""

    def __init__(self, work: Callable[[], int | None]) -> None:
        self.place = tempfile.TemporaryDirectory()
        self.files = Path(self.place.name) / "out", Path(self.place.name) / "err"
        for file in self.files:
            file.touch()
        super().__init__(work, self.files)

    def end(self) -> Ended:
        """How it ends."""
        code = self.wait()
        out, err = (file.read_text() for file in self.files)
        self.place.cleanup()
        return Ended(code, out, err)

    def kill(self) -> None:
        """End it with SIGKILL; what it has said is lost."""
        super().kill()
        self.place.cleanup()


class Child(Heard):
    """A command in a forked child.

    Args:
        arguments: After ``nni-hypens``.
        folder: Its working folder.
        before: What the child does first.
        trials: ``forked`` to play NNI's manager, ``real`` to leave it to NNI.
    """

    def __init__(
        self,
        arguments: Sequence[str | Path],
        folder: Path | None = None,
        before: Callable[[], None] | None = None,
        trials: str = "forked",
    ) -> None:
        super().__init__(partial(_main, [str(argument) for argument in arguments], folder, before, trials))


def module(name: str, *arguments: str | Path) -> Ended:
    """What ``python -m`` does with a module, in a forked child."""
    return Heard(partial(_run_module, name, [str(argument) for argument in arguments])).end()


def _run_module(name: str, arguments: list[str]) -> None:
    os.chdir(ROOT)
    sys.argv[1:] = arguments
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _main(arguments: list[str], folder: Path | None, before: Callable[[], None] | None, trials: str) -> int:
    if folder is not None:
        os.chdir(folder)
    if trials == "forked":
        train_stage.run_trials = play_trials
    if before is not None:
        before()
    return cli.main(arguments)


def command(*arguments: str | Path, **more: Any) -> Ended:
    """Run a command to its end; see `Child`."""
    return Child(arguments, **more).end()


def listing(*folders: Path) -> dict[str, tuple[int, int, int]]:
    """Everything under some folders: of files inode, size and time of change; a lock may be taken, but not made."""
    found = {}
    for folder in folders:
        for path in [folder, *folder.rglob("*")]:
            if "__pycache__" not in path.parts:
                stat, counts = path.lstat(), path.is_file() and path.name != ".lock"
                found[str(path)] = (stat.st_ino, stat.st_size, stat.st_mtime_ns) if counts else (0, 0, 0)
    return found


class _Messages:
    """A trial's way to its manager: lines of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def receive_parameter(self) -> Any:
        return {"parameter_id": 0, "parameters": {}}

    def send_metric(self, type: str, parameter_id: Any, trial_job_id: str, sequence: int, value: Any) -> None:  # noqa: A002
        with self.path.open("a") as file:
            file.write(json.dumps([type, value]) + "\n")


class ForkedTrials(ExecutionEngine):
    """Plays NNI's manager: each trial is a child, its output is kept where NNI keeps it, and its end is told."""

    def __init__(self, run: Path) -> None:
        super().__init__()
        self.folder = run / "nni" / f"played-{os.getpid()}" / "environments" / "local-env" / "trials"

    def submit_models(self, *models: Any) -> None:
        for model in models:
            own = self.folder / str(len(list(self.folder.glob("*"))))
            own.mkdir(parents=True)
            code = self._trial(nni.dump(model), own)
            sent = (own / "messages").read_text().splitlines() if (own / "messages").exists() else []
            for kind, value in map(json.loads, sent):
                event = FinalMetricEvent if kind == "FINAL" else IntermediateMetricEvent
                self.dispatch_model_event(event(model, value))
            status = ModelStatus.Trained if code == 0 else ModelStatus.Failed
            self.dispatch_model_event(TrainingEndEvent(model, status))

    def _trial(self, text: str, own: Path) -> int:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with (own / "trial.stderr").open("w") as errors:
                    os.dup2(errors.fileno(), 2)
                sys.stderr = open(2, "w", buffering=1)
                set_default_trial_command_channel(_Messages(own / "messages"))
                nni.get_next_parameter()
                nni.load(text).execute()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def default_callback(self, event: Any) -> None:
        """Nothing."""

    def budget_available(self) -> bool:
        return True


def play_trials(
    space: ModelSpace, evaluator: Any, strategy: Any, run: Path, port: int | None, service: Any, gpus: Any
) -> int:
    """Stands for `nni_hypens.trials.experiment.run_trials`."""
    strategy(SimplifiedModelSpace.from_model(space), ForkedTrials(run))
    return port or 0


def outcome(folder: Path) -> dict[str, Any]:
    """What must not depend on faults: architectures and metrics, without times."""
    results = json.loads((folder / "results.json").read_text())
    for name in ("cost", "made", "versions"):
        results.pop(name)
    front = [results["cost_front"]["chosen"], *results["cost_front"]["rows"]]
    selection = results["selection"]
    costs = [row["costs"] for row in (selection, *selection["sizes"], *results["sizes"])]
    for row in (selection, *costs, *results["candidates"], *front):
        for name in ("seconds", "latency_ms"):
            row.pop(name, None)
    hypernetwork = (folder / "search" / "hypernetwork.safetensors").read_bytes()
    texts = {name: json.loads((folder / name).read_text()) for name in ("candidates.json", "search/base.json")}
    return {"results": results, "hypernetwork": hypernetwork, **texts}


torch.set_num_threads(1)
_nni.quiet_training()
_nni.quiet_logging()
