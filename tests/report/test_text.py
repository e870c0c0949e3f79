"""Numbers and values as text, whatever the file holds."""

from __future__ import annotations

import pytest

from nni_hypens.report.text import fixed, metric_cells, number, percent, plain, plural, short


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), True, "1", [1]])
def test_what_is_no_number_is_a_dash(value: object) -> None:
    assert number(value) is None
    assert fixed(value) == percent(value) == "–"


def test_numbers() -> None:
    assert fixed(0.12345) == "0.1235" and fixed(3, 0) == "3" and fixed(0.5, 2, sign="+") == "+0.50"
    assert percent(0.5) == "50.00%" and percent(0.5, 0) == "50%"
    assert metric_cells({"accuracy": 0.5, "nll": 1}) == ["50.00%", "1.0000", "–", "–", "–"]
    assert metric_cells(None) == ["–"] * 5
    assert [plural(count, "seed") for count in (0, 1, 2)] == ["0 seeds", "1 seed", "2 seeds"]


def test_values_in_one_line() -> None:
    assert plain({"a": [1.0, None]}) == "a 1, none"
    assert plain(list(range(13))).endswith("11 …")


def test_text_is_short() -> None:
    assert short("abcdef", 4) == "abc…" and short("abcd", 4) == "abcd"
