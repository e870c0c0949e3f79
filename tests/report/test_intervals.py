"""The section that compares the ensemble with other models."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from nni_hypens.report.content import RunContent
from nni_hypens.report.intervals import Difference, difference_data, draw_differences, interval, section
from nni_hypens.report.svg import COLOUR_VARIABLES
from tests.support.report_page import parse, with_results
from tests.support.report_svg import check_svg


def test_table_has_every_interval(run: RunContent) -> None:
    page = parse(section(run))
    rows = {row[0]: row[1:] for row in page.rows}
    for item in run.rows("intervals"):
        accuracy, nll = item["accuracy"], item["nll"]
        if item["name"] != "ensemble":
            cells, ends = rows[item["name"]], accuracy["difference_interval"]
            assert cells[0] == f"{100 * accuracy['difference']:+.2f} ({100 * ends[0]:+.2f} to {100 * ends[1]:+.2f})"
            low, high = nll["difference_interval"]
            assert cells[1] == f"{nll['difference']:+.4f} ({low:+.4f} to {high:+.4f})"
    assert "ensemble" not in rows
    assert all(text in page.text for text in ("200 test images", "500 resamples", "seed 0", "95% interval"))
    assert len(page.named("svg")) == 2


@pytest.mark.parametrize(
    "value", [None, {}, {"rows": 3}, {"rows": [1, {"name": "x", "accuracy": 1, "nll": {"value": []}}]}]
)
def test_missing_and_malformed_intervals_are_not_drawn(run: RunContent, value: Any) -> None:
    assert not parse(section(with_results(run, intervals=value))).named("svg")


def rows() -> list[Any]:
    def measure(value: float, low: float, high: float) -> dict[str, Any]:
        return {"value": 0.9, "interval": [0.8, 0.95], "difference": value, "difference_interval": [low, high]}

    return [
        {"name": "ensemble", "accuracy": {"value": 0.9, "interval": [0.8, 0.95]}, "nll": {"value": 0.3}},
        {"name": "a", "accuracy": measure(0.02, 0.01, 0.03), "nll": measure(-0.1, -0.2, -0.05)},
        {"name": "b", "accuracy": measure(-0.02, -0.03, -0.01), "nll": measure(0.1, 0.05, 0.2)},
        {"name": "c", "accuracy": measure(0.0, -0.01, 0.01), "nll": measure(0.01, -0.1, 0.1)},
    ]


def test_data_is_exact() -> None:
    found = {"rows": [*rows(), 3, {"name": "x"}, {"name": "y", "nll": {"difference": 1, "difference_interval": [1]}}]}
    assert difference_data(found, "accuracy") == (
        Difference("a", 0.02, 0.01, 0.03, 1),
        Difference("b", -0.02, -0.03, -0.01, -1),
        Difference("c", 0, -0.01, 0.01, 0),
    )
    assert [row.sign for row in difference_data(found, "nll")] == [1, -1, 0]  # less NLL is better
    assert difference_data({}, "nll") == ()


@pytest.mark.parametrize("value", [None, 3, [1], [1, 2, 3], [1, None], ["1", "2"], [float("nan"), 1]])
def test_what_is_no_interval(value: Any) -> None:
    assert interval(value) is None and interval([1, 2]) == (1.0, 2.0)


def test_drawing_says_what_it_shows() -> None:
    found = difference_data({"rows": rows()}, "accuracy")
    svg = draw_differences(found, "accuracy", "d")
    assert "a: +2.00 points (+1.00 to +3.00). b: -2.00 points" in check_svg(svg, "d").label
    assert "right of zero" in check_svg(svg, "d").label and "c" in check_svg(svg, "d").text
    assert "var(--first)" in svg and "var(--second)" in svg and "var(--ink)" in svg
    assert not any(colour in svg for colour in COLOUR_VARIABLES)
    label = check_svg(draw_differences(difference_data({"rows": rows()}, "nll"), "nll", "d"), "d").label
    assert "left of zero" in label and "a: -0.1000 (-0.2000 to -0.0500)." in label


def test_colour_and_filling_say_which_way() -> None:
    """Filled in the colour of better or worse; open, in the colour of text, where the interval includes zero."""
    for sign, colour in ((1, "first"), (-1, "second"), (0, "ink")):
        svg = draw_differences([Difference("a", 0.1 * (sign or 1), 0.05 * sign, 0.2, sign)], "accuracy", "d")
        assert (f"fill: var(--{colour}); stroke: var(--{colour})" in svg) == (sign != 0)
        assert f"stroke: var(--{colour})" in svg


def test_a_base_that_is_a_member_is_compared_once(run: RunContent) -> None:
    """Unless its baseline has a temperature that the member does not have."""
    name, own = "base architecture alone", next(row for row in run.trained if row["id"] == "c000")["test"]["nll"]
    for nll, once in ((own, True), (own - 0.125, False)):
        row = {**rows()[1], "name": name}
        row["nll"] = {**row["nll"], "value": nll}
        changed = with_results(run, intervals={"rows": [*rows(), row]})
        assert name in [cells[0] for cells in parse(section(changed)).rows]
        member = dataclasses.replace(changed, members=[*run.members, {"id": "c000"}])
        assert (name not in [cells[0] for cells in parse(section(member)).rows]) == once
