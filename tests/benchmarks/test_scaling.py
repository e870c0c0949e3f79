"""Cost as work grows: the guide is generated from its results, and small points of every step can be measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import scaling, scaling_guide as guide
from tests.benchmarks.scaling_steps import CANDIDATES, PIXELS, STEPS_OF_A_RUN, VALUES, Point

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return json.loads(scaling.RESULTS.read_text(encoding="utf-8"))


def test_the_guide_matches_the_results(results: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert guide.written(results) == guide.GUIDE.read_text(encoding="utf-8")
    assert guide.FIGURE.read_bytes().startswith(b"\x89PNG")


def test_no_point_is_missing_between_others(results: dict[str, Any]) -> None:
    settings = results["settings"]
    for step, about in STEPS_OF_A_RUN.items():
        for axis in about.must:
            rows = [results["points"].get(scaling.key(step, axis, value)) for value in VALUES[axis]]
            there = [row for row in rows if row is not None]
            assert there and rows[: len(there)] == there, (step, axis)
            *before, last = there
            assert all("seconds" in row for row in before) and ("seconds" in last) != ("cut" in last), (step, axis)
            for row in there:
                assert min(row.get("seconds", [0.0])) < settings["limit_s"]
                assert row.get("extra_mb", 0.0) < 1024 * settings["limit_gb"]


SLOW = {"search_step", "training_step", "draw_promising", "report_all"}
"""Steps that take seconds also where they are small."""


@pytest.mark.parametrize("step", [name for name in STEPS_OF_A_RUN if name not in SLOW])
def test_a_step_can_be_measured(step: str) -> None:
    call = STEPS_OF_A_RUN[step].make(Point(candidates=6, classes=3))
    assert call() is None


def test_a_step_that_takes_too_long_or_too_much_is_cut_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def make(point: Point) -> Any:
        if point.candidates == 30:
            return lambda: [0] * 2**40  # more than there is
        if point.candidates == 100:
            return lambda: sum(iter(int, 1))  # for ever
        return lambda: 0.5

    only = {CANDIDATES: (1.0, "")}
    monkeypatch.setattr(scaling, "LIMIT_S", 0.05)
    monkeypatch.setitem(STEPS_OF_A_RUN, "memory", guide.STEPS_OF_A_RUN["report"]._replace(make=make, must=only))
    monkeypatch.setitem(VALUES, CANDIDATES, (10, 30, 100))
    found: dict[str, Any] = {"points": {}}
    scaling.run(found, ["memory"], {}, tmp_path / "found.json")
    assert found["points"]["memory candidates 10"]["seconds"] == [0.5] * 3
    assert "GB" in found["points"]["memory candidates 30"]["cut"] and len(found["points"]) == 2
    assert json.loads((tmp_path / "found.json").read_text()) == found
    monkeypatch.setitem(VALUES, CANDIDATES, (10, 100))
    scaling.run(found, ["memory"], {}, tmp_path / "found.json")
    assert "CPU seconds" in found["points"]["memory candidates 100"]["cut"]


def test_a_point_that_would_take_too_long_is_not_tried() -> None:
    assert scaling.forecast({10: 1.0}, 100) == 0
    assert scaling.forecast({1: 9.0, 10: 1.0, 100: 100.0}, 1000) == pytest.approx(10_000)


def test_an_exponent_is_that_of_the_upper_half() -> None:
    assert guide.exponent((10, 30, 100, 300), tuple(float(value) ** 2 for value in (10, 30, 100, 300))) == 2
    assert guide.exponent((10, 100), (1.0, 2.0)) is None
    assert [guide.seconds_text(value) for value in (0.00421, 0.35, 1.04, 12.3)] == ["0.0042", "0.35", "1.0", "12"]


def test_what_grows_too_fast_is_told(results: dict[str, Any]) -> None:
    slow = {f"report {CANDIDATES} {value}": {"seconds": [value**2.0], "extra_mb": 1.0} for value in (10, 30, 100, 300)}
    text = guide.verdict({"points": slow})
    assert "2.00 instead of 1" in text and "Of 1 exponents, 0" in text
    fast = {f"training_step {PIXELS} {value}": {"seconds": [value**2.0], "extra_mb": 1.0} for value in (8, 16, 32)}
    assert "instead" not in guide.verdict({"points": fast})
