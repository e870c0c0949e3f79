"""The section on calibration and disagreement."""

from __future__ import annotations

import pytest

from nni_hypens.errors import InputError
from nni_hypens.report.calibration import (
    Disagreement,
    ReliabilityCurve,
    compared,
    disagreement_data,
    draw_disagreement,
    draw_reliability,
    reliability_data,
    section,
)
from nni_hypens.report.content import RunContent
from tests.support.report_page import parse, with_results
from tests.support.report_svg import check_svg

pytestmark = pytest.mark.filterwarnings("error")


def test_reliability_data_leaves_out_empty_bins() -> None:
    bins = {"confidence": [None, 0.4, float("nan"), 0.9], "accuracy": [None, 0.5, None, 1.0], "count": [0, 4, 0, 6]}
    curve = reliability_data("ensemble", bins)
    assert curve == ("ensemble", 4, (1, 3), (0.4, 0.9), (0.5, 1.0), (4, 6))
    assert reliability_data("none", {}) == ("none", 0, (), (), (), ())
    with pytest.raises(InputError, match="^reliability of x: got lists of 1, 2, 1"):
        reliability_data("x", {"confidence": [0.5], "accuracy": [0.5, 1], "count": [1]})


def test_disagreement_data_must_be_square() -> None:
    assert disagreement_data(["a", "b"], [[0, 0.25], [0.25, 0]]) == (("a", "b"), ((0, 0.25), (0.25, 0)))
    for wrong in ([[0, 0.1]], [[0], [0]], [[0, None], [0.1, 0]]):
        with pytest.raises(InputError, match="^diversity.pairwise: got .*expected 2 x 2"):
            disagreement_data(["a", "b"], wrong)


def test_drawings_name_their_content() -> None:
    data = disagreement_data(["a", "b", "c"], [[0, 0.25, 0.5], [0.25, 0, 0.125], [0.5, 0.125, 0]])
    parsed = check_svg(draw_disagreement(data, "h"), "h")
    assert {"25.0%", "50.0%", "12.5%", "a", "b", "c"} <= set(parsed.text)
    assert all(text in parsed.label for text in ("12.5%", "50.0%", "c and a"))
    curve = ReliabilityCurve("ensemble", 2, (0, 1), (0.4, 0.8), (0.5, 1.0), (1, 3))
    parsed = check_svg(draw_reliability([curve, curve._replace(name="best", count=(), bins=())], "r"), "r")
    assert "ensemble: mean confidence 70.0%, accuracy 87.5%." in parsed.label and "best: no images." in parsed.label
    check_svg(draw_disagreement(Disagreement(("a", "b"), ((0, 0), (0, 0))), "h"), "h")


def test_table_marks_the_combination_that_was_used(run: RunContent) -> None:
    page = parse(section(run))
    assert [row[0].endswith("(used)") for row in page.rows] == [False, True, *[False] * 5]
    assert [row[-1] for row in page.rows[1:]] == ["0.833", "0.950 after 0.900, 0.900, 0.900", "–"] * 2
    assert [row[2] for row in page.rows[1:]] == [f"{row['nll']:.4f}" for row in run.rows("calibration")]
    assert len({row[0] for row in page.rows}) == 7
    linear = {**run.part("calibration"), "pooling": "linear", "method": "none"}
    page = parse(section(with_results(run, calibration=linear)))
    assert [row[0].endswith("(used)") for row in page.rows[1:]] == [*[False] * 5, True]


def test_results_of_earlier_versions_have_one_pooling(run: RunContent) -> None:
    rows = [{"method": name, "nll": 0.5, "temperature": 1.0} for name in ("ensemble", "none")]
    older = with_results(run, calibration={"method": "none", "rows": rows})
    page = parse(section(older))
    assert [row[0].endswith("(used)") for row in page.rows] == [False, False, True]
    assert all("average of probabilities" in row[0] for row in page.rows[1:])
    assert "before any temperature" in compared(older)


@pytest.mark.parametrize(("method", "own"), [("ensemble", True), ("members", True), ("none", False)])
def test_what_selection_compared_is_said(run: RunContent, method: str, own: bool) -> None:
    words = compared(with_results(run, calibration={"method": method, "pooling": "log"}))
    assert ("own temperature" in words) == own != ("before any temperature" in words)


def test_one_member_disagrees_with_nobody(run: RunContent) -> None:
    page = parse(section(with_results(run, diversity={"pairwise": None})))
    assert len(page.named("svg")) == 1


@pytest.mark.parametrize("value", [None, {}, {"rows": 3}, {"rows": [{"method": "members", "member_temperatures": 3}]}])
def test_malformed_parts_do_no_harm(run: RunContent, value: object) -> None:
    parse(section(with_results(run, calibration=value)))
