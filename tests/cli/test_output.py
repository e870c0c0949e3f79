"""What stages show at their end, from small files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nni_hypens.cli import output
from nni_hypens.cli.output import stage_summary, summary_table
from nni_hypens.utils.files import write_json

ROW = {"accuracy": 0.5, "nll": 1.25, "ece": 0.125, "brier": 0.75}
RESULTS: dict[str, Any] = {
    "members": [{"id": "c00"}, {"id": "c01"}],
    "ensemble": ROW,
    "ensemble_uncalibrated": {**ROW, "nll": 2.0},
    "best_member": {"id": "c01", **ROW},
    "baselines": [{"name": "base architecture alone", **ROW}],
    "data": {"sizes": {"test": 7}},
}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    drawn = {"id": "c01", "lam": 1.5, "shared_edges": 1, "source": "draw", "supernet_nll": 0.7, "architecture": {}}
    base = {**drawn, "id": "c00", "lam": None, "shared_edges": 2, "source": "base"}
    dial = [[0.0, 0], [1.0, 2], [2.0, 2]]
    write_json(tmp_path / "search/summary.json", {"n_edges": 2, "base_search_s": 3.0, "search_s": 4.4, "dial": dial})
    write_json(tmp_path / "search/base.json", {"a": 1})
    write_json(tmp_path / "candidates.json", [base, drawn])
    trained = {"id": "c00", "status": "trained", "validation": ROW, "seconds": 2.0}
    write_json(tmp_path / "candidates/c00/metrics.json", trained)
    write_json(tmp_path / "candidates/c01/metrics.json", {"id": "c01", "status": "failed", "error": "hot"})
    chosen = {"method": "greedy", "objective": "nll", "score": 1.25, "members": ["c00"], "weights": [1.0]}
    write_json(tmp_path / "ensemble/selection.json", chosen)
    write_json(tmp_path / "ensemble/ensemble.json", {"temperature": 0.5})
    write_json(tmp_path / "results.json", RESULTS)
    return tmp_path


def test_every_stage_has_numbers_for_programs_and_text_for_people(out: Path) -> None:
    found, text = {}, {}
    for stage in ("search", "sample", "train", "select", "evaluate", "report"):
        found[stage], text[stage] = stage_summary(stage, out)
        assert json.loads(json.dumps(found[stage]))["stage"] == stage and found[stage]["out"] == str(out)
    assert found["search"]["dial_error"] == pytest.approx(1 / 3) and found["search"]["base"] == {"a": 1}
    assert text["search"].startswith("2 edges, searched in 7 s; mean error of the dial: 0.33 edges")
    assert text["sample"].splitlines()[1:] == [
        "c00    -            2   base       0.7000",
        "c01  1.5            1   draw       0.7000",
    ]
    assert [row["status"] for row in found["train"]["candidates"]] == ["trained", "failed"]
    assert text["train"].splitlines()[2].split() == ["c01", "failed", "-", "-", "-"]
    assert (
        found["select"]["temperature"] == 0.5
        and "chosen by nll 1.2500 of the average on validation data" in text["select"]
    )
    assert found["evaluate"]["ensemble"] == ROW and text["evaluate"].startswith("test data, 7 images\n")
    assert text["report"] == f"report: {out / 'report.html'}"


def test_a_dial_that_counts_no_edges_has_no_error(out: Path) -> None:
    summary = json.loads((out / "search/summary.json").read_text())
    write_json(out / "search/summary.json", {**summary, "counts_edges": False})
    found, text = stage_summary("search", out)
    assert found["dial_error"] is None and text.splitlines()[0] == "2 edges, searched in 7 s"


def test_a_candidate_that_waits(out: Path) -> None:
    (out / "candidates/c01/metrics.json").unlink()
    assert stage_summary("train", out)[0]["candidates"][1]["status"] == "waiting"


def test_table_of_a_run() -> None:
    lines = summary_table(RESULTS).splitlines()
    assert lines[0].split() == ["accuracy", "nll", "ece", "brier"] and len(set(map(len, lines))) == 1
    assert lines[2].startswith("  before temperature") and lines[2].endswith("0.5000 2.0000 0.1250 0.7500")
    assert lines[3].startswith("best member (c01)") and lines[4].startswith("base architecture alone")


def test_rows_of_a_table_are_no_images() -> None:
    data: dict[str, Any] = {**RESULTS["data"], "input_spec": {"shape": [3]}}
    assert output.test_summary(RESULTS).startswith("test data, 7 images\n")
    assert output.test_summary({**RESULTS, "data": data}).startswith("test data, 7 examples\n")
