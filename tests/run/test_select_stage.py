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
from nni_hypens.ensemble.calibration import Combination, calibrated_alone, combine, fit_temperature
from nni_hypens.ensemble.conformal import Conformal, fit_conformal
from nni_hypens.ensemble.weighting import fit_weights
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
    options: dict[str, Any] | None = None,
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
        combination: Combination,
        conformal: Conformal,
    ) -> SimpleNamespace:
        made.update(members=members, weights=weights, combination=combination, conformal=conformal)
        return SimpleNamespace(save=lambda folder: made.update(folder=folder))

    plan: Any = SimpleNamespace(
        settings=config,
        selection_options=config.selection_options() if options is None else options,
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
    own = calibrated_alone(probs, labels)  # what the choice compares
    chosen = select(method, own, labels, **{"size": 3, **config.selection_options()})
    assert made["members"] == [f"c{i}" for i in chosen.members] and made["weights"] == chosen.weights.tolist()
    members = probs[list(chosen.members)]
    average = combine(members, chosen.weights, Combination(1.0, (1.0,) * len(members), "log"))
    temperature = fit_temperature(average, labels)
    assert made["combination"] == Combination(pytest.approx(temperature), (1.0,) * len(members), "log")
    calibrated = combine(members, chosen.weights, made["combination"])  # prediction sets are of what the ensemble says
    assert made["conformal"] == fit_conformal(calibrated, labels) != fit_conformal(average, labels)
    written = json.loads((tmp_path / "ensemble" / "selection.json").read_text())
    assert written["method"] == method and written["objective"] == objective
    assert written["weights"] == chosen.weights.tolist() and written["members"] == made["members"]
    value = {"nll": metrics.nll, "brier": metrics.brier, "error": lambda p, y: 1 - metrics.accuracy(p, y)}[objective]
    compared = np.tensordot(chosen.weights, own[list(chosen.members)], axes=1)
    assert written["score"] == pytest.approx(value(compared, labels), abs=1e-6)
    assert written["validation_nll"] == metrics.nll(calibrated, labels)


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
        own = calibrated_alone(probs, labels)
        best = min(fits, key=lambda rows: metrics.nll(own[list(rows)].mean(0), labels))
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
    own = calibrated_alone(probs, labels)
    chosen = select(method, own, labels, **{"size": 2, **smaller.selection_options()})
    assert made["members"] == [f"c{i}" for i in chosen.members] and len(made["members"]) <= 2
    assert not any((tmp_path / stale).exists() for stale in ("results.json", "report.html", "ensemble/model.onnx"))
    made = stage(tmp_path, probs, labels, config, request=Request(sizes=(1, 2, 3, 4)))
    written = json.loads((tmp_path / "ensemble" / "selection.json").read_text())
    assert written["asked"] == "--members 1..4" and len(written["tried"]) == 4
    assert written["validation_nll"] == min(one["validation_nll"] for one in written["tried"])
    *others, everyone = written["sizes"]
    assert (everyone["method"], {row["method"] for row in others}) == ("all", {method})
    if method != "greedy_with_replacement":  # which may choose fewer than it is asked for
        assert [len(row["members"]) for row in others] == [n for n in (1, 2, 3, 5) if n != len(made["members"])]


def test_options_from_python_are_kept(tmp_path: Path, pool: tuple[np.ndarray, np.ndarray]) -> None:
    """They say how many members the run has; other sizes are those that are asked for."""
    probs, labels = pool
    own = calibrated_alone(probs, labels)
    config = Settings(members=2, candidates=6, selection="greedy_with_replacement")
    options = {"size": 30, "max_members": 4}
    made = stage(tmp_path / "steps", probs, labels, config, options=options)
    chosen = select("greedy_with_replacement", own, labels, **options)
    assert made["members"] == [f"c{i}" for i in chosen.members] and len(made["members"]) > 2
    for row in read(tmp_path / "steps")["sizes"]:
        assert row["method"] == "all" or len(row["members"]) <= 5
    config = Settings(members=2, candidates=6)
    assert len(stage(tmp_path / "size", probs, labels, config, options={"size": 4})["members"]) == 4
    sizes = [len(row["members"]) for row in read(tmp_path / "size")["sizes"] if row["method"] != "all"]
    assert sizes == [1, 2, 3, 5]
    made = stage(tmp_path / "size", probs, labels, config, request=Request(sizes=(2,)), options={"size": 4})
    assert len(made["members"]) == 2


def test_a_request_that_cannot_be_written_leaves_the_old_choice(
    tmp_path: Path, pool: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Settings(members=4, candidates=6)
    stage(tmp_path, *pool, config)
    kept = ("results.json", "report.html", "ensemble/ensemble.json", "ensemble/model.onnx", "ensemble/mine.txt")
    for name in kept:
        (tmp_path / name).touch()
    before = read(tmp_path)

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nni_hypens.run.select_stage.write_json", full)
    with pytest.raises(OSError, match="No space"):
        stage(tmp_path, *pool, config, request=Request(sizes=(1,)))
    assert read(tmp_path) == before and all((tmp_path / name).exists() for name in kept)
    monkeypatch.undo()
    stage(tmp_path, *pool, config, request=Request(sizes=(1,)))
    assert [(tmp_path / name).exists() for name in kept] == [False] * 4 + [True]


def read(out: Path) -> dict[str, Any]:
    return json.loads((out / "ensemble" / "selection.json").read_text())


@pytest.mark.parametrize("calibration", ["ensemble", "members", "none"])
def test_every_candidate_is_a_member_by_the_settings_or_by_request(
    tmp_path: Path, pool: tuple[np.ndarray, np.ndarray], calibration: str
) -> None:
    """Weights are fitted to what is averaged: to candidates with their own temperatures only if members have them."""
    probs, labels = pool
    own = calibrated_alone(probs, labels)
    weights = fit_weights(own if calibration == "members" else probs, labels)
    kept = np.flatnonzero(weights)
    every = Settings(members="all", candidates=6, calibration=calibration)
    every.check()
    made = [stage(tmp_path / "set", probs, labels, every)]
    three = Settings(members=3, candidates=6, calibration=calibration)
    stage(tmp_path / "asked", probs, labels, three)
    made.append(stage(tmp_path / "asked", probs, labels, three, request=Request.read("all", None)))
    for one in made:
        assert one["members"] == [f"c{i}" for i in kept] and one["weights"] == weights[kept].tolist()
        assert one["combination"].pooling == "log"
        assert (one["combination"].members == (1.0,) * len(kept)) == (calibration != "members")
        assert (one["combination"].temperature == 1) == (calibration == "none")
    written = read(tmp_path / "set")
    compared = np.tensordot(weights[kept], (probs if calibration == "none" else own)[kept], axes=1)
    assert written["method"] == "all" and written["score"] == pytest.approx(metrics.nll(compared, labels), abs=1e-6)
    assert written["validation_nll"] == metrics.nll(combine(probs[kept], weights[kept], made[0]["combination"]), labels)
    assert "all" not in [row["method"] for row in written["sizes"]] and "asked" not in written
    assert read(tmp_path / "asked")["asked"] == "--members all"
    # and back to a number
    made.append(stage(tmp_path / "set", probs, labels, every, request=Request(sizes=(3,))))
    assert made[-1]["members"] == stage(tmp_path / "three", probs, labels, three)["members"]


@pytest.mark.parametrize("members", [2, "all"])
def test_predictions_that_are_no_numbers_are_named(
    tmp_path: Path, pool: tuple[np.ndarray, np.ndarray], members: Any
) -> None:
    lost = pool[0].copy()
    lost[2, 7] = np.nan
    with pytest.raises(InputError, match=r"c2/predictions.npz: val: got 4 NaN"):
        stage(tmp_path, lost, pool[1], Settings(members=members, candidates=6))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "linear"}, "^pooling: got linear with members=all; expected log"),
        ({"max_total_params": 900.0}, "^max_total_params: got 900 with members=all; expected a number of members"),
    ],
)
def test_all_members_are_refused_where_the_run_contradicts(
    tmp_path: Path, pool: tuple[np.ndarray, np.ndarray], options: dict[str, Any], message: str
) -> None:
    probs, labels = pool
    config = Settings(members=2, candidates=6, **options)
    stage(tmp_path, probs, labels, config)
    before = read(tmp_path)
    with pytest.raises(InputError, match=message):
        stage(tmp_path, probs, labels, config, request=Request(all=True))
    assert read(tmp_path) == before  # nothing is lost by a mistake
    assert "all" not in [row["method"] for row in before["sizes"]]


