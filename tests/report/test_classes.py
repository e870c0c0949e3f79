"""The section on the accuracy of each class."""

from __future__ import annotations

from typing import Any

import pytest

from nni_hypens.report.classes import Classes, class_data, draw_confusion, section
from nni_hypens.report.content import RunContent
from tests.support.report_page import parse, with_results
from tests.support.report_svg import check_svg

FOUND = {"images": [4, 2, 0], "right": [3, 1, 0], "best_member_right": [4, 0, 0], "confused": [[1, 0, 1], [0, 2, 1]]}


def test_data_has_names_and_counts() -> None:
    data = class_data(FOUND, ["cat", "dog", "eel"])
    assert data == (("cat", "dog", "eel"), (4, 2, 0), (3, 1, 0), (4, 0, 0), ((1, 0, 1), (0, 2, 1)))
    assert class_data(FOUND, ["one"]) == data._replace(names=("0", "1", "2"))


@pytest.mark.parametrize(
    "change",
    [{"images": None}, {"right": [1, 2]}, {"images": [4, -1, 0]}, {"images": [4, True, 0]}, {"right": [0.5, 1, 2]}],
)
def test_what_is_no_table_of_classes_has_no_section(run: RunContent, change: dict[str, Any]) -> None:
    assert section(with_results(run, classes={**FOUND, **change})) is None


def test_pairs_outside_the_classes_are_left_out() -> None:
    data = class_data({**FOUND, "confused": [[0, 3, 1], [0, 0, 5], [1], "x", [1, 2, 7], [2, 1, 9]]}, None)
    assert data is not None and data.confused == ((2, 1, 9), (1, 2, 7))
    assert class_data({**FOUND, "confused": 3}, None) == data._replace(confused=())


def test_the_worst_class_comes_first(run: RunContent) -> None:
    names = ["cat", "<dog>", "eel"]
    page = parse(section(with_results(run, classes=FOUND, data={"class_names": names})))
    assert [row[0] for row in page.rows[1:]] == ["<dog>", "cat", "eel"]
    assert page.row("<dog>") == ["2", "50.0%", "0.0%"] and page.row("eel") == ["0", "–", "–"]
    assert len(page.named("svg")) == 1


def test_the_drawing_has_every_number_and_says_the_most_frequent_error() -> None:
    data = Classes(("cat", "dog"), (14, 12), (13, 5), (13, 5), ((1, 0, 7), (0, 1, 1)))
    svg = check_svg(draw_confusion(data, "c"), "c")
    assert {"13", "5", "7", "1", "cat", "dog"} <= {*svg.text}
    assert "18 of 26 are right" in svg.label and "8 errors, most take dog for cat: 7" in svg.label
    check_svg(draw_confusion(data._replace(confused=(), right=(0, 0)), "c"), "c")


def test_many_classes_are_a_table_of_pairs(run: RunContent) -> None:
    many = {"images": [3] * 30, "right": [2] * 30, "best_member_right": [1] * 30, "confused": [[5, 6, 3], [7, 8, 1]]}
    page = parse(section(with_results(run, classes=many)))
    assert not page.named("svg") and page.row("5")[:2] == ["6", "3"] and "2 pairs" in page.text
