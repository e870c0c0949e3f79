"""The section on members says what results.json says, and nothing else."""

from __future__ import annotations

import dataclasses

from nni_hypens.report.content import RunContent
from nni_hypens.report.members import reason, section
from tests.support.report_page import parse


def test_reasons_say_which_way() -> None:
    member = {"validation_gain": 0.0123, "swap_gain": 0.002, "swap_for": "c009", "test_gain": -0.001,
              "right_alone": 3, "wrong_alone": 1}  # fmt: skip
    text = reason(member)
    for words in (
        "average is better with it",
        "With c009",
        "it would be worse",
        "right alone more often than it is wrong alone",
        "worse with it there.",
    ):
        assert words in text
    assert "fixed" not in text and not any(digit in text.replace("c009", "") for digit in "0123456789")
    other = reason({**member, "validation_gain": -0.004, "swap_gain": -0.1, "right_alone": 1})
    for words in ("average is worse with it", "fixed", "it would be better", "as often as", "worse with it there, too"):
        assert words in other
    assert reason({"id": "c1", "validation_gain": None}) == ""
    assert reason(member, "c07").startswith("It is c07, trained for the same epochs once more. ")


def test_table_has_the_numbers(run: RunContent) -> None:
    page = parse(section(run))
    for member in run.members:
        cells = page.row(member["id"])
        gains = [f"{member[key]:+.4f}" for key in ("validation_gain", "swap_gain", "test_gain")]
        assert cells[:4] == [*gains[:2], "c000", gains[2]]
        assert cells[4:] == ["10.00%", str(member["right_alone"]), str(member["wrong_alone"]),
                             f"{member['own_temperature']:.3f}"]  # fmt: skip
    assert [attrs for attrs in page.named("ul") if attrs.get("class") == "gallery"]


def test_a_run_without_measured_gains_has_no_section(run: RunContent) -> None:
    bare = [{key: row[key] for key in ("id", "weight", "lam", "accuracy", "nll")} for row in run.members]
    assert section(dataclasses.replace(run, members=bare)) is None
