"""The select stage of a run: settings reach the method, and its weights reach the ensemble."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nni_hypens import InputError, metrics
from nni_hypens.ensemble.calibration import Temperatures, apply_temperature, fit_temperature
from nni_hypens.ensemble.conformal import Conformal, fit_conformal
from nni_hypens.run.candidate import Candidate
from nni_hypens.run.folder import RunFolder
from nni_hypens.run.request import Request
from nni_hypens.run.select_stage import _trained_network, select_stage
from nni_hypens.run.settings import Settings
from nni_hypens.selection import METHODS, OBJECTIVES, select
from nni_hypens.space.build import fixed_network
from nni_hypens.utils.files import write_json
from nni_hypens.utils.npz import write_arrays
from nni_hypens.utils.tensors import write_tensors
from search_spaces import OneCell


def stage(
    out: Path,
    probs: np.ndarray,
    labels: np.ndarray,
    config: Settings,
    latency: list[float] | None = None,
    request: Request | None = None,
) -> dict[str, Any]:
    """Run the stage over predictions on disk, with an ensemble that only records what it is made of."""
    made: dict[str, Any] = {}
    folder = RunFolder(out)
    names = [f"c{i}" for i in range(len(probs))]
    folder.write_candidates([Candidate(name, None, 0, "draw", 1.0, {}, (), "") for name in names])
    for i, (name, values) in enumerate(zip(names, probs, strict=True)):
        write_arrays(folder.candidate(name).predictions, {"val": values, "test": values})
        costs = {"parameters": 100 * (i + 1), "flops": 10, "latency_ms": latency[i] if latency else 0.5}
        write_json(folder.candidate(name).metrics, {"status": "trained", **costs})

    def build(
        plan: Any,
        folder: RunFolder,
        members: list[str],
        weights: list[float],
        temperatures: Temperatures,
        conformal: Conformal,
    ) -> SimpleNamespace:
        made.update(members=members, weights=weights, temperature=temperatures.ensemble, conformal=conformal)
        return SimpleNamespace(save=lambda folder: made.update(folder=folder))

    plan: Any = SimpleNamespace(
        settings=config,
        selection_options=config.selection_options(),
        limits=config.total_limits,
        data=SimpleNamespace(labels=lambda split: labels),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nni_hypens.run.select_stage.build_ensemble", build)
        select_stage(plan, folder, request)
    return made


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_and_objective(tmp_path: Path, method: str, objective: str) -> None:
    rng = np.random.default_rng(3)
    probs, labels = rng.dirichlet(np.ones(4), size=(6, 80)), rng.integers(0, 4, 80)
    steps = 7 if method == "greedy_with_replacement" else None
    config = Settings(selection=method, objective=objective, selection_steps=steps, candidates=6)
    config.check()
    made = stage(tmp_path, probs, labels, config)
    chosen = select(method, probs, labels, **{"size": 3, **config.selection_options()})
    assert made["members"] == [f"c{i}" for i in chosen.members] and made["weights"] == chosen.weights.tolist()
    average = np.tensordot(chosen.weights, probs[list(chosen.members)], axes=1)
    assert made["temperature"] == fit_temperature(average, labels)
    calibrated = apply_temperature(average, made["temperature"])  # prediction sets are of what the ensemble says
    assert made["conformal"] == fit_conformal(calibrated, labels) != fit_conformal(average, labels)
    written = json.loads((tmp_path / "ensemble" / "selection.json").read_text())
    assert written["method"] == method and written["objective"] == objective
    assert written["weights"] == chosen.weights.tolist() and written["members"] == made["members"]
    value = {"nll": metrics.nll, "brier": metrics.brier, "error": lambda p, y: 1 - metrics.accuracy(p, y)}[objective]
    assert written["score"] == pytest.approx(value(average, labels), abs=1e-6)
    assert ("validation_nll" in written) == (objective == "nll")


def test_unequal_weights_are_kept(tmp_path: Path) -> None:
    """A strong candidate and a weak one: of seven choices most are of the strong one."""
    labels = np.arange(60) % 3
    strong = np.full((60, 3), 0.1) + 0.7 * np.eye(3)[labels]
    strong[:6] = [0.98, 0.01, 0.01]
    weak = np.full((60, 3), 1 / 3)
    config = Settings(selection="greedy_with_replacement", selection_steps=7, members=2, candidates=2)
    made = stage(tmp_path, np.stack([strong, weak]), labels, config)
    assert made["members"] == ["c0", "c1"] and made["weights"] == pytest.approx([6 / 7, 1 / 7], abs=0.15)
    assert made["weights"][0] > made["weights"][1]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_the_limits(tmp_path: Path, method: str) -> None:
    """On costs that grow with the candidate's number, so that without limits other members would be chosen."""
    rng = np.random.default_rng(3)
    probs, labels = rng.dirichlet(np.ones(4), size=(6, 80)), rng.integers(0, 4, 80)
    limits = {"max_total_params": 800.0, "max_latency_ms": 9.0}
    config = Settings(selection=method, candidates=6, **limits)
    config.check()
    made = stage(tmp_path, probs, labels, config, latency=[5.0, 3.0, 2.0, 2.0, 1.0, 1.0])
    chosen = [int(name[1:]) for name in made["members"]]
    assert sum(100 * (i + 1) for i in chosen) <= 800 and sum([5, 3, 2, 2, 1, 1][i] for i in chosen) <= 9
    written = json.loads((tmp_path / "ensemble" / "selection.json").read_text())
    assert written["limits"] == limits and written["costs"]["parameters"] == sum(100 * (i + 1) for i in chosen)
    if method == "exhaustive":
        fits = [
            combination
            for combination in combinations(range(6), 3)
            if sum(combination) + 3 <= 8 and sum([5, 3, 2, 2, 1, 1][i] for i in combination) <= 9
        ]
        best = min(fits, key=lambda rows: metrics.nll(probs[list(rows)].mean(0), labels))
        assert tuple(sorted(chosen)) == best


