"""The section on known results."""

from __future__ import annotations

from nni_hypens.report.content import RunContent
from nni_hypens.report.known_results import section
from tests.support.report_page import parse, with_results


def test_each_known_result_has_a_row(run: RunContent) -> None:
    metrics = {
        "a<b": {
            "supernet_nll": {"spearman": -0.754, "architectures": 7},
            "validation_nll": {"spearman": None, "architectures": 2},
        }
    }
    page = parse(section(with_results(run, known_results={"candidates": 8, "found": 7, "metrics": metrics})))
    assert page.row("a<b") == ["-0.75", "7", "–", "2"]
    assert "7 of 8 candidates" in page.text


def test_a_table_without_these_architectures_and_no_table(run: RunContent) -> None:
    assert section(run) is None
    page = parse(section(with_results(run, known_results={"candidates": 8, "found": 0, "metrics": {}})))
    assert not page.rows and "8 candidates" in page.text
