"""Candidates as trials: what a trial writes and reports, and what becomes of failures (real managers: end to end)."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import nni
import numpy as np
import pytest
import torch
from nni.nas.execution.engine import ExecutionEngine
from nni.nas.execution.event import FinalMetricEvent, IntermediateMetricEvent, ModelEventType, TrainingEndEvent
from nni.nas.space import ModelStatus, SimplifiedModelSpace
from nni.runtime.trial_command_channel import get_default_trial_command_channel, set_default_trial_command_channel
from safetensors.torch import load_file

from nni_hypens import ImageData, InputError, image_evaluator
from nni_hypens._compat import TrialReports
from nni_hypens.architecture import EdgeStructure
from nni_hypens.budget import Budget
from nni_hypens.files import write_json, write_tensors
from nni_hypens.plan import fixed_network
from nni_hypens.training import CandidateEvaluator, CandidateTraining, TrialSpec, predict
from search_spaces import OneCell


@pytest.fixture(scope="module")
def data() -> ImageData:
    return ImageData("digits", train_size=128, validation_size=64, test_size=32)


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


@pytest.fixture
def channel() -> Any:
    before, own = get_default_trial_command_channel(), Channel()
    set_default_trial_command_channel(own)
    nni.get_next_parameter()
    yield own
    set_default_trial_command_channel(before)
    nni.trial._params = None


def run_trial(data: ImageData, folder: Path, *specs: TrialSpec, epochs: int = 2) -> dict[str, Any]:
    model = SimplifiedModelSpace.from_model(space()).freeze(specs[0].architecture)
    about = [asdict(spec) for spec in specs]
    model.evaluator = CandidateEvaluator(image_evaluator(data, 10, epochs), data, about, str(folder))
    travelled = nni.load(nni.dump(model))  # as it comes out of NNI's queue in another process
    return travelled.execute()


def test_a_trial_writes_and_reports(data: ImageData, tmp_path: Path, channel: Channel) -> None:
    spec = specs(2)[1]
    final = run_trial(data, tmp_path, spec)
    kinds = [kind for kind, _ in channel.sent]
    assert kinds == ["PERIODICAL", "PERIODICAL", "FINAL"]
    assert all(value["candidate"] == "c01" and 0 <= value["default"] <= 1 for _, value in channel.sent)
    assert channel.sent[-1][1] == final and final["lam"] == 1.0 and final["shared_edges"] == 1
    assert final["architecture"] == spec.text
    record = json.loads((tmp_path / "c01" / "metrics.json").read_text())
    assert record["status"] == "trained" and [row["epoch"] for row in record["history"]] == [0, 1]
    assert record["default"] == final["default"] == pytest.approx(record["validation"]["accuracy"], abs=1e-6)
    counted = Budget(space(), input_shape=(1, 8, 8)).cost(spec.architecture)
    assert (record["parameters"], record["flops"]) == counted and 0 < record["latency_ms"] < 1000
    network = fixed_network(space(), spec.architecture)
    network.load_state_dict(load_file(tmp_path / "c01" / "weights.safetensors"))
    with np.load(tmp_path / "c01" / "predictions.npz") as predictions:
        validation, labels = predict(network, data.val_dataloader())
        assert np.allclose(predictions["val"], validation, atol=1e-6) and (labels == data.labels("validation")).all()
        assert predictions["test"].shape == (32, 10)


def test_a_trial_depends_on_its_seed_alone(data: ImageData, tmp_path: Path, channel: Channel) -> None:
    spec = specs(1)[0]
    for folder, disturbance in (("a", 1), ("b", 2)):
        torch.manual_seed(disturbance)
        run_trial(data, tmp_path / folder, spec)
    first, second = (load_file(tmp_path / folder / "c00" / "weights.safetensors") for folder in ("a", "b"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_several_in_one_trial_are_as_each_alone(data: ImageData, tmp_path: Path, channel: Channel) -> None:
    """Weights, predictions and metrics but times; each is told of by its id, the last by the trial's final metric."""
    three = specs(3)
    for spec in three:
        run_trial(data, tmp_path / "alone", spec)
    channel.sent.clear()
    final = run_trial(data, tmp_path / "together", *three)
    for spec in three:
        alone, together = (tmp_path / folder / spec.id for folder in ("alone", "together"))
        first, second = load_file(alone / "weights.safetensors"), load_file(together / "weights.safetensors")
        assert all(torch.equal(first[name], second[name]) for name in first)
        with np.load(alone / "predictions.npz") as one, np.load(together / "predictions.npz") as other:
            assert (one["val"] == other["val"]).all() and (one["test"] == other["test"]).all()
        records = [json.loads((folder / "metrics.json").read_text()) for folder in (alone, together)]
        times = dict.fromkeys(("seconds", "cpu_seconds", "latency_ms"), 0)
        assert {**records[0], **times} == {**records[1], **times}
    finished = [value["candidate"] for kind, value in channel.sent if kind == "PERIODICAL" and "finished" in value]
    assert finished == ["c00", "c01"] and final["candidate"] == "c02"
    assert [kind for kind, _ in channel.sent] == ["PERIODICAL"] * 8 + ["FINAL"]


