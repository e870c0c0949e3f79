"""Checks of single values."""

from __future__ import annotations

import numpy as np
import pytest

from nni_hypens.errors import InputError
from nni_hypens.utils.checks import check_whole, is_count, is_number, is_whole, one_of, require


def test_numbers() -> None:
    assert all(map(is_number, (0, -1.5, 10**400))) and not any(map(is_number, (True, "1", float("nan"), float("inf"))))
    assert all(map(is_count, (1, 2e6))) and not any(map(is_count, (0, -1, True, float("inf"))))
    assert is_whole(2, 2) and not is_whole(1, 2) and not is_whole(2.0, 2) and not is_whole(True, 0)


def test_whole_numbers_may_be_those_of_numpy() -> None:
    number = check_whole("size", np.int64(3))
    assert number == 3 and type(number) is int
    for wrong in (0, True, 2.0, "3", 11):
        with pytest.raises(InputError, match="^size: got .*1..10"):
            check_whole("size", wrong, at_most=10)


def test_names_come_with_the_nearest() -> None:
    one_of("colour", "red", ("red", "green"))
    with pytest.raises(InputError, match="^colour: got 'gren'; .*nearest: green$"):
        one_of("colour", "gren", ("red", "green"))


@pytest.mark.parametrize("mapping", [{}, {"a": "1"}, {"a": True}, {"a": float("nan")}])
def test_mappings_have_keys_of_their_type(mapping: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"^file\.a"):
        require(mapping, {"a": (int, float)}, "file")
