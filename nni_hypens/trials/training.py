"""What a trial does: train candidates with the user's evaluator, and write the files that the ensemble needs.

A trial trains one architecture from scratch, or goes on with the weights of an earlier candidate. It writes its weights
and its probabilities on validation and test images into the run folder, and reports a dict whose ``default`` is the
validation metric. ``metrics.json`` is written last: a folder with it holds a finished candidate.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nni
import numpy as np
import torch
from nni.nas.evaluator import Evaluator
from nni.nas.space import ExecutableModelSpace

from nni_hypens import metrics
from nni_hypens._nni import TrialReports, quiet_training
from nni_hypens.data.checks import check_data
from nni_hypens.data.protocols import LabelledData, Loaders
from nni_hypens.errors import raised
from nni_hypens.space.architecture import EdgeKey, Sample
from nni_hypens.space.cost import count_flops, measure_latency
from nni_hypens.trials.evaluators import keeps_best
from nni_hypens.trials.parts import rebuilt
from nni_hypens.utils.files import read_object, write_json
from nni_hypens.utils.npz import write_arrays
from nni_hypens.utils.run_files import CandidateFiles
from nni_hypens.utils.seeds import Purpose, derive_seed, seed_everything
from nni_hypens.utils.tensors import read_tensors, write_tensors


@dataclass(frozen=True)
class TrialSpec:
    """One candidate to train.

    Args:
        id: Name of its folder.
        architecture: The NNI sample.
        lam: Requested shared edges, or None.
        shared_edges: Edges in common with the base.
        seed: Seed of its initial weights and of all draws in its training.
        text: The architecture in one line, for NNI's web UI.
        warm_start: Whether its initial weights are those in ``initial.safetensors`` in its folder.
        parent: The candidate whose training it goes on with, from that one's weights; None for new weights.
    """

    id: str
    architecture: Sample
    lam: float | None
    shared_edges: int
    seed: int
    text: str = ""
    warm_start: bool = False
    parent: str | None = None


class _CandidateEvaluator(Evaluator):  # type: ignore[misc]
    """Trains one or more candidates with the user's evaluator inside a trial, and writes their files.

    A trial takes some seconds to start, mostly imports, so several small candidates in one trial are cheaper. The
    results are the same. If one fails, the others are still trained.

    Args:
        evaluator: The user's evaluator, traced.
        data: The user's data module, traced: ``val_dataloader()`` and ``test_dataloader()`` give (images, labels) in
            order.
        candidates: Fields of a `TrialSpec`, one dict for each candidate; the first is the trial's own sample.
        directory: Absolute path of the folder that holds a folder for each candidate; None for the trial's output
            folder, if the run folder is not visible. Reports then contain its path as ``place``.
        threads: Threads of torch in the trial; fixed, because the last digits of results depend on it.
        checksum: Checksum of the data of the run, by `nni_hypens.data.checks.check_data`. A trial reads the data
            itself: on another machine, or after a file has changed, they may be others. None for no check.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        data: LabelledData,
        candidates: list[dict[str, Any]],
        directory: str | None,
        threads: int = 1,
        checksum: str | None = None,
    ) -> None:
        self.evaluator = evaluator
        self.checksum = checksum
        self.data = data
        self.candidates = candidates
        self.directory = directory
        self.threads = threads

    def _execute(self, model: ExecutableModelSpace) -> dict[str, Any] | None:
        self._begin()
        last, first_error = None, None
        found = None
        for spec in self.candidates:
            try:
                if last is not None:  # NNI takes one final metric from a trial: report the others as intermediate
                    nni.report_intermediate_result({**last, "finished": 1})
                last = None
                if spec is self.candidates[0]:
                    found = self._checksum_here()
                self._compare(found)
                last = self._train(model, spec)
            except Exception as error:
                first_error = first_error or error
                told = {"default": 0.0, "candidate": spec["id"], "error": raised(error, 500)}
                nni.report_intermediate_result(told)
        if last is not None:
            nni.report_final_result(last)
        if first_error is not None:
            raise first_error
        return last

    def train_alone(self, model: ExecutableModelSpace) -> dict[str, Any]:
        """Train the only candidate in a worker process, which passes on reports itself; returns the last report."""
        self._begin()
        (spec,) = self.candidates
        self._compare(self._checksum_here())
        return self._train(model, spec)

    def _begin(self) -> None:
        torch.set_num_threads(self.threads)
        quiet_training()

    def _checksum_here(self) -> str | None:
        """Checksum of the data as this process reads them; None if it is not to be compared."""
        return None if self.checksum is None else check_data(self.data)

    def _compare(self, found: str | None) -> None:
        if found != self.checksum:
            got = "data: got other images or labels in the trial than at the start of the run"
            raise RuntimeError(f"{got}; expected the same in each process: fix the seed of a random split")

    def _train(self, model: ExecutableModelSpace, spec: dict[str, Any]) -> dict[str, Any]:
        # seed before the network is built, so that its initial weights depend on the seed
        seed_everything(spec["seed"])
        own = copy.copy(model)
        own.sample = spec["architecture"]
        evaluator = self.evaluator if len(self.candidates) == 1 else rebuilt(self.evaluator)
        place = {} if self.directory is not None else {"place": os.environ["NNI_OUTPUT_DIR"]}
        folder = Path(self.directory or place["place"]) / spec["id"]
        return train_candidate(own.executable_model(), evaluator, self.data, spec, folder, place)


