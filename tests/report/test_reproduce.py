"""The section on how to reproduce the run."""

from __future__ import annotations

import dataclasses

from nni_hypens.report.content import RunContent
from nni_hypens.report.reproduce import section
from tests.support.report_page import parse


def test_command_seed_and_versions(run: RunContent) -> None:
    page = parse(section(run))
    assert "nni-hypens run --data digits --space one_cell --seed 0" in page.text
    for name, value in (("seed", "0"), ("nni", "3.0"), ("torch", "2.14.1")):
        assert page.row(name) == [value]


def test_without_a_command_the_configuration_is_the_way(run: RunContent) -> None:
    page = parse(section(dataclasses.replace(run, name="small", config={"versions": 3})))
    assert "nni-hypens run small/config.yaml" in page.text and not page.rows
