"""The tables of a result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from report_fixture import make_run_folder

from nni_hypens.api import EnsembleResult


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> EnsembleResult:
    folder = make_run_folder(tmp_path_factory.mktemp("run"))
    return EnsembleResult(folder, json.loads((Path(folder) / "results.json").read_text()))


def test_tables(result: EnsembleResult) -> None:
    ids = [row["id"] for row in result.results["members"]]
    assert list(result.metrics.columns) == ["accuracy", "nll", "ece", "brier", "aurc"]
    assert result.metrics.loc["ensemble", "nll"] == result.results["ensemble"]["nll"]
    assert list(result.members["id"]) == ids and {"validation_gain", "swap_for"} <= set(result.members)
    assert list(result.disagreement.index) == list(result.disagreement.columns) == ids
    assert (result.disagreement.values.diagonal() == 0).all()
    assert list(result.calibration.index) == ["ensemble", "members", "none"]
    assert list(result.uncertainty.index) == ["all", "right", "wrong"]
    assert result.ood.loc[0, "auroc.entropy"] == 0.875
    mean = result.corruptions.query("model == 'ensemble'").groupby("severity")["accuracy"].mean()
    assert mean[0] == pytest.approx(0.95) and mean[5] == pytest.approx(0.45)


def test_what_was_not_measured_is_empty(result: EnsembleResult) -> None:
    nothing = {**result.results, "corruptions": {"skipped": "no"}, "ood": {"skipped": []}}
    bare = EnsembleResult(result.out, nothing)
    assert bare.corruptions.empty and bare.ood.empty
