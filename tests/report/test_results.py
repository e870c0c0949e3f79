"""The table of results has the numbers of the files."""

from __future__ import annotations

import dataclasses

import pytest

from nni_hypens.report import results
from nni_hypens.report.content import RunContent
from nni_hypens.report.results import section
from tests.support.report_page import parse, with_results


def shown(metrics: dict[str, float]) -> list[str]:
    return [f"{metrics['accuracy']:.2%}", *(f"{metrics[key]:.4f}" for key in ("nll", "ece", "brier", "aurc"))]


def test_numbers_are_those_of_the_files(run: RunContent) -> None:
    page, results = parse(section(with_results(run, intervals=None))), run.results
    assert page.row("Ensemble")[:5] == shown(results["ensemble"])
    others = [row for row in page.rows if row[0].startswith("Ensemble, ")]
    log, linear = results["calibration"]["rows"][:3], results["calibration"]["rows"][3:]
    # without the one that is used, and with one row for no temperature
    assert [row[1:6] for row in others] == [
        shown(row) for row in (log[1], linear[0], linear[1], results["ensemble_uncalibrated"])
    ]
    assert len({row[0] for row in others}) == 4
    assert page.row("Baseline: deep ensemble")[:5] == shown(results["baselines"][0])
    trained = [row for row in results["candidates"] if "test" in row]
    assert len(trained) == 7
    notes = {results["best_member"]["id"]: " (best member)", "c000": " (base architecture)"}
    for row in trained:
        cells = page.row(row["id"] + notes.get(row["id"], ""))
        assert cells[:5] == shown(row["test"])
        assert cells[5:7] == ["–" if row["lam"] is None else f"{row['lam']:.2f}", str(row["shared_edges"])]
        assert cells[7] == ("0.333" if row["is_member"] else "–")
    heads = [row[0].partition(" (")[0] for row in page.rows if row[0].startswith("c0")]
    members = [heads.index(row["id"]) for row in results["members"]]
    assert max(members) < min(heads.index(row["id"]) for row in trained if not row["is_member"])
    assert len({*heads}) == len(heads)  # each model once


def test_intervals_stand_beside_their_values(run: RunContent) -> None:
    page, rows = parse(section(run)), {row["name"]: row for row in run.rows("intervals")}
    best = run.part("best_member")["id"]
    for head, name in (("Ensemble", "ensemble"), (f"{best} (best member)", f"best member ({best})")):
        (low, high), nll = rows[name]["accuracy"]["interval"], rows[name]["nll"]
        assert page.row(head)[0] == f"{rows[name]['accuracy']['value']:.2%} ({low:.2%} to {high:.2%})"
        assert page.row(head)[1] == f"{nll['value']:.4f} ({nll['interval'][0]:.4f} to {nll['interval'][1]:.4f})"
    assert "95% interval" in page.text


def test_best_member_is_looked_up_among_the_candidates(run: RunContent) -> None:
    unknown = {"accuracy": 0.5, "nll": 1.25}
    page = parse(section(with_results(run, best_member=unknown, ensemble_uncalibrated=None)))
    assert page.row("Best member (unnamed)") == ["50.00%", "1.2500", "–", "–", "–", "–", "–", ""]
    assert not any("no temperature" in row[0] for row in page.rows)


def test_a_trained_base_has_a_row_of_its_own_beside_its_calibrated_baseline(run: RunContent) -> None:
    """Each with its own values and intervals; one row is enough where nothing was calibrated."""
    base = next(row for row in run.trained if row["id"] == "c000")["test"]
    row, name = "c000 (base architecture)", "base architecture alone"
    measured = {"value": base["accuracy"], "interval": [0.5, 0.75]}
    for nll in (base["nll"], base["nll"] - 0.125):
        baselines = [{"name": name, **base, "nll": nll}, {"name": "other", **base}]
        changed = with_results(
            run, baselines=baselines, intervals={"rows": [{"name": name, "accuracy": measured, "nll": {"value": nll}}]}
        )
        page = parse(section(changed))
        same, heads = nll == base["nll"], [row[0] for row in page.rows]
        assert (f"Baseline: {name}" not in heads) == same and "Baseline: other" in heads
        assert page.row(row)[0].endswith("(50.00% to 75.00%)") == same
        assert page.row(row)[1].startswith(f"{base['nll']:.4f}")
        if not same:
            assert page.row(f"Baseline: {name}")[0].endswith("(50.00% to 75.00%)")
    without = dataclasses.replace(changed, trained=[row for row in run.trained if row["id"] != "c000"])
    assert f"Baseline: {name}" in [row[0] for row in parse(section(without)).rows]


def test_a_table_of_many_candidates_ends_and_says_so(run: RunContent, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = parse(section(run))
    monkeypatch.setattr(results, "MOST_ROWS", 4)
    page = parse(section(run))
    names = [row[0].partition(" (")[0] for row in page.rows if row[0].startswith("c0")]
    assert names == [row[0].partition(" (")[0] for row in whole.rows if row[0].startswith("c0")][:4]
    assert {member["id"] for member in run.members} < set(names)
    assert "the first 4 of 7" in page.text and "the first" not in whole.text
