"""Candidates become NNI trials: a multi-trial strategy that submits each with the user's evaluator.

A trial trains one architecture from scratch, writes its weights and its probabilities on validation and test images
into the run folder, and reports a dict whose ``default`` is the validation metric. ``metrics.json`` comes last: a
folder that has it is a finished candidate.
"""

from __future__ import annotations

import copy
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import nni
import numpy as np
import pytorch_lightning as pl
import torch
from nni.common.serializer import is_traceable
from nni.nas.evaluator import Evaluator
from nni.nas.execution.event import FinalMetricEvent, IntermediateMetricEvent, ModelEventType, TrainingEndEvent
from nni.nas.space import ExecutableModelSpace, ModelStatus
from nni.nas.strategy.base import Strategy
from safetensors.torch import load_file

from nni_hypens import metrics
from nni_hypens._compat import TrialReports, quiet_training
from nni_hypens.architecture import Sample
from nni_hypens.budget import count_flops, measure_latency
from nni_hypens.errors import InputError
from nni_hypens.files import read_json, write_arrays, write_json, write_tensors
from nni_hypens.halving import forget_rung, read_rung, train_until, write_rung

INITIAL = "initial.safetensors"
NO_REASON = (
    "its trial gave no reason: something has killed it, such as a lack of memory, or it could not start; see the files "
    "trial.stderr below nni in the run folder"
)


@dataclass(frozen=True)
class TrialSpec:
    """One candidate to train.

    Args:
        id: Name of its folder.
        architecture: The NNI sample.
        lam: Requested shared edges, or None.
        shared_edges: Edges in common with the base.
        seed: Seed of its initial weights and of everything drawn in its training.
        text: The architecture in one line, for NNI's web UI.
        warm_start: Whether its initial weights are those in ``initial.safetensors`` in its folder.
        until: Epoch of its schedule at which it waits to be compared (:mod:`nni_hypens.halving`); None for none.
    """

    id: str
    architecture: Sample
    lam: float | None
    shared_edges: int
    seed: int
    text: str = ""
    warm_start: bool = False
    until: int | None = None


class _CandidateEvaluator(Evaluator):
    """Trains one or more candidates with the user's evaluator inside a trial, and writes what the ensemble needs.

    A trial takes some seconds to start, nearly all of it imports, so small candidates are cheaper several at a time;
    the results are the same. One that fails does not keep the others from being trained.

    Args:
        evaluator: The user's evaluator, traced.
        data: The user's data module, traced: ``val_dataloader()`` and ``test_dataloader()`` give (images, labels) in
            order.
        candidates: Fields of a :class:`TrialSpec`, one dict for each candidate; the first is the trial's own sample.
        directory: Absolute path of the folder that has a folder for each candidate; None for the trial's own output
            folder, where the run folder cannot be seen. Reports then say which it is, as ``place``.
        threads: Threads of torch in the trial; the result depends on it in the last digits, so it is fixed.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        data: pl.LightningDataModule,
        candidates: list[dict[str, Any]],
        directory: str | None,
        threads: int = 1,
    ) -> None:
        self.evaluator = evaluator
        self.data = data
        self.candidates = candidates
        self.directory = directory
        self.threads = threads

    def _execute(self, model: ExecutableModelSpace) -> dict[str, Any]:
        torch.set_num_threads(self.threads)
        quiet_training()
        last, first_error = None, None
        for spec in self.candidates:
            try:
                if last is not None:  # NNI takes one final metric from a trial: those before the last go as reports
                    nni.report_intermediate_result({**last, "finished": 1})
                last = None
                last = self._train(model, spec)
            except Exception as error:
                first_error = first_error or error
                text = f"{type(error).__name__}: {error}"[:500]
                nni.report_intermediate_result({"default": 0.0, "candidate": spec["id"], "error": text})
        if last is not None:
            nni.report_final_result(last)
        if first_error is not None:
            raise first_error
        return last

    def _train(self, model: ExecutableModelSpace, spec: dict[str, Any]) -> dict[str, Any]:
        # seeded before the network exists: its initial weights belong to the seed as well
        pl.seed_everything(spec["seed"], verbose=False)
        own = copy.copy(model)
        own.sample = spec["architecture"]
        evaluator = self.evaluator if len(self.candidates) == 1 else nni.load(nni.dump(self.evaluator))
        place = {} if self.directory is not None else {"place": os.environ["NNI_OUTPUT_DIR"]}
        folder = Path(self.directory or place["place"]) / spec["id"]
        return train_candidate(own.executable_model(), evaluator, self.data, spec, folder, place)


def train_candidate(
    model: torch.nn.Module,
    evaluator: Evaluator,
    data: pl.LightningDataModule,
    spec: dict[str, Any],
    directory: Path,
    more: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Train, predict, write; what to report, ``more`` included. ``metrics.json`` is written last, or ``rung.json``
    where it will go on."""
    about = {name: value for name, value in spec.items() if name not in ("architecture", "until")}
    until = spec["until"]
    before = (None if until is None else read_rung(directory)) or {}
    if until is not None and before.get("epoch", 0) >= until:  # by a trial that ended before it could say so
        return _report(about, before, more)
    if about["warm_start"] and not before:
        model.load_state_dict(load_file(directory / INITIAL))
    start, cpu, goes_on = time.perf_counter(), time.process_time(), False
    with TrialReports(about["id"], more) as reports:
        if until is None:
            evaluator.evaluate(model)
        else:
            epochs = evaluator.trainer.max_epochs
            pause, save = train_until(evaluator, model, directory, until)
            goes_on = pause.own_end and until < epochs
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    validation, labels = predict(model, data.val_dataloader())
    if not np.isfinite(validation).all():
        raise RuntimeError(f"candidate {about['id']} diverged: its validation probabilities are not finite")
    summary = metrics.summary(validation, labels)
    history = [*(row["accuracy"] for row in before.get("history", ())), *reports.intermediate]
    record = {
        **about,
        "status": "trained",
        "default": summary["accuracy"] if reports.final is None else reports.final,
        "validation": summary,
        "history": [{"epoch": epoch, "accuracy": value} for epoch, value in enumerate(history)],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": before.get("seconds", 0.0) + seconds,
        "cpu_seconds": before.get("cpu_seconds", 0.0) + cpu_seconds,
    }
    if until is not None:
        record["rungs"] = [*before.get("rungs", ()), {"epoch": until, "nll": summary["nll"]}]
    if goes_on:
        save()
        write_rung(directory, {**record, "status": "waiting", "epoch": until})
    else:
        test, _ = predict(model, data.test_dataloader())  # kept for the report; its labels are not looked at here
        weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
        write_tensors(directory / "weights.safetensors", weights)
        write_arrays(directory / "predictions.npz", {"val": validation, "test": test})
        image = next(iter(data.val_dataloader()))[0][:1].to(next(model.parameters()).device)
        record |= {"flops": count_flops(model, image), "latency_ms": measure_latency(model, image)}
        write_json(directory / "metrics.json", record)
        forget_rung(directory)
    (directory / INITIAL).unlink(missing_ok=True)
    return _report(about, record, more)


