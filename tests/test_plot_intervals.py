"""What the figure of differences shows, and that it says so in words."""

from __future__ import annotations

from typing import Any

import pytest

from nni_hypens import plots
from nni_hypens.plot_intervals import Difference, difference_data, draw_differences, interval


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
    assert 'role="img"' in svg and "a: +2.00 points (+1.00 to +3.00). b: -2.00 points" in svg
    assert "right of zero the ensemble is better" in svg and ">c</text>" in svg
    assert "var(--first)" in svg and "var(--second)" in svg and "var(--ink)" in svg
    assert not any(colour in svg for colour in plots.COLOUR_VARIABLES)
    svg = draw_differences(difference_data({"rows": rows()}, "nll"), "nll", "d")
    assert "left of zero the ensemble is better" in svg and "a: -0.1000 (-0.2000 to -0.0500)." in svg


def test_colour_and_filling_say_which_way() -> None:
    """Filled in the colour of better or worse; open, in the colour of text, where the interval holds zero."""
    for sign, colour in ((1, "first"), (-1, "second"), (0, "ink")):
        svg = draw_differences([Difference("a", 0.1 * (sign or 1), 0.05 * sign, 0.2, sign)], "accuracy", "d")
        assert (f"fill: var(--{colour}); stroke: var(--{colour})" in svg) == (sign != 0)
        assert f"stroke: var(--{colour})" in svg