@pytest.mark.parametrize("pooling", ["log", "linear"])
def test_ensembles_of_other_sizes_are_chosen_and_fitted_in_the_same_way(
    tmp_path: Path, pool: tuple[np.ndarray, np.ndarray], pooling: str
) -> None:
    probs, labels = pool
    stage(tmp_path / "four", probs, labels, Settings(members=4, candidates=6, pooling=pooling))
    rows = read(tmp_path / "four")["sizes"]
    everyone = ["all"] if pooling == "log" else []
    assert [len(row["members"]) for row in rows if row["method"] != "all"] == [1, 2, 3, 5]
    assert [row["method"] for row in rows[4:]] == everyone
    for size in (1, 2, 5):
        made = stage(tmp_path / str(size), probs, labels, Settings(members=size, candidates=6, pooling=pooling))
        alone = read(tmp_path / str(size))
        (row,) = [row for row in rows if row["method"] != "all" and len(row["members"]) == size]
        same = ("method", "members", "weights", "score", "validation_nll", "costs")
        assert {key: row[key] for key in same} == {key: alone[key] for key in same}
        assert (row["temperature"], tuple(row["member_temperatures"]), pooling) == made["combination"]


def test_the_chosen_ensemble_is_no_other_size(tmp_path: Path) -> None:
    """With replacement, more steps may add nobody."""
    labels = np.arange(60) % 3
    good, bad = (0.05 + 0.85 * np.eye(3)[labels], 0.3 + 0.1 * np.eye(3)[(labels + 1) % 3])
    config = Settings(members=3, candidates=4, selection="greedy_with_replacement")
    stage(tmp_path, np.stack([good, bad, bad, bad]), labels, config)
    written = read(tmp_path)
    assert written["members"] == ["c0"]
    assert all(row["members"] != ["c0"] or row["method"] == "all" for row in written["sizes"])


