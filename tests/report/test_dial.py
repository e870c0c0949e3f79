"""The section on the dial."""

from __future__ import annotations

import dataclasses

import pytest

from nni_hypens.report import dial
from nni_hypens.report.content import RunContent
from nni_hypens.report.dial import (
    AccuracyByEdges,
    AccuracyPoint,
    Dial,
    DialPoint,
    accuracy_data,
    dial_data,
    dial_of,
    draw_accuracy,
    draw_dial,
    section,
)
from nni_hypens.report.html import render_section
from tests.support.report_page import parse, with_results
from tests.support.report_svg import check_svg

pytestmark = pytest.mark.filterwarnings("error")


def test_dial_data_is_exact() -> None:
    pool = [
        {"id": "b", "lam": None, "shared_edges": 4, "source": "base"},
        {"id": "m", "lam": 1.5, "shared_edges": 2, "source": "mode"},
        {"id": "t", "lam": 3.0, "shared_edges": 3, "source": "draw"},
        {"id": "p", "lam": -0.25, "shared_edges": 0, "source": "draw"},
    ]
    data = dial_data(pool, {"b", "m", "t"}, {"m"}, 4)
    assert data.points == (
        DialPoint("m", 1.5, 2, "mode", "member"),
        DialPoint("t", 3.0, 3, "draw", "trained"),
        DialPoint("p", -0.25, 0, "draw", "pool"),
    )
    assert (data.n_edges, data.omitted) == (4, 1)
    assert data.mean_absolute_error == pytest.approx((0.5 + 0 + 0.25) / 3)
    with_modes = dial_data(pool, set(), set(), 4, [[0, 1], [0.5, 1], [4, 4]])
    assert with_modes.modes == ((0.0, 1), (0.5, 1), (4.0, 4)) and with_modes.mean_absolute_error == pytest.approx(0.5)
    assert "0.50 edges" in check_svg(draw_dial(with_modes, "d"), "d").label
    assert dial_data(pool[:1], set(), set(), 4) == Dial((), 4, 1, None)


def test_a_regulariser_that_counts_no_edges_has_no_error_in_edges(run: RunContent) -> None:
    asked = ("requested shared edges", "as requested", "Mean error of the dial")
    for counts_edges in (None, True):  # None: results of earlier versions
        text = str(render_section(section(with_results(run, counts_edges=counts_edges))))
        assert all(words in text for words in asked)
    other = with_results(run, counts_edges=False)
    assert dial_of(other) == dial_of(run)._replace(mean_absolute_error=None, counts_edges=False)
    text = str(render_section(section(other)))
    assert not any(words in text for words in asked) and "distance of its own" in text
    assert "edges off" not in text


def test_accuracy_data_is_exact() -> None:
    rows = [
        {"id": "b", "test": {"accuracy": 0.5}, "validation": {"accuracy": 0.6}},
        {"id": "m", "lam": None, "shared_edges": 2, "test": {"accuracy": 0.7}, "validation": None, "is_member": True},
        {"id": "n", "shared_edges": 3, "test": None, "validation": {"accuracy": float("nan")}},
    ]
    data = accuracy_data(rows, 0.9, "b")
    assert data == ((AccuracyPoint("m", 2.0, 0.7, None, True),), 0.9, 0.5)
    assert accuracy_data(rows, 0.9, None).base is None


def test_drawings_of_next_to_nothing() -> None:
    check_svg(draw_dial(Dial((DialPoint("a", 0.0, 0, "", "pool"),), 0, 0, 0.0), "d"), "d")
    point = AccuracyPoint("a", 1.0, None, 0.5, False)
    check_svg(draw_accuracy(AccuracyByEdges((point,), 0.5, None), "a"), "a")


def test_section_counts_candidates_without_lam(run: RunContent) -> None:
    page = parse(section(run))
    assert len(page.named("svg")) == 2 and "1 candidate without" in page.text


def test_a_run_without_numbers_has_no_section(run: RunContent) -> None:
    bare = [{"id": row["id"]} for row in run.candidates]
    assert section(dataclasses.replace(run, candidates=bare, trained=[])) is None


def test_of_many_candidates_some_are_points_and_all_members(run: RunContent, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dial_of(run)
    monkeypatch.setattr(dial, "MOST_POINTS", 4)
    some = dial._thinned(data.points, lambda point: point.role == "member")
    assert len(some) < len(data.points) and set(some) < set(data.points)
    assert [point for point in some if point.role == "member"] == [one for one in data.points if one.role == "member"]
    assert sum(point.role != "member" for point in some) <= 4
    assert "a part is shown" in parse(section(run)).text
