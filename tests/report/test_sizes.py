"""The first table of the report: what members gain and cost."""

from __future__ import annotations

from typing import Any

import pytest

from nni_hypens.report.content import RunContent
from nni_hypens.report.html import make_section
from nni_hypens.report.page import render_report
from nni_hypens.report.sizes import sizes_table
from tests.support.report_page import Page, parse, with_results

COSTS = {"parameters": 1234, "flops": 5_678_900, "latency_ms": 0.125}


def size(name: str, members: int, method: str = "greedy", **changes: Any) -> dict[str, Any]:
    scores = {"nll": members / 8, "accuracy": 0.5, "ece": 0.25}
    return {
        "name": name,
        "members": [f"c{i}" for i in range(members)],
        "method": method,
        "costs": COSTS,
        **scores,
        **changes,
    }


@pytest.fixture
def sized(run: RunContent) -> RunContent:
    return with_results(run, sizes=[size("every", 4, "all"), size("five", 5), size("one", 1)])


def test_rows_are_sorted_and_the_chosen_one_is_among_them(sized: RunContent) -> None:
    page = parse(make_section("first", sizes_table(with_results(sized, intervals=None))))
    assert [row[0] for row in page.rows[1:]] == ["1", "3 (this ensemble)", "5", "all, weighted: 4"]
    chosen, selection = sized.results["ensemble"], sized.part("selection")
    assert page.rows[2][1:4] == [f"{chosen['nll']:.4f}", f"{chosen['accuracy']:.2%}", f"{chosen['ece']:.4f}"]
    assert page.rows[2][4:] == ["12,345", "67,890", "1.25"] and selection["costs"]["parameters"] == 12_345
    assert page.rows[1][1:] == ["0.1250", "50.00%", "0.2500", "1,234", "5,678,900", "0.12"]


def test_an_ensemble_of_all_is_the_last_row_where_it_was_chosen(sized: RunContent) -> None:
    everyone = with_results(sized, sizes=[size("five", 5)], selection={"method": "all"})
    page = parse(make_section("first", sizes_table(everyone)))
    assert [row[0] for row in page.rows[1:]] == ["5", "all, weighted: 3 (this ensemble)"]
    assert page.rows[2][4:] == ["–", "–", "–"]  # no costs


def test_intervals_stand_beside_their_values(sized: RunContent) -> None:
    (own,) = [row for row in sized.rows("intervals") if row["name"] == "ensemble"]
    measured = {"value": 0.125, "interval": [0.0625, 0.25]}
    rows = [own, {"name": "one", "nll": measured, "accuracy": {"value": 0.5, "interval": [0.25, 0.75]}}]
    page = parse(make_section("first", sizes_table(with_results(sized, intervals={"level": 0.95, "rows": rows}))))
    assert page.rows[1][1:3] == ["0.1250 (0.0625 to 0.2500)", "50.00% (25.00% to 75.00%)"]
    low, high = own["nll"]["interval"]
    assert page.rows[2][1] == f"{own['nll']['value']:.4f} ({low:.4f} to {high:.4f})"
    assert "95% interval" in page.text


def test_it_is_the_first_table_of_the_page_where_it_was_measured(run: RunContent, sized: RunContent) -> None:
    first = Page(render_report(sized)).rows[1][0]
    assert first == "1" and sizes_table(run) is None
    assert "this ensemble)" not in Page(render_report(run)).text


@pytest.mark.parametrize("value", [3, [3], {"a": 1}, [{}], [{"members": None, "costs": 3, "nll": "x"}]])
def test_malformed_rows_do_no_harm(run: RunContent, value: object) -> None:
    table = sizes_table(with_results(run, sizes=value))
    if table is not None:
        parse(make_section("first", table))
