"""The table of results has the numbers of the files."""

from __future__ import annotations

import dataclasses

from nni_hypens.report.content import RunContent
from nni_hypens.report.results import section
from tests.support.report_page import parse, with_results


def shown(metrics: dict[str, float]) -> list[str]:
    return [f"{metrics['accuracy']:.2%}", *(f"{metrics[key]:.4f}" for key in ("nll", "ece", "brier", "aurc"))]


def test_numbers_are_those_of_the_files(run: RunContent) -> None:
    page, results = parse(section(run)), run.results
    assert page.row("Ensemble")[:5] == shown(results["ensemble"])
    assert page.row("Ensemble before temperature")[:5] == shown(results["ensemble_uncalibrated"])
    best = results["best_member"]
    assert page.row(f"Best member ({best['id']})")[:5] == shown(best)
    assert page.row("Baseline: deep ensemble")[:5] == shown(results["baselines"][0])
    trained = [row for row in results["candidates"] if "test" in row]
    assert len(trained) == 7
    for row in trained:
        cells = page.row(row["id"])
        assert cells[:5] == shown(row["test"])
        assert cells[5:7] == ["–" if row["lam"] is None else f"{row['lam']:.2f}", str(row["shared_edges"])]
        assert cells[7] == ("0.333" if row["is_member"] else "–")
    heads = [row[0] for row in page.rows]
    members = [heads.index(row["id"]) for row in results["members"]]
    assert max(members) < min(heads.index(row["id"]) for row in trained if not row["is_member"])


def test_stopped_candidates_have_no_test_metrics(run: RunContent) -> None:
    stopped = {"id": "c001", "status": "stopped", "epoch": 5, "validation": {"nll": 0.4321, "accuracy": 0.9}}
    page = parse(section(dataclasses.replace(run, stopped=[stopped])))
    (row,) = [row for row in page.rows if row[0].startswith("c001, stopped after epoch 5")]
    assert "0.4321" in row[0] and row[1:6] == ["–"] * 5 and row[-1] == "–"


def test_best_member_is_looked_up_among_the_candidates(run: RunContent) -> None:
    page = parse(section(with_results(run, best_member={"accuracy": 0.5, "nll": 1.25}, ensemble_uncalibrated=None)))
    assert page.row("Best member (unnamed)") == ["50.00%", "1.2500", "–", "–", "–", "–", "–", ""]
    assert "Ensemble before temperature" not in [row[0] for row in page.rows]