def _report(about: dict[str, Any], record: dict[str, Any], more: Mapping[str, str] | None) -> dict[str, Any]:
    """What a trial tells NNI of a candidate."""
    lam = {} if about["lam"] is None else {"lam": round(about["lam"], 4)}
    return {
        "default": record["default"],
        "candidate": about["id"],
        "shared_edges": about["shared_edges"],
        "nll": record["validation"]["nll"],
        "ece": record["validation"]["ece"],
        "seconds": round(record["seconds"], 2),
        "architecture": about["text"],
        **lam,
        **(more or {}),
    }


CandidateEvaluator = nni.trace(_CandidateEvaluator)


def reached(directory: Path, until: int | None) -> dict[str, Any] | None:
    """What a trial wrote of a candidate that is trained, or at least to epoch ``until``; None when it is not."""
    path = directory / "metrics.json"
    found = read_json(path) if path.exists() else {}
    if found.get("status") == "trained":
        return found
    rung = None if until is None else read_rung(directory)
    return rung if rung is not None and rung["epoch"] >= until else None


@torch.no_grad()
def predict(model: torch.nn.Module, batches: Any) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities ``N x C`` (float32) and labels ``N`` over batches of (images, labels), in evaluation mode."""
    model.eval()
    device = next(model.parameters()).device
    probabilities, labels = [], []
    for images, targets in batches:
        probabilities.append(model(images.to(device)).float().softmax(-1).cpu().numpy())
        labels.append(targets.numpy())
    return np.concatenate(probabilities), np.concatenate(labels)


class Proposals(Protocol):
    """Candidates that are decided on while others are trained."""

    @property
    def left(self) -> int:
        """How many are still to come."""

    def ready(self, done: Set[str]) -> bool:
        """Whether the next one can be decided on, with these candidates trained or failed."""

    def propose(self) -> TrialSpec:
        """The next one."""


class CandidateTraining(Strategy):
    """Multi-trial NNI strategy that trains a given list of candidates, each with the user's evaluator.

    NNI's manager hands out parameters in the order they were submitted to whichever trial asks first, so with two
    trials starting at once each may train the other's architecture under its own name. Here the next candidate is
    submitted only when the one before has reported, and only the id inside a report says whose result it is.

    Args:
        candidates: What to train.
        evaluator: The user's evaluator; it and its parts must be wrapped by ``nni.trace``, as NNI's own are.
        data: Data module with ``val_dataloader()`` and ``test_dataloader()``, wrapped by ``nni.trace`` too.
        directory: Folder that gets one folder per candidate.
        concurrency: Trials at once.
        per_trial: Candidates that one trial trains, one after the other.
        threads: Threads of torch in each trial.
        on_progress: Called after each epoch and at each end with (candidate id, validation accuracy or None, done or
            not).
        proposals: Candidates to train after those, each in a trial of its own.

    Raises:
        InputError: Something that a trial process could not rebuild.
    """

    def __init__(
        self,
        candidates: Sequence[TrialSpec],
        evaluator: Evaluator,
        data: pl.LightningDataModule,
        directory: str | Path,
        concurrency: int = 1,
        per_trial: int = 1,
        threads: int = 1,
        on_progress: Callable[[str, float | None, bool], None] | None = None,
        proposals: Proposals | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("concurrency", concurrency), ("per_trial", per_trial)):
            if value < 1:
                raise InputError(name, value, "a whole number of at least 1")
        for name, value in (("evaluator", evaluator), ("data", data)):
            if not is_traceable(value):
                raise InputError(
                    name,
                    type(value).__name__,
                    "an object of a class wrapped by nni.trace, so that trials can rebuild it",
                )
        self.candidates = list(candidates)
        self.evaluator, self.data = evaluator, data
        self.directory = Path(directory).resolve()
        self.concurrency, self.per_trial = concurrency, per_trial
        self.threads, self.on_progress, self.proposals = threads, on_progress, proposals
        self.results: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, str] = {}
        self._until = {spec.id: spec.until for spec in self.candidates}
        self._models: dict[str, ExecutableModelSpace] = {}  # strong references: the engine keeps weak ones
        self._claimed: set[str] = set()
        self._ended: set[str] = set()
        self._errors: dict[str, str] = {}
        self._changed = threading.Condition()

    @property
    def trial_directory(self) -> str | None:
        """Where trials write: a path, or None for their own output folders."""
        return str(self.directory)

    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the run."""
        return self._status.value == "interrupted"

    def _run(self) -> None:
        handlers = {
            ModelEventType.IntermediateMetric: self._on_intermediate,
            ModelEventType.FinalMetric: self._on_final,
            ModelEventType.TrainingEnd: self._on_end,
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
        self._until[spec.id] = spec.until
        return spec

    def _submit(self, specs: Sequence[TrialSpec]) -> None:
        for spec in specs:
            write_json(self.directory / spec.id / "architecture.json", spec.architecture)
        model = self.model_space.freeze(specs[0].architecture)
        about = [asdict(spec) for spec in specs]
        model.evaluator = CandidateEvaluator(self.evaluator, self.data, about, self.trial_directory, self.threads)
        self._models.update({spec.id: model for spec in specs})
        self.engine.submit_models(model)

    def _trials(self) -> int:
        return len({id(self._models[candidate]) for candidate in self._running()})

    def _running(self) -> set[str]:
        return set(self._models) - set(self.results) - set(self.failed)

    def _wait(self, ready: Callable[[], bool]) -> None:
        """Until ``ready``; looks at the manager now and then, because a dead one sends no event."""
        last_look = time.monotonic()
        while True:
            self._collect()
            with self._changed:
                if ready():
                    return
                self._changed.wait(0.2)
                if time.monotonic() - last_look > 5:
                    self.engine.budget_available()  # raises ConnectionError when the manager is gone
                    last_look = time.monotonic()
                    self._settle_silent()

    def _collect(self) -> None:
        """Bring what has finished into the run folder, where trials do not write there; without the lock."""

    def _settle_silent(self) -> None:
        """Trials that ended without a report: the folder knows whether they finished (a report can be lost, a file
        not)."""
        for candidate in self._running() & self._ended:
            found = reached(self.directory / candidate, self._until[candidate])
            if found is not None:
                self.results[candidate] = found
            else:
                self.failed[candidate] = self._errors.get(candidate, NO_REASON)
            self._tell(candidate, None, True)

    # ---- events, on the engine's thread ---------------------------------------------------------------------------

    def _candidates_of(self, model: ExecutableModelSpace) -> list[str]:
        return [name for name, own in self._models.items() if own is model]

    def _reporter(self, event: IntermediateMetricEvent | FinalMetricEvent) -> str | None:
        """Whose report it is; all candidates of its trial have begun."""
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
        self.failed.pop(candidate, None)  # its own trial died, but another one took its parameters
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
        """Nothing: what is finished is in the run folder."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to load; see :meth:`state_dict`."""