def train_candidate(
    model: torch.nn.Module,
    evaluator: Evaluator,
    data: Loaders,
    spec: dict[str, Any],
    directory: Path,
    more: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Train, predict and write one candidate; returns its report, with ``more``. ``metrics.json`` is written last."""
    about = {name: value for name, value in spec.items() if name != "architecture"}
    files = CandidateFiles(directory)
    if about["parent"] is not None:
        model.load_state_dict(read_tensors(CandidateFiles(directory.parent / about["parent"]).weights))
    elif about["warm_start"]:
        model.load_state_dict(read_tensors(files.initial_weights))
    start, cpu = time.perf_counter(), time.process_time()
    with TrialReports(about["id"], more) as reports:
        evaluator.evaluate(model)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    validation, labels = predict(model, data.val_dataloader())
    if not np.isfinite(validation).all():
        raise RuntimeError(f"candidate {about['id']} diverged: its validation probabilities are not finite")
    summary = metrics.summary(validation, labels)
    record = {
        **about,
        "status": "trained",
        # the evaluator's last report is of the last epoch, whose weights may not be those that were kept
        "default": summary["accuracy"] if reports.final is None or keeps_best(evaluator) else reports.final,
        "validation": summary,
        "history": [{"epoch": epoch, "accuracy": value} for epoch, value in enumerate(reports.intermediate)],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
    }
    test, _ = predict(model, data.test_dataloader())  # kept for the report; its labels are not used here
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_tensors(files.weights, weights)
    write_arrays(files.predictions, {"val": validation, "test": test})
    image = next(iter(data.val_dataloader()))[0][:1].to(next(model.parameters()).device)
    record |= {"flops": count_flops(model, image), "latency_ms": measure_latency(model, image)}
    write_json(files.metrics, record)
    files.initial_weights.unlink(missing_ok=True)
    return _report(about, record, more)


def _report(about: dict[str, Any], record: dict[str, Any], more: Mapping[str, str] | None) -> dict[str, Any]:
    """The report of a candidate to NNI."""
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


def network_seed(seed: int, architecture: EdgeKey, replica: int) -> int:
    """Seed of a network's initial weights and of its training, the same in a run and in a comparison.

    Args:
        seed: The run seed.
        architecture: Key of the architecture, by `EdgeStructure.key`.
        replica: How many networks of this architecture there are before it.
    """
    return derive_seed(seed, Purpose.NETWORK, str(architecture), replica)


def further_seed(seed: int) -> int:
    """Seed with which a network is trained further, the same in a run and in a comparison.

    Args:
        seed: The seed with which it was trained.
    """
    return derive_seed(seed, Purpose.FURTHER)


def trained_record(directory: Path) -> dict[str, Any] | None:
    """The record of a candidate that is trained; None if it is not."""
    path = CandidateFiles(directory).metrics
    record = read_object(path) if path.exists() else {}
    return record if record.get("status") == "trained" else None


@torch.no_grad()
def predict(model: torch.nn.Module, batches: Any) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities ``N x C`` (float32) and labels ``N`` over batches of (images, labels), in evaluation mode."""
    model.eval()
    device = next(model.parameters()).device
    probabilities, labels = [], []
    for images, targets in batches:
        probabilities.append(model(images.to(device)).float().softmax(-1).cpu().numpy())
        labels.append(targets.cpu().numpy())
    return np.concatenate(probabilities), np.concatenate(labels)
