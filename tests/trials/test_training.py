"""Candidates as trials: what a trial writes and reports, and what becomes of failures (real managers: end to end)."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import nni
import numpy as np
import pytest
import torch
from nni.nas.space import SimplifiedModelSpace
from nni.runtime.trial_command_channel import get_default_trial_command_channel
from safetensors.torch import load_file

from nni_hypens import ImageData, image_evaluator
from nni_hypens._nni import TrialReports
from nni_hypens.data.checks import check_data
from nni_hypens.space.build import fixed_network
from nni_hypens.space.cost import Budget
from nni_hypens.trials.training import CandidateEvaluator, TrialSpec, further_seed, predict
from nni_hypens.utils.tensors import write_tensors
from tests.support.trials import Channel, space, specs


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


def test_one_that_goes_on_begins_with_the_weights_of_its_parent(
    data: ImageData, tmp_path: Path, channel: Channel
) -> None:
    first = specs(1)[0]
    run_trial(data, tmp_path, first, epochs=1)
    before = load_file(tmp_path / "c00" / "weights.safetensors")
    second = replace(first, id="c01", seed=further_seed(first.seed), parent="c00")
    model = SimplifiedModelSpace.from_model(space()).freeze(second.architecture)
    evaluator = image_evaluator(data, 10, 1, learning_rate=1e-12)
    model.evaluator = CandidateEvaluator(evaluator, data, [asdict(second)], str(tmp_path))
    nni.load(nni.dump(model)).execute()
    after = load_file(tmp_path / "c01" / "weights.safetensors")
    learnt = [name for name, _ in fixed_network(space(), first.architecture).named_parameters()]
    assert all(torch.allclose(after[name], before[name], atol=1e-6) for name in learnt)
    assert json.loads((tmp_path / "c01" / "metrics.json").read_text())["parent"] == "c00"
    kept = load_file(tmp_path / "c00" / "weights.safetensors")
    assert all(torch.equal(kept[name], before[name]) for name in before)  # training on does not change the parent
    assert second.seed != first.seed


def test_one_that_fails_does_not_stop_those_behind_it(
    data: ImageData, tmp_path: Path, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(model: Any, evaluator: Any, data: Any, spec: dict[str, Any], directory: Path, *place: Any) -> Any:
        if spec["id"] == "c01":
            raise ValueError("too hot")
        return {"default": 0.5, "candidate": spec["id"]}

    monkeypatch.setattr("nni_hypens.trials.training.train_candidate", fail)
    with pytest.raises(ValueError, match="too hot"):
        run_trial(data, tmp_path, *specs(3))
    assert channel.sent == [
        ("PERIODICAL", {"default": 0.5, "candidate": "c00", "finished": 1}),
        ("PERIODICAL", {"default": 0.0, "candidate": "c01", "error": "ValueError: too hot"}),
        ("FINAL", {"default": 0.5, "candidate": "c02"}),
    ]


def test_a_trial_that_reads_other_data_than_the_run_fails(data: ImageData, tmp_path: Path, channel: Channel) -> None:
    about = [asdict(spec) for spec in specs(2)]

    def trial(known: str) -> None:
        model = SimplifiedModelSpace.from_model(space()).freeze(about[0]["architecture"])
        model.evaluator = CandidateEvaluator(image_evaluator(data, 10, 1), data, about, str(tmp_path), checksum=known)
        nni.load(nni.dump(model)).execute()

    with pytest.raises(RuntimeError, match="other images or labels"):
        trial("0" * 64)
    assert ["other images" in value["error"] for _, value in channel.sent] == [True, True]
    assert not list(tmp_path.rglob("metrics.json"))
    trial(check_data(data))
    assert len(list(tmp_path.rglob("metrics.json"))) == 2


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


def test_a_trial_that_fails_says_why(
    data: ImageData, tmp_path: Path, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a report, which carries the candidate's id."""

    def fail(*arguments: Any) -> Any:
        raise ValueError("too hot")

    monkeypatch.setattr("nni_hypens.trials.training.train_candidate", fail)
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
