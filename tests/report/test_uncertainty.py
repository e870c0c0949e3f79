"""The section on uncertainty and out-of-distribution images."""

from __future__ import annotations

import pytest

from nni_hypens.report.content import RunContent
from nni_hypens.report.uncertainty import EntropyBar, draw_entropy, entropy_data, section
from tests.support.report_page import parse, with_results
from tests.support.report_svg import check_svg


def test_entropy_bars() -> None:
    bars = entropy_data({"test": {"aleatoric": 0.5, "epistemic": 0.25}, "none": {"aleatoric": None}})
    assert bars == (EntropyBar("test", 0.5, 0.25),)
    assert "test: aleatoric 0.500, epistemic 0.250." in check_svg(draw_entropy(bars, "e"), "e").label


def test_tables_have_the_numbers(run: RunContent) -> None:
    page = parse(section(run))
    assert page.row("test, wrong") == ["50", "1.500", "1.250", "0.250"]
    assert [row[1:] for row in page.rows if row[0] == "noise"] == [
        ["100", "1.500", "1.250", "0.250"],
        ["0.875", "0.750", "0.812", "0.562"],
    ]
    assert "fashion_mnist" in page.text and "it is not here" in page.text


def test_what_was_not_measured_is_said(run: RunContent) -> None:
    skipped = {"skipped": [{"name": "all", "reason": "no <raw>"}]}
    page = parse(section(with_results(run, ood=skipped, uncertainty=None)))
    assert "no <raw>" in page.text and not page.rows
    assert section(with_results(run, ood=None, uncertainty=None)) is None


@pytest.mark.parametrize("value", [3, "x", [], [1, None], {"rows": 3}, [{"auroc": 1, "aleatoric": "x"}]])
def test_malformed_parts_do_no_harm(run: RunContent, value: object) -> None:
    parse(section(with_results(run, uncertainty={"rows": value}, ood={"sets": value, "skipped": value})))
