"""What a user asks of a new choice of members, as flags."""

from __future__ import annotations

import pytest

from nni_hypens.errors import InputError
from nni_hypens.run.request import Request


@pytest.mark.parametrize(
    ("members", "ids", "sizes", "names"),
    [("2", None, (2,), ()), ("1..3", None, (1, 2, 3), ()), (None, "c05, c07", (), ("c05", "c07"))],
)
def test_flags_are_read_and_written(
    members: str | None, ids: str | None, sizes: tuple[int, ...], names: tuple[str, ...]
) -> None:
    request = Request.read(members, ids)
    assert request == Request(sizes, names)
    flag, value = request.flags.split()
    assert Request.read(**{"members": None, "ids": None, flag[2:]: value}) == request


def test_all_is_a_request() -> None:
    request = Request.read(" all ", None)
    assert request == Request(all=True) and request.flags == "--members all" and Request.read("all", None) == request
    with pytest.raises(InputError, match="^ids: got --ids c1 with --members all"):
        Request.read("all", "c1")


def test_no_flag_is_no_request() -> None:
    assert Request.read(None, None) is None


@pytest.mark.parametrize("members", ["0", "3..2", "two", "1..", "1.5", "-1", "1...3", "9" * 30, "", "ALL", "some"])
def test_what_is_no_number_of_members(members: str) -> None:
    with pytest.raises(InputError, match="^members: got"):
        Request.read(members, None)


@pytest.mark.parametrize(("members", "ids"), [(None, ""), (None, "c1,c1"), ("2", "c1")])
def test_what_is_no_list_of_ids(members: str | None, ids: str) -> None:
    with pytest.raises(InputError, match="^ids: got"):
        Request.read(members, ids)
