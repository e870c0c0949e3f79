"""Candidates that fail in training: tried twice, marked, shown, left out. The other faults are in test_faults.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import ENVIRONMENT, SETTINGS, Ended, command, outcome
from tests.support.faulty_cell import SEED
from tests.support.loaded import PATIENCE

FAULTY = [*SETTINGS, "--space=tests.support.faulty_cell:FaultyCell", f"--seed={SEED}", "--quiet"]


def faults(folder: Path, text: str) -> dict[str, str]:
    return {"FAULTS": text, "TRIED": str(folder / "tried")}


def run(out: Path, text: str, *more: str) -> Ended:
    """The run, with some candidates that fail."""
    before: Callable[[], Any] = lambda: os.environ.update(faults(out.parent, text))  # noqa: E731
    return command("run", *FAULTY, "--out", out, *more, before=before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which nothing fails."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert run(out, "").code == 0
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
def test_one_candidate_fails(fault: str, per_trial: str, whole: Path, tmp_path: Path) -> None:
    ended = run(tmp_path / "run", f"1={fault}", "--per-trial", per_trial)
    lines = ended.said
    assert ended.code == 0 and len(lines) == 1 and lines[0].startswith("warning: candidate c01 failed twice"), ended
    assert FAULTS[fault] in lines[0]
    check(tmp_path / "run", whole, {"c01": FAULTS[fault]})
    if fault != "nan":
        assert (tmp_path / "tried").read_text().split() == [fault] * 2


def test_all_candidates_fail(whole: Path, tmp_path: Path) -> None:
    """The first cause in one line; once it is mended the run goes on, to the same result."""
    out = tmp_path / "run"
    ended = run(out, "0=raise,1=nan,2=kill")
    assert ended.code == 1 and len(ended.said) == 1, ended
    assert "only 0 of 3 candidates could be trained" in ended.err and "ValueError: too hot" in ended.err
    assert not (out / "ensemble").exists() and not (out / "results.json").exists()
    before: Callable[[], Any] = lambda: os.environ.update(faults(tmp_path, ""))  # noqa: E731
    ended = command("run", "--out", out, "--resume", "--quiet", before=before)
    assert ended.code == 0 and outcome(out) == outcome(whole), ended


@pytest.mark.end_to_end
def test_failures_under_the_manager_of_nni(whole: Path, tmp_path: Path) -> None:
    """One is killed, one runs out of memory; two are left for the ensemble."""
    out, text = tmp_path / "run", "1=kill,2=memory"
    options = [*FAULTY, "--candidates=4", "--adaptive=0", "--out", str(out)]
    command_line = [sys.executable, "-m", "nni_hypens", "run", *options]
    environment = {**os.environ, **ENVIRONMENT, **faults(tmp_path, text)}
    cwd = Path(__file__).parents[1] / "support"
    with (tmp_path / "out").open("w+") as output, (tmp_path / "err").open("w+") as errors:
        code = subprocess.run(
            command_line,
            cwd=cwd,
            env=environment,
            stdout=output,
            stderr=errors,
            timeout=PATIENCE,
        ).returncode
    said = (tmp_path / "err").read_text()
    assert code == 0 and said.count("failed twice and is left out") == 2 and "Traceback" not in said, said
    rows = {row["id"]: row for row in json.loads((out / "results.json").read_text())["candidates"]}
    reasons = {"c01": "it was killed", "c02": "MemoryError"}
    for name, reason in reasons.items():
        assert rows[name]["status"] == "failed" and reason in rows[name]["error"], rows[name]
        assert reason in (out / "report.html").read_text()
    assert {name for name in rows if rows[name]["status"] == "trained"} == {"c00", "c03"}
    assert sorted((tmp_path / "tried").read_text().split()) == ["kill", "kill", "memory", "memory"]
