"""The section on how to reproduce the run."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from nni_hypens.report.content import RunContent
from nni_hypens.report.reproduce import date_text, section
from tests.support.report_page import parse, with_results


def test_command_versions_date_and_machine(run: RunContent) -> None:
    page = parse(section(run))
    assert "nni-hypens run --data digits --space one_cell --seed 0" in page.text
    for name, value in (("nni", "3.0"), ("torch", "2.14.1"), ("date", "2026-07-27 10:30 UTC"), ("cores", "2")):
        assert page.row(name) == [value]


def test_without_a_command_the_configuration_is_the_way(run: RunContent) -> None:
    page = parse(
        section(dataclasses.replace(run, name="small", config={"versions": 3}, results={"made": {"machine": 3}}))
    )
    assert "nni-hypens run small/config.yaml" in page.text and not page.rows


@pytest.mark.parametrize("date", [None, 3, "yesterday", "2026-07-27T12:30:00", "0001-01-01T00:00:00+23:00"])
def test_what_is_no_date_is_left_out(run: RunContent, date: Any) -> None:
    assert date_text(with_results(run, made={"date": date})) is None
