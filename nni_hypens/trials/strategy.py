"""The multi-trial strategy that trains candidates as NNI trials with the user's evaluator."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from nni.nas.evaluator import Evaluator
from nni.nas.execution.event import FinalMetricEvent, IntermediateMetricEvent, ModelEventType, TrainingEndEvent
from nni.nas.space import ExecutableModelSpace, ModelStatus
from nni.nas.strategy.base import Strategy

from nni_hypens.data.protocols import LabelledData
from nni_hypens.errors import InputError
from nni_hypens.trials.parts import check_trial_parts
from nni_hypens.trials.training import CandidateEvaluator, TrialSpec, trained_record
from nni_hypens.utils.disks import check_writable
from nni_hypens.utils.files import write_json
from nni_hypens.utils.run_files import CandidateFiles

NO_REASON = (
    "its trial gave no reason: it was killed (out of memory?) or could not start; see the files "
    "trial.stderr under nni in the run folder"
)
LOOK_SECONDS = 5.0


class Proposals(Protocol):
    """Candidates that are chosen while others are trained."""

    @property
    def left(self) -> int:
        """Number of candidates still to propose."""

    def ready(self, done: Set[str]) -> bool:
        """Whether the next candidate can be chosen once these candidates are trained or failed."""

    def propose(self) -> TrialSpec:
        """The next candidate."""


class CandidateTraining(Strategy):  # type: ignore[misc]
    """NNI strategy that trains a list of candidates, each with the user's evaluator.

    NNI's manager hands out parameters in the order of submission to whichever trial asks first, so two trials that
    start at once may train each other's architecture. We submit the next candidate only after the previous one has
    reported, and only the id inside a report tells which candidate it belongs to.

    Args:
        candidates: Candidates to train.
        evaluator: The user's evaluator; it and its parts must be wrapped by ``nni.trace``, like NNI's own.
        data: Data module with ``val_dataloader()`` and ``test_dataloader()``, also wrapped by ``nni.trace``.
        directory: Folder in which each candidate gets a folder.
        concurrency: Number of simultaneous trials.
        per_trial: Candidates that one trial trains, one after the other.
        threads: Threads of torch in each trial.
        on_progress: Called after each epoch and at each candidate's end with (candidate id, validation accuracy or
            None, whether it is done).
        proposals: Further candidates to train afterwards, one trial for each.
        checksum: Checksum of the data, which each trial compares with what it reads; None for no check.

    Raises:
        InputError: A part that a trial process could not rebuild.
    """

    def __init__(
        self,
        candidates: Sequence[TrialSpec],
        evaluator: Evaluator,
        data: LabelledData,
        directory: str | Path,
        concurrency: int = 1,
        per_trial: int = 1,
        threads: int = 1,
        on_progress: Callable[[str, float | None, bool], None] | None = None,
        proposals: Proposals | None = None,
        checksum: str | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("concurrency", concurrency), ("per_trial", per_trial)):
            if value < 1:
                raise InputError(name, value, "a whole number of at least 1")
        check_trial_parts(evaluator, data)
        self.candidates = list(candidates)
        self.evaluator, self.data, self.checksum = evaluator, data, checksum
        self.directory = Path(directory).resolve()
        self.concurrency, self.per_trial = concurrency, per_trial
        self.threads, self.on_progress, self.proposals = threads, on_progress, proposals
        self.results: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, str] = {}
        self._models: dict[str, ExecutableModelSpace] = {}  # strong references; the engine keeps only weak ones
        self._claimed: set[str] = set()
        self._ended: set[str] = set()
        self._errors: dict[str, str] = {}
        self._fault: Exception | None = None
        self._changed = threading.Condition()

    @property
    def trial_directory(self) -> str | None:
        """Where trials write: a path, or None for their own output folders."""
        return str(self.directory)

    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the run: NNI returns as if all were well, also if the strategy has not begun."""
        succeeded: bool = self._status.value == "succeeded"
        return not succeeded

    def _run(self) -> None:
        handlers = {
            ModelEventType.IntermediateMetric: self._kept(self._on_intermediate),
            ModelEventType.FinalMetric: self._kept(self._on_final),
            ModelEventType.TrainingEnd: self._kept(self._on_end),
        }
        for event, handler in handlers.items():
            self.engine.register_model_event_callback(event, handler)
        for first in range(0, len(self.candidates), self.per_trial):
            self._wait(self._free)
            self._submit(self.candidates[first : first + self.per_trial])
        more = self.proposals
        while more is not None and more.left:
            self._wait(lambda: self._free() and more.ready(self.results.keys() | self.failed.keys()))
            self._submit([self._added(more.propose())])
        self._wait(lambda: not self._running())
        for event, handler in handlers.items():
            self.engine.unregister_model_event_callback(event, handler)

    def _free(self) -> bool:
        return self._trials() < self.concurrency and self._running() <= self._claimed

    def _added(self, spec: TrialSpec) -> TrialSpec:
        self.candidates.append(spec)
        return spec

    def _submit(self, specs: Sequence[TrialSpec]) -> None:
        for spec in specs:
            write_json(CandidateFiles(self.directory / spec.id).architecture, spec.architecture)
        model = self.model_space.freeze(specs[0].architecture)
        about = [asdict(spec) for spec in specs]
        model.evaluator = CandidateEvaluator(
            self.evaluator, self.data, about, self.trial_directory, self.threads, self.checksum
        )
        self._models.update({spec.id: model for spec in specs})
        self.engine.submit_models(model)

    def _trials(self) -> int:
        return len({id(self._models[candidate]) for candidate in self._running()})

    def _running(self) -> set[str]:
        return set(self._models) - set(self.results) - set(self.failed)

    def _wait(self, ready: Callable[[], bool]) -> None:
        """Wait until ``ready``; check the manager from time to time, because a dead one sends no events."""
        last_look = time.monotonic()
        while True:
            self._collect()
            with self._changed:
                if self._fault is not None:
                    raise self._fault
                if ready():
                    return
                self._changed.wait(0.2)
                if time.monotonic() - last_look > LOOK_SECONDS:
                    check_writable(self.directory)  # NNI may wait for ever for a trial that cannot write
                    self.engine.budget_available()  # raises ConnectionError when the manager is gone
                    last_look = time.monotonic()
                    self._settle_silent()

    def _collect(self) -> None:
        """Fetch finished candidates into the run folder if trials cannot write there; called without the lock."""

    def _settle_silent(self) -> None:
        """Settle trials that ended without a report by their files: a report can be lost, a file cannot."""
        for candidate in self._running() & self._ended:
            record = trained_record(self.directory / candidate)
            if record is not None:
                self.results[candidate] = record
            else:
                self.failed[candidate] = self._errors.get(candidate, NO_REASON)
            self._tell(candidate, None, True)

    # ---- events, on the engine's thread ---------------------------------------------------------------------------

    def _kept(self, handler: Callable[[Any], None]) -> Callable[[Any], None]:
        """The handler; what it raises is raised in the strategy, because it would end the engine's thread unheard."""

        def handle(event: Any) -> None:
            try:
                handler(event)
            except Exception as error:
                self._fault = self._fault or error

        return handle

    def _candidates_of(self, model: ExecutableModelSpace) -> list[str]:
        return [name for name, own in self._models.items() if own is model]

    def _reporter(self, event: IntermediateMetricEvent | FinalMetricEvent) -> str | None:
        """The candidate that a report belongs to; marks all candidates of its trial as started."""
        named = event.metric.get("candidate") if isinstance(event.metric, dict) else None
        candidate = named if named in self._models else next(iter(self._candidates_of(event.model)), None)
        if candidate is not None:
            self._claimed.update(self._candidates_of(self._models[candidate]))
        return candidate

    def _on_intermediate(self, event: IntermediateMetricEvent) -> None:
        with self._changed:
            candidate, metric = self._reporter(event), event.metric
            if candidate is not None and isinstance(metric, dict) and "error" in metric:
                self._errors[candidate] = metric["error"]
            elif candidate is not None and isinstance(metric, dict) and "finished" in metric:
                self._finish(candidate, metric)
            elif candidate is not None:
                self._tell(candidate, float(metric["default"] if isinstance(metric, dict) else metric), False)
            self._changed.notify_all()

    def _on_final(self, event: FinalMetricEvent) -> None:
        with self._changed:
            candidate = self._reporter(event)
            if candidate is not None and isinstance(event.metric, dict):
                self._finish(candidate, event.metric)
            self._changed.notify_all()

    def _finish(self, candidate: str, metric: dict[str, Any]) -> None:
        self.results[candidate] = metric
        self.failed.pop(candidate, None)  # its trial died, but another trial took its parameters
        self._tell(candidate, float(metric["default"]), True)

    def _on_end(self, event: TrainingEndEvent) -> None:
        with self._changed:
            candidates = self._candidates_of(event.model)
            self._claimed.update(candidates)
            self._ended.update(candidates)
            if event.status != ModelStatus.Trained:
                self._settle_silent()
            self._changed.notify_all()

    def _tell(self, candidate: str, accuracy: float | None, done: bool) -> None:
        if self.on_progress is not None:
            self.on_progress(candidate, accuracy, done)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: finished candidates are in the run folder."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to load; see `state_dict`."""
