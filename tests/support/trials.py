"""Stand-ins for NNI's side of a trial, and small candidates to train."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from nni.nas.execution.engine import ExecutionEngine
from nni.nas.execution.event import FinalMetricEvent, IntermediateMetricEvent, TrainingEndEvent
from nni.nas.space import ModelStatus

from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.trials.training import TrialSpec
from nni_hypens.utils.files import write_json
from search_spaces import OneCell


def specs(n: int) -> list[TrialSpec]:
    structure = EdgeStructure.from_space(space())
    names = list(structure.table.options["node_0/op_0"])
    found = []
    for index in range(n):
        sample = {label: options[0] for label, options in structure.table.options.items()}
        sample = structure.table.validate({**sample, "node_0/op_0": names[index]})
        found.append(TrialSpec(f"c{index:02d}", sample, float(index), index, index, structure.describe(sample)))
    return found


def space() -> OneCell:
    return OneCell(channels=2, in_channels=1)


class Channel:
    """Stands for NNI's side of a trial."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []

    def receive_parameter(self) -> Any:
        return {"parameter_id": 0, "parameters": {}}

    def send_metric(self, type: str, parameter_id: Any, trial_job_id: str, sequence: int, value: Any) -> None:  # noqa: A002
        self.sent.append((type, value))


class Engine(ExecutionEngine):
    """Plays NNI's engine: each submitted candidate succeeds, fails, or ends without a word, on a thread of its own."""

    def __init__(self, folder: Path, fates: dict[str, str], swap_ends: bool = False) -> None:
        super().__init__()
        self.folder, self.fates, self.order, self.active, self.most = folder, fates, [], 0, 0

    def submit_models(self, *models: Any) -> None:
        for model in models:
            self.active += 1
            self.most = max(self.most, self.active)
            self.order.append([spec["id"] for spec in model.evaluator.candidates])
            threading.Thread(target=self._play, args=(model,), daemon=True).start()

    def _play(self, model: Any) -> None:
        names = [spec["id"] for spec in model.evaluator.candidates]
        last, failed = None, False
        for name in names:
            fate = self.fates.get(name, "succeeds")
            self.dispatch_model_event(IntermediateMetricEvent(model, {"default": 0.1, "candidate": name}))
            threading.Event().wait(0.05)
            if fate in ("succeeds", "silent"):
                write_json(self.folder / name / "metrics.json", {"id": name, "status": "trained"})
            if fate == "killed":
                break
            if last is not None:
                self.dispatch_model_event(IntermediateMetricEvent(model, {**last, "finished": 1}))
            last = {"default": 0.9, "candidate": name} if fate == "succeeds" else None
            if fate == "fails":
                failed = True
                report = {"default": 0.0, "candidate": name, "error": f"{name} burns"}
                self.dispatch_model_event(IntermediateMetricEvent(model, report))
        self.active -= 1
        killed = "killed" in map(self.fates.get, names)
        if last is not None and not killed:
            self.dispatch_model_event(FinalMetricEvent(model, last))
        done = last is not None and not failed and not killed
        self.dispatch_model_event(TrainingEndEvent(model, ModelStatus.Trained if done else ModelStatus.Failed))

    def default_callback(self, event: Any) -> None:
        pass

    def budget_available(self) -> bool:
        return True
