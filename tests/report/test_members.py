"""The section on members says what results.json says, and nothing else."""

from __future__ import annotations

import dataclasses

from nni_hypens.report.content import RunContent
from nni_hypens.report.members import reason, section
from tests.support.report_page import parse


def test_reasons_say_which_way() -> None:
    member = {"validation_gain": 0.0123, "swap_gain": 0.002, "swap_for": "c009", "test_gain": -0.001,
              "disagreement": 0.05, "right_alone": 3, "wrong_alone": 1}  # fmt: skip
    text = reason(member, 200)
    for words in ("0.0123 higher", "c009", "0.0020 higher", "5.0%", "right on 3 of 200", "wrong on 1", "0.0010 lower"):
        assert words in text
    assert "fixed" not in text
    worse = reason({**member, "validation_gain": -0.004, "swap_gain": -0.1}, None)
    assert "0.0040 lower" in worse and "fixed" in worse and "0.1000 lower" in worse
    assert "right on 3 " in worse and " of 200" not in worse
    assert reason({"id": "c1", "validation_gain": None}, 10) == ""


def test_table_has_the_numbers(run: RunContent) -> None:
    page = parse(section(run))
    for member in run.members:
        cells = page.row(member["id"])
        assert cells[:3] == [f"{member[key]:+.4f}" for key in ("validation_gain", "swap_gain", "test_gain")]
        assert cells[3:] == ["10.00%", str(member["right_alone"]), str(member["wrong_alone"]),
                             f"{member['own_temperature']:.3f}"]  # fmt: skip
    assert [attrs for attrs in page.named("ul") if attrs.get("class") == "gallery"]


def test_a_run_without_measured_gains_has_no_section(run: RunContent) -> None:
    bare = [{key: row[key] for key in ("id", "weight", "lam", "accuracy", "nll")} for row in run.members]
    assert section(dataclasses.replace(run, members=bare)) is None