def test_a_warm_start_begins_with_the_weights_it_is_given(data: ImageData, tmp_path: Path, channel: Channel) -> None:
    spec = replace(specs(1)[0], warm_start=True)
    torch.manual_seed(7)
    network = fixed_network(space(), spec.architecture)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    given = {name: value.clone() for name, value in network.state_dict().items()}
    write_tensors(tmp_path / "c00" / "initial.safetensors", given)
    model = SimplifiedModelSpace.from_model(space()).freeze(spec.architecture)
    evaluator = image_evaluator(data, 10, 1, learning_rate=1e-12)
    model.evaluator = CandidateEvaluator(evaluator, data, [asdict(spec)], str(tmp_path))
    nni.load(nni.dump(model)).execute()
    after = load_file(tmp_path / "c00" / "weights.safetensors")
    assert all(torch.allclose(after[name], given[name], atol=1e-6) for name, _ in network.named_parameters())
    assert not (tmp_path / "c00" / "initial.safetensors").exists()


def test_one_that_fails_does_not_stop_those_behind_it(
    data: ImageData, tmp_path: Path, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(model: Any, evaluator: Any, data: Any, spec: dict[str, Any], directory: Path, *place: Any) -> Any:
        if spec["id"] == "c01":
            raise ValueError("too hot")
        return {"default": 0.5, "candidate": spec["id"]}

    monkeypatch.setattr("nni_hypens.training.train_candidate", fail)
    with pytest.raises(ValueError, match="too hot"):
        run_trial(data, tmp_path, *specs(3))
    assert channel.sent == [
        ("PERIODICAL", {"default": 0.5, "candidate": "c00", "finished": 1}),
        ("PERIODICAL", {"default": 0.0, "candidate": "c01", "error": "ValueError: too hot"}),
        ("FINAL", {"default": 0.5, "candidate": "c02"}),
    ]


def test_divergence_is_a_failure(data: ImageData, tmp_path: Path, channel: Channel) -> None:
    spec = specs(1)[0]
    model = SimplifiedModelSpace.from_model(space()).freeze(spec.architecture)
    evaluator = image_evaluator(data, 10, 1, learning_rate=1e30)
    model.evaluator = CandidateEvaluator(evaluator, data, [asdict(spec)], str(tmp_path))
    with pytest.raises(RuntimeError, match="c00 diverged"):
        model.execute()
    assert not (tmp_path / "c00" / "metrics.json").exists()
    kind, value = channel.sent[-1]  # a trial says itself why it fails: NNI's files do not say whose they are
    assert kind == "PERIODICAL" and value["candidate"] == "c00" and "c00 diverged" in value["error"]


def test_reports_keep_dicts_and_hold_the_final_back(channel: Channel) -> None:
    with TrialReports("c07") as reports:
        nni.report_intermediate_result({"default": 0.5, "loss": 2.0})
        nni.report_intermediate_result(0.6)
        nni.report_final_result(0.7)
    assert channel.sent == [
        ("PERIODICAL", {"default": 0.5, "loss": 2.0, "candidate": "c07"}),
        ("PERIODICAL", {"default": 0.6, "candidate": "c07"}),
    ]
    assert reports.final == 0.7 and reports.intermediate == [0.5, 0.6]
    assert get_default_trial_command_channel() is channel


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


@pytest.mark.parametrize("concurrency", [1, 2, 4])
def test_failures_are_marked_and_the_rest_goes_on(data: ImageData, tmp_path: Path, concurrency: int) -> None:
    told: list[tuple[str, float | None, bool]] = []
    strategy = CandidateTraining(
        specs(5), image_evaluator(data, 10, 1), data, tmp_path, concurrency, on_progress=lambda *what: told.append(what)
    )
    engine = Engine(tmp_path.resolve(), {"c01": "fails", "c03": "silent"})
    strategy(SimplifiedModelSpace.from_model(space()), engine)
    assert engine.order == [["c00"], ["c01"], ["c02"], ["c03"], ["c04"]] and engine.most <= concurrency
    assert set(strategy.results) == {"c00", "c02", "c03", "c04"} and set(strategy.failed) == {"c01"}
    assert all(strategy.results[name].get("candidate", name) == name for name in strategy.results)
    assert sorted(name for name, _, done in told if done) == ["c00", "c01", "c02", "c03", "c04"]
    assert not engine._callbacks[ModelEventType.FinalMetric]
    assert json.loads((tmp_path / "c00" / "architecture.json").read_text()) == specs(1)[0].architecture


@pytest.mark.parametrize("concurrency", [1, 2])
def test_packs_lose_only_what_failed_in_them(data: ImageData, tmp_path: Path, concurrency: int) -> None:
    """One raises, one ends in silence, and one trial is killed between its candidates."""
    strategy = CandidateTraining(specs(7), image_evaluator(data, 10, 1), data, tmp_path, concurrency, per_trial=3)
    engine = Engine(tmp_path.resolve(), {"c01": "fails", "c02": "silent", "c04": "killed"})
    strategy(SimplifiedModelSpace.from_model(space()), engine)
    assert engine.order == [["c00", "c01", "c02"], ["c03", "c04", "c05"], ["c06"]] and engine.most <= concurrency
    assert set(strategy.results) == {"c00", "c02", "c03", "c06"}
    assert set(strategy.failed) == {"c01", "c04", "c05"} and strategy.failed["c01"] == "c01 burns"


def test_what_trials_cannot_rebuild_is_refused(data: ImageData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^data: .*nni.trace"):
        CandidateTraining([], image_evaluator(data, 10, 1), object(), tmp_path)
    with pytest.raises(InputError, match="^concurrency"):
        CandidateTraining([], image_evaluator(data, 10, 1), data, tmp_path, concurrency=0)
    with pytest.raises(InputError, match="^per_trial"):
        CandidateTraining([], image_evaluator(data, 10, 1), data, tmp_path, per_trial=0)


def test_a_trial_that_fails_says_why(
    data: ImageData, tmp_path: Path, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a report, which carries the candidate's id."""

    def fail(*arguments: Any) -> Any:
        raise ValueError("too hot")

    monkeypatch.setattr("nni_hypens.training.train_candidate", fail)
    with pytest.raises(ValueError, match="too hot"):
        run_trial(data, tmp_path, specs(1)[0])
    assert channel.sent == [("PERIODICAL", {"default": 0.0, "candidate": "c00", "error": "ValueError: too hot"})]


def test_a_trial_elsewhere_writes_into_its_own_folder(
    data: ImageData, tmp_path: Path, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NNI_OUTPUT_DIR", str(tmp_path / "output"))
    spec = specs(1)[0]
    model = SimplifiedModelSpace.from_model(space()).freeze(spec.architecture)
    model.evaluator = CandidateEvaluator(image_evaluator(data, 10, 1), data, [asdict(spec)], None)
    final = nni.load(nni.dump(model)).execute()
    assert (tmp_path / "output" / "c00" / "metrics.json").exists()
    assert final["place"] == str(tmp_path / "output")
    assert all(value["place"] == final["place"] for _, value in channel.sent) and len(channel.sent) == 2