@pytest.mark.parametrize("method", ["exhaustive", "greedy", "beam", "top_k", "diversity_weighted"])
def test_a_limit_that_nothing_keeps_is_named(tmp_path: Path, method: str) -> None:
    rng = np.random.default_rng(3)
    probs, labels = rng.dirichlet(np.ones(4), size=(6, 80)), rng.integers(0, 4, 80)
    config = Settings(selection=method, candidates=6, max_total_flops=100.0, max_latency_ms=1.4)
    with pytest.raises(InputError, match="^max_latency_ms: got 1.4; expected at least 1.5, .* 3 cheapest"):
        stage(tmp_path, probs, labels, config)
    assert not (tmp_path / "ensemble").exists()


@pytest.fixture
def pool() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, 80)
    likely = rng.dirichlet(np.ones(4), size=(6, 80)) + np.eye(4)[labels] * rng.random((6, 80, 1))
    return likely / likely.sum(axis=2, keepdims=True), labels


@pytest.mark.parametrize("method", ["exhaustive", "greedy_with_replacement", "top_k"])
def test_a_request_replaces_the_choice_by_that_of_another_size(
    tmp_path: Path, pool: tuple[np.ndarray, np.ndarray], method: str
) -> None:
    probs, labels = pool
    config = Settings(members=4, candidates=6, selection=method)
    stage(tmp_path, probs, labels, config)
    for stale in ("results.json", "report.html", "ensemble/model.onnx"):
        (tmp_path / stale).touch()
    made = stage(tmp_path, probs, labels, config, request=Request(sizes=(2,)))
    smaller = Settings(members=2, candidates=6, selection=method)
    chosen = select(method, probs, labels, **{"size": 2, **smaller.selection_options()})
    assert made["members"] == [f"c{i}" for i in chosen.members] and len(made["members"]) <= 2
    assert not any((tmp_path / stale).exists() for stale in ("results.json", "report.html", "ensemble/model.onnx"))
    made = stage(tmp_path, probs, labels, config, request=Request(sizes=(1, 2, 3, 4)))
    written = json.loads((tmp_path / "ensemble" / "selection.json").read_text())
    assert written["asked"] == "--members 1..4" and len(written["tried"]) == 4
    assert written["score"] == min(one["score"] for one in written["tried"])
    assert [len(row["members"]) for row in written["smaller"]] == list(range(2, len(made["members"])))


def test_a_request_of_equal_scores_takes_fewer_members(tmp_path: Path) -> None:
    labels = np.arange(40) % 2
    same = np.stack([0.2 + 0.6 * np.eye(2)[labels]] * 4)
    made = stage(tmp_path, same, labels, Settings(members=3, candidates=4), request=Request(sizes=(1, 2, 3)))
    assert made["members"] == ["c0"]


def test_a_request_names_its_members(tmp_path: Path, pool: tuple[np.ndarray, np.ndarray]) -> None:
    probs, labels = pool
    config = Settings(members=3, candidates=6)
    made = stage(tmp_path, probs, labels, config, request=Request(ids=("c5", "c1")))
    assert made["members"] == ["c5", "c1"] and made["weights"] == [0.5, 0.5]
    before = (tmp_path / "ensemble" / "selection.json").read_bytes()
    for request, message in (
        (Request(ids=("c1", "c9")), "^ids: got c9; expected trained candidates: c0, .*c5"),
        (Request(sizes=(7,)), "^out: got .* 6 trained candidates; expected at least 7"),
    ):
        with pytest.raises(InputError, match=message):
            stage(tmp_path, probs, labels, config, request=request)
    assert (tmp_path / "ensemble" / "selection.json").read_bytes() == before  # nothing is lost by a mistake


def test_too_few_trained_candidates_are_refused(tmp_path: Path) -> None:
    config = Settings(members=3, candidates=6)
    with pytest.raises(InputError, match="^out: .* 2 trained"):
        stage(tmp_path, np.full((2, 4, 2), 0.5), np.arange(4) % 2, config)


def test_weights_that_are_not_finite_never_reach_an_ensemble(tmp_path: Path) -> None:
    folder, space = RunFolder(tmp_path), OneCell(channels=2, nodes=1, in_channels=1)
    candidate = Candidate("c0", None, 0, "draw", 1.0, {"node_0/input": [0], "node_0/op_0": "skip_connect"}, (), "")
    tensors = fixed_network(space, candidate.architecture).state_dict()
    tensors["head.bias"][0] = np.nan
    write_tensors(folder.candidate("c0").weights, tensors)
    plan: Any = SimpleNamespace(train_space=space)
    with pytest.raises(InputError, match=r"c0/weights.safetensors: got NaN or infinity in head.bias"):
        _trained_network(plan, folder, candidate)
