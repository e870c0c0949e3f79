"""The section on top-k accuracy and prediction sets."""

from __future__ import annotations

import pytest

from nni_hypens.report.content import RunContent
from nni_hypens.report.prediction_sets import section
from tests.support.report_page import parse, with_results

ROW = {
    "coverage": 0.9, "threshold": 0.25, "measured": 0.875, "interval": [0.82, 0.9175], "mean_size": 1.234,
    "single": 0.8, "lowest_class": {"class": 3, "measured": 0.5, "images": 4},
}  # fmt: skip


def test_tables_have_the_numbers(run: RunContent) -> None:
    models = [{"name": "ensemble", "top_k_2": 0.95, "top_k_3": 0.975}, {"name": "best <b>", "top_k_2": 0.9}]
    page = parse(section(with_results(run, top_k=models, prediction_sets={"images": 120, "rows": [ROW]})))
    assert page.rows[:2] == [["model", "top 2", "top 3"], ["ensemble", "95.00%", "97.50%"]]
    assert page.row("best <b>") == ["90.00%", "–"] and "120 validation images" in page.text
    assert page.row("90%") == ["87.50%", "82.00% to 91.75%", "1.23", "80.00%", "3: 50.00% of 4 images"]


def test_a_run_without_them_has_no_section(run: RunContent) -> None:
    assert section(with_results(run, top_k=None, prediction_sets=None)) is None
    assert section(with_results(run, top_k=[], prediction_sets={"images": 3, "rows": []})) is None


@pytest.mark.parametrize("value", [3, "x", [], [1, None], {"rows": 3}, [{"lowest_class": 1, "interval": "x"}]])
def test_malformed_parts_do_no_harm(run: RunContent, value: object) -> None:
    parse(section(with_results(run, top_k=value, prediction_sets={"rows": value, "images": value})))
    parse(section(with_results(run, data=None, prediction_sets={"rows": [{**ROW, "lowest_class": {"class": "x"}}]})))
