"""Trains candidates in worker processes that stay alive: no manager, no port, no node.

The result of a candidate is the same as that of an NNI trial, because both call `train_candidate` with the same seed.
NNI trials are the default, for their web UI and for other machines. Workers are for batch systems, notebooks and CI,
and save the seconds that each trial needs to start.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nni.nas.evaluator import Evaluator
from nni.nas.nn.pytorch import ModelSpace
from nni.nas.space import SimplifiedModelSpace

from nni_hypens.data.protocols import LabelledData
from nni_hypens.trials.parts import check_trial_parts, dump_parts
from nni_hypens.trials.strategy import Proposals
from nni_hypens.trials.training import CandidateEvaluator, TrialSpec
from nni_hypens.utils.devices import show_only
from nni_hypens.utils.files import write_json
from nni_hypens.utils.paths import own_python
from nni_hypens.utils.run_files import CandidateFiles

COMMAND = (*own_python(), "-m", "nni_hypens.trials.worker")


class Worker:
    """One worker process. It ends when this process does.

    Args:
        log: File for what it writes to standard error.
        answers: Gets (this worker, answer) for each of its lines; the answer is None when the process has ended.
        environment: Variables that the process gets besides those of this process.
        number: Its place among the workers, and among the GPUs; that of one that has ended is free again.
    """

    def __init__(
        self,
        log: Path,
        answers: queue.Queue[tuple[Worker, dict[str, Any] | None]],
        environment: Mapping[str, str],
        number: int = 0,
    ) -> None:
        self.number = number
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log, self.candidate = log, ""
        # everything that can be imported here can be imported there
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                env={**os.environ, "PYTHONPATH": paths, **environment},
                start_new_session=True,  # Ctrl-C is for the process that started it, which then ends it
            )
        threading.Thread(target=self._listen, args=(answers,), daemon=True).start()

    def _listen(self, answers: queue.Queue[tuple[Worker, dict[str, Any] | None]]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answers.put((self, json.loads(line)))
        answers.put((self, None))

    def train(self, candidate: str, request: str) -> None:
        """Send a request; its answers arrive later."""
        assert self._process.stdin is not None
        self.candidate = candidate
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:  # the process has ended, which its listener tells
            pass

    def end(self) -> int:
        """End the process; returns its exit code."""
        self._process.kill()
        return self._process.wait()

    def cause(self) -> str:
        """Why the process has ended, as far as it is known."""
        code = self._process.wait()
        ended = f"was killed by signal {-code} (out of memory?)" if code < 0 else f"ended with exit code {code}"
        return f"its worker process {ended}; see {self.log}"


class LocalTraining:
    """Trains a list of candidates, each with the user's evaluator, in worker processes of this machine.

    Args:
        space: The model space.
        candidates: Candidates to train.
        evaluator: The user's evaluator. Unlike for NNI trials, it need not be traced, only possible to pickle.
        data: Data module with ``val_dataloader()`` and ``test_dataloader()``; the same holds.
        directory: Folder in which each candidate gets a folder.
        logs: Folder for what workers write to standard error.
        concurrency: Number of workers.
        threads: Threads of torch in each worker.
        on_progress: Called after each epoch and at each candidate's end with (candidate id, validation accuracy or
            None, whether it is done).
        proposals: Further candidates to train afterwards.
        checksum: Checksum of the data, which each worker compares with what it reads; None for no check.
        gpus: Numbers of the GPUs to use, one for each worker in turn; empty for the processor.

    Raises:
        InputError: A part that cannot be pickled.
    """

    def __init__(
        self,
        space: ModelSpace,
        candidates: Sequence[TrialSpec],
        evaluator: Evaluator,
        data: LabelledData,
        directory: str | Path,
        logs: Path,
        concurrency: int = 1,
        threads: int = 1,
        on_progress: Callable[[str, float | None, bool], None] | None = None,
        proposals: Proposals | None = None,
        checksum: str | None = None,
        gpus: Sequence[int] = (),
    ) -> None:
        check_trial_parts(evaluator, data, local=True)
        self.candidates = list(candidates)
        self.evaluator, self.data, self.checksum = evaluator, data, checksum
        self.directory, self.logs = Path(directory).resolve(), logs.resolve()
        self.concurrency, self.threads = concurrency, threads
        self.on_progress, self.proposals = on_progress, proposals
        self.results: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, str] = {}
        self.gpus = list(gpus)
        self._space = SimplifiedModelSpace.from_model(space)
        self._answers: queue.Queue[tuple[Worker, dict[str, Any] | None]] = queue.Queue()
        self._workers: list[Worker] = []
        self._idle: list[Worker] = []

    def run(self) -> None:
        """Train all candidates. Those that failed are in ``failed``, with the error.

        Raises:
            KeyboardInterrupt: Ctrl-C; finished candidates stay.
        """
        waiting = deque(self.candidates)
        try:
            while True:
                while self._busy < self.concurrency and (spec := self._next(waiting)) is not None:
                    self._submit(spec)
                if not self._busy:
                    return
                self._take(*self._answers.get())
        finally:
            for worker in self._workers:
                worker.end()
            self._workers, self._idle = [], []

    @property
    def _busy(self) -> int:
        return len(self._workers) - len(self._idle)

    def _next(self, waiting: deque[TrialSpec]) -> TrialSpec | None:
        """The next candidate; None if there is none, or if it depends on results that are still to come."""
        if waiting:
            return waiting.popleft()
        more = self.proposals
        if more is None or not more.left or not more.ready(self.results.keys() | self.failed.keys()):
            return None
        self.candidates.append(more.propose())
        return self.candidates[-1]

    def _submit(self, spec: TrialSpec) -> None:
        write_json(CandidateFiles(self.directory / spec.id).architecture, spec.architecture)
        if not self._idle:
            number = min({*range(len(self._workers) + 1)} - {worker.number for worker in self._workers})
            environment = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
            show_only([self.gpus[number % len(self.gpus)]] if self.gpus else None, environment)
            worker = Worker(self.logs / f"worker-{number}.log", self._answers, environment, number)
            self._workers.append(worker)
            self._idle.append(worker)
        model = self._space.freeze(spec.architecture)
        arguments = (self.evaluator, self.data, [asdict(spec)], str(self.directory), self.threads, self.checksum)
        model.evaluator = CandidateEvaluator(*arguments)
        self._idle.pop().train(spec.id, dump_parts(model))

    def _take(self, worker: Worker, answer: dict[str, Any] | None) -> None:
        """Take note of what a worker has said."""
        name = worker.candidate
        if answer is not None and "default" in answer:
            self._tell(name, answer["default"], False)
            return
        if answer is None:
            self._workers.remove(worker)
            if worker in self._idle:  # what it was given is finished
                self._idle.remove(worker)
                return
            self.failed[name] = worker.cause()
        else:
            self._idle.append(worker)
            if "error" in answer:
                self.failed[name] = answer["error"]
            else:
                self.results[name] = answer["report"]
        self._tell(name, self.results.get(name, {}).get("default"), True)

    def _tell(self, candidate: str, accuracy: float | None, done: bool) -> None:
        if self.on_progress is not None:
            self.on_progress(candidate, accuracy, done)