def test_without_calibration_raw_probabilities_are_compared(tmp_path: Path) -> None:
    """A doubtful candidate that is always right is the best once it has a temperature, and only then."""
    labels = np.arange(90) % 3
    doubtful = np.full((90, 3), 0.32) + 0.04 * np.eye(3)[labels]
    good = np.full((90, 3), 0.15) + 0.55 * np.eye(3)[np.where(np.arange(90) < 9, (labels + 1) % 3, labels)]
    probs = np.stack([doubtful, good])
    made = {
        name: stage(tmp_path / name, probs, labels, Settings(members=1, candidates=2, calibration=name))["members"]
        for name in ("ensemble", "none")
    }
    assert made == {"ensemble": ["c0"], "none": ["c1"]}


def test_a_number_of_members_is_chosen_by_the_calibrated_ensembles(tmp_path: Path) -> None:
    """Not by the averages before their temperature, which may rank them otherwise."""
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 4
    right = rng.random((2, 400)) < 0.97
    probs = np.stack(
        [
            np.where(np.eye(4, dtype=bool)[np.where(hit, labels, rng.integers(0, 4, 400))], high, (1 - high) / 3)
            for hit, high in zip(right, (0.94, 0.9), strict=True)
        ]
    )
    made = stage(tmp_path, probs, labels, Settings(members=1, candidates=2), request=Request(sizes=(1, 2)))
    written = read(tmp_path)
    tried = {len(one["members"]): one for one in written["tried"]}
    best = min(tried, key=lambda size: tried[size]["validation_nll"])
    assert len(made["members"]) == best and written["validation_nll"] == tried[best]["validation_nll"]
    for size, one in tried.items():
        alone = stage(tmp_path / str(size), probs, labels, Settings(members=size, candidates=2))
        members = probs[[int(name[1:]) for name in alone["members"]]]
        own = metrics.nll(combine(members, alone["weights"], alone["combination"]), labels)
        assert one["validation_nll"] == pytest.approx(own)


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
