"""The select stage of a run: settings reach the method, and its weights reach the ensemble."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nni_hypens import metrics
from nni_hypens.calibration import Temperatures, fit_temperature
from nni_hypens.config import RunConfig
from nni_hypens.pipeline import Run
from nni_hypens.selection import METHODS, OBJECTIVES, select


def stage(out: Path, probs: np.ndarray, labels: np.ndarray, config: RunConfig) -> dict[str, Any]:
    """Run the stage over predictions on disk, with an ensemble that only records what it is made of."""
    made: dict[str, Any] = {}
    names = [f"c{i}" for i in range(len(probs))]
    for name, values in zip(names, probs, strict=True):
        (out / "candidates" / name).mkdir(parents=True)
        np.savez(out / "candidates" / name / "predictions.npz", val=values, test=values)

    def build(members: list[str], weights: list[float], temperatures: Temperatures) -> SimpleNamespace:
        made.update(members=members, weights=weights, temperature=temperatures.ensemble)
        return SimpleNamespace(save=lambda folder: made.update(folder=folder))

    plan = SimpleNamespace(
        members=config.members,
        selection=config.selection,
        selection_options=config.selection_options(),
        calibration=config.calibration,
        data=SimpleNamespace(labels=lambda split: labels),
    )
    Run.select(SimpleNamespace(out=out, plan=plan, trained=lambda: names, _build=build))
    return made


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_and_objective(tmp_path: Path, method: str, objective: str) -> None:
    rng = np.random.default_rng(3)
    probs, labels = rng.dirichlet(np.ones(4), size=(6, 80)), rng.integers(0, 4, 80)
    steps = 7 if method == "greedy_with_replacement" else None
    config = RunConfig(selection=method, objective=objective, selection_steps=steps, candidates=6)
    config.check()
    made = stage(tmp_path, probs, labels, config)
    chosen = select(method, probs, labels, **{"size": 3, **config.selection_options()})
    assert made["members"] == [f"c{i}" for i in chosen.members] and made["weights"] == chosen.weights.tolist()
    average = np.tensordot(chosen.weights, probs[list(chosen.members)], axes=1)
    assert made["temperature"] == fit_temperature(average, labels)
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
    config = RunConfig(selection="greedy_with_replacement", selection_steps=7, members=2, candidates=2)
    made = stage(tmp_path, np.stack([strong, weak]), labels, config)
    assert made["members"] == ["c0", "c1"] and made["weights"] == pytest.approx([6 / 7, 1 / 7], abs=0.15)
    assert made["weights"][0] > made["weights"][1]
