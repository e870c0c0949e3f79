"""Candidates that fail in training: tried twice, marked, shown, left out. The other faults are in test_faults.py."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import ENVIRONMENT, SETTINGS, Child, Ended, command, outcome
from tests.support.faulty_cell import SEED

FAULTY = [*SETTINGS, "--space=tests.support.faulty_cell:FaultyCell", f"--seed={SEED}", "--quiet"]


def faults(folder: Path, text: str) -> dict[str, str]:
    return {"FAULTS": text, "TRIED": str(folder / "tried")}


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run before training, the same for all: faults begin there."""
    out = tmp_path_factory.mktemp("sampled") / "run"
    for stage, *more in (["search", *FAULTY], ["sample", "--quiet"]):
        assert command(stage, *more, "--out", out).code == 0
    return out


def run(sampled: Path, out: Path, text: str, *more: str) -> Ended:
    """The run from there on, with some candidates that fail."""
    shutil.copytree(sampled, out)
    before: Callable[[], Any] = lambda: os.environ.update(faults(out.parent, text))  # noqa: E731
    return command("run", *FAULTY, "--out", out, *more, before=before)


@pytest.fixture(scope="module")
def whole(sampled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which nothing fails."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert run(sampled, out, "").code == 0
    return out


def check(out: Path, whole: Path, failed: dict[str, str]) -> None:
    """Those that failed are marked with the reason, in files and report; the rest are as if nothing had failed."""
    results = json.loads((out / "results.json").read_text())
    rows = {row["id"]: row for row in results["candidates"]}
    assert {name for name in rows if rows[name]["status"] == "failed"} == set(failed)
    report = (out / "report.html").read_text()
    for name, reason in failed.items():
        record = json.loads((out / "candidates" / name / "metrics.json").read_text())
        assert record["status"] == "failed" and reason in record["error"] and reason in rows[name]["error"]
        assert reason in report
    assert not set(failed) & {member["id"] for member in results["members"]} and len(results["members"]) == 2
    for name in set(rows) - set(failed):
        for file in ("weights.safetensors", "predictions.npz"):
            own, other = (folder / "candidates" / name / file for folder in (out, whole))
            assert own.read_bytes() == other.read_bytes()


FAULTS = {
    "raise": "ValueError: too hot",
    "nan": "c01 diverged: its validation probabilities are not finite",
    "memory": "MemoryError",
    "kill": "its trial gave no reason: it was killed",
}


@pytest.mark.end_to_end
@pytest.mark.parametrize("per_trial", ["1", "3"])
@pytest.mark.parametrize("fault", FAULTS)
def test_one_candidate_fails(fault: str, per_trial: str, sampled: Path, whole: Path, tmp_path: Path) -> None:
    ended = run(sampled, tmp_path / "run", f"1={fault}", "--per-trial", per_trial)
    lines = ended.said
    assert ended.code == 0 and len(lines) == 1 and lines[0].startswith("warning: candidate c01 failed twice"), ended
    assert FAULTS[fault] in lines[0]
    check(tmp_path / "run", whole, {"c01": FAULTS[fault]})
    if fault != "nan":
        assert (tmp_path / "tried").read_text().split() == [fault] * 2


def test_all_candidates_fail(sampled: Path, whole: Path, tmp_path: Path) -> None:
    """The first cause in one line; once it is mended the run goes on, to the same result."""
    out = tmp_path / "run"
    ended = run(sampled, out, "0=raise,1=nan,2=kill")
    assert ended.code == 1 and len(ended.said) == 1, ended
    assert "only 0 of 3 candidates could be trained" in ended.err and "ValueError: too hot" in ended.err
    assert not (out / "ensemble").exists() and not (out / "results.json").exists()
    before: Callable[[], Any] = lambda: os.environ.update(faults(tmp_path, ""))  # noqa: E731
    ended = command("run", "--out", out, "--resume", "--quiet", before=before)
    assert ended.code == 0 and outcome(out) == outcome(whole), ended


@pytest.mark.end_to_end
def test_failures_under_the_manager_of_nni(tmp_path: Path) -> None:
    """One is killed, one runs out of memory; two are left for the ensemble. From the search on."""
    out = tmp_path / "run"
    options = [*FAULTY, "--candidates=4", "--adaptive=0", "--out", out]
    environment = {**ENVIRONMENT, **faults(tmp_path, "1=kill,2=memory")}
    before: Callable[[], Any] = lambda: os.environ.update(environment)  # noqa: E731
    folder = Path(__file__).parents[1] / "support"
    ended = Child(["run", *options], folder=folder, before=before, trials="real").end()
    assert ended.code == 0 and ended.err.count("failed twice and is left out") == 2, ended
    assert "Traceback" not in ended.err, ended
    rows = {row["id"]: row for row in json.loads((out / "results.json").read_text())["candidates"]}
    reasons = {"c01": "it was killed", "c02": "MemoryError"}
    for name, reason in reasons.items():
        assert rows[name]["status"] == "failed" and reason in rows[name]["error"], rows[name]
        assert reason in (out / "report.html").read_text()
    assert {name for name in rows if rows[name]["status"] == "trained"} == {"c00", "c03"}
    assert sorted((tmp_path / "tried").read_text().split()) == ["kill", "kill", "memory", "memory"]
