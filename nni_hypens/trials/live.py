"""A one-shot search, live in NNI's web UI.

NNI starts no web server for one-shot strategies. Here a local experiment is started whose only trial runs the search;
inside it, `EdgeNES` reports every epoch (``search/reports.py``). The
search's output is passed on, and its exit code is kept.
"""

from __future__ import annotations

import codecs
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from nni.experiment import Experiment, ExperimentConfig

from nni_hypens._manager import PatientManager, check_home, check_node, manager_environment
from nni_hypens._nni import quiet_logging
from nni_hypens.errors import InputError, one_line
from nni_hypens.trials.experiment import forget_manager, kill_trials, record_manager, stop_orphan
from nni_hypens.trials.live_trial import STATE
from nni_hypens.utils.files import check_place, open_file, read_json
from nni_hypens.utils.paths import own_python
from nni_hypens.utils.ports import free_port, held_port
from nni_hypens.utils.run_files import RunFiles

LOOK_SECONDS = 0.2
ENDED = "NNI's manager has ended"
ASK_SECONDS = 2.0
OVER = ("SUCCEEDED", "FAILED", "USER_CANCELED", "SYS_CANCELED", "EARLY_STOPPED")


def watch_search(
    command: Sequence[str],
    *,
    port: int | None = None,
    name: str | None = None,
    directory: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> int:
    """Run a command that performs a one-shot search, as the only trial of an experiment that NNI's web UI shows.

    It can be any script that runs a ``NasExperiment`` with `EdgeNES`, without changes. Each
    epoch is an intermediate metric: ``default`` (validation loss; training loss in the warm-up), ``loss``,
    ``accuracy``, ``dial_error`` and more. The page is available until the search ends.

    Args:
        command: Program and arguments, run in the working folder; its output is passed on.
        port: Port of the web UI, on loopback; None for the first free one from 8080.
        name: Name of the experiment; the command by default.
        directory: Folder for NNI's files; by default NNI's own, ``~/nni-experiments``.
        say: Called with the line with the address; by default it is written to standard error.

    Returns:
        Exit code of the command, 0 if it succeeded.

    Raises:
        InputError: No such program, or the port is taken.
        RuntimeError: NNI's manager ended before the search.
        KeyboardInterrupt: Ctrl-C; search and manager are stopped.
    """
    text = shlex.join(command)
    folder = Path(directory or "~/nni-experiments").expanduser()
    if folder.exists() and not folder.is_dir():
        raise InputError("directory", f"{folder}, which is a file", "a folder")
    check_place(folder, "directory", "a folder, or the place for a new one")
    return _Watch(command, name or text, {"command": text}, folder, port, say or _to_stderr).run()


def watch_stage(
    command: Sequence[str],
    run: Path,
    settings: Mapping[str, Any],
    port: int | None = None,
    say: Callable[[str], None] | None = None,
) -> int:
    """`watch_search` for the search of a run folder: if its manager outlives this process, the next run finds it.

    Args:
        command: The search.
        run: The run folder.
        settings: Settings to show as parameters of the trial.
        port: Port of the web UI.
        say: Called with the line with the address.

    Returns:
        Exit code of the command.

    Raises:
        InputError: The port is taken.
        RuntimeError: NNI's manager ended before the search.
        KeyboardInterrupt: Ctrl-C.
    """
    stop_orphan(run)
    watch = _Watch(
        command, f"{run.resolve().name}: search", settings, RunFiles(run.resolve()).nni, port, say or _to_stderr
    )
    record_manager(run, watch.port, watch.experiment)
    try:
        return watch.run()
    finally:
        forget_manager(run)


def _to_stderr(text: str) -> None:
    print(one_line(text), file=sys.stderr, flush=True)


class _LiveExperiment(PatientManager, Experiment):  # type: ignore[misc]
    """NNI's experiment, whose only trial is the search."""


class _Watch:
    """One experiment with one trial; arguments as for `watch_search`."""

    def __init__(
        self,
        command: Sequence[str],
        name: str,
        parameters: Mapping[str, Any],
        folder: Path,
        port: int | None,
        say: Callable[[str], None],
    ) -> None:
        if isinstance(command, str) or not command or not all(isinstance(word, str) for word in command):
            raise InputError("command", repr(command), "a program and its arguments, as a list")
        if shutil.which(command[0]) is None:
            raise InputError("command", repr(command[0]), "a program that can be run, such as python")
        check_home()
        check_node()
        self.asked, self.port = port, free_port(port)
        self.say = say
        self.last_words: Callable[[], str] = str
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.experiment = _LiveExperiment(self._config(name, parameters))
        self.state = folder.resolve() / self.experiment.id / "search.json"
        own = command[1:] if command[0] == sys.executable and command[1:] and command[1].startswith("-") else command
        runner = [*own_python(), "-m", "nni_hypens.trials.live_trial", *own]
        # exec replaces the shell by the runner, which then gets NNI's signals
        self.experiment.config.trial_command = f"exec {shlex.join(runner)}"

    def _config(self, name: str, parameters: Mapping[str, Any]) -> ExperimentConfig:
        config = ExperimentConfig("local")
        config.experiment_name = name
        config.experiment_working_directory = str(self.folder.resolve())
        config.trial_code_directory = os.getcwd()
        config.trial_concurrency = config.max_trial_number = 1
        config.tuner.name = "Random"  # every parameter has one value: there is nothing to tune
        config.tuner.class_args = {"optimize_mode": "minimize"}
        config.search_space = {key: {"_type": "choice", "_value": [value]} for key, value in parameters.items()}
        return config

    def run(self) -> int:
        """Start the experiment, follow the search to its end, and stop; returns the search's exit code."""
        quiet_logging()
        with manager_environment(one_thread=False, more={STATE: str(self.state)}) as self.last_words:
            try:
                with held_port(self.asked) as self.port:
                    self.experiment.start(self.port)
                quiet_logging()
                self.say(f"the search in NNI's web UI: http://127.0.0.1:{self.port}")
                return self._follow()
            finally:
                if self.experiment.port is not None:
                    self.experiment.stop()
                kill_trials(self.folder / self.experiment.id)
                quiet_logging()

    def _follow(self) -> int:
        """Pass on the search's output until it ends."""
        tails: list[_Tail] = []
        asked = time.monotonic()
        while True:
            state = read_json(self.state) if self.state.exists() else None
            if state is not None and not tails:
                output = Path(state["output"])
                tails = [_Tail(output / "trial.stdout", sys.stdout), _Tail(output / "trial.stderr", sys.stderr)]
            for tail in tails:
                tail.copy()
            if state is not None and state["code"] is not None:
                code: int = state["code"]
                if code:  # a search ends soon after the manager, perhaps before the manager is asked again
                    self._check_answers()
                self._settle()
                return code
            if time.monotonic() - asked > ASK_SECONDS:
                asked = time.monotonic()
                self._check_manager()
            time.sleep(LOOK_SECONDS)

    def _jobs(self) -> list[str]:
        """Status of the trial, in a list that is empty before it exists; ["ERROR"] where the tuner has failed.

        Raises:
            OSError: The manager is gone.
        """
        if self.experiment.get_status() == "ERROR":
            return ["ERROR"]
        return [job.status for job in self.experiment.list_trial_jobs()]

    def _check_manager(self) -> None:
        """Raise an error if the manager or the trial has died."""
        try:
            jobs = self._jobs()
        except OSError:
            jobs = ["gone"]
        over = [status for status in jobs if status in (*OVER, "ERROR", "gone")]
        if over and not (self.state.exists() and read_json(self.state)["code"] is not None):
            gone = over[0] in ("ERROR", "gone")
            raise self._interrupted(ENDED if gone else f"its trial was ended ({over[0]})")

    def _check_answers(self) -> None:
        """Raise an error if the manager answers no more."""
        try:
            self._jobs()
        except OSError:
            raise self._interrupted(ENDED) from None

    def _interrupted(self, what: str) -> RuntimeError:
        why = self.last_words() or f"see {self.folder / self.experiment.id}"
        return RuntimeError(f"the search was interrupted: {what}; {why}")

    def _settle(self, seconds: float = 5.0) -> None:
        """Wait until NNI has recorded the end of the trial, so that the experiment can be viewed later."""
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end and not any(status in (*OVER, "ERROR") for status in self._jobs()):
                time.sleep(LOOK_SECONDS)
        except OSError:
            pass


class _Tail:
    """Copies to a stream what is appended to a file."""

    def __init__(self, path: Path, stream: TextIO) -> None:
        self.path, self.stream, self.position = path, stream, 0
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def copy(self) -> None:
        """Copy the new part."""
        if not self.path.exists():
            return
        with open_file(self.path) as file:
            file.seek(self.position)
            new = file.read()
        self.position += len(new)
        if new:
            self.stream.write(self.decoder.decode(new))
            self.stream.flush()
