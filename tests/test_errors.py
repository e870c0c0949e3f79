from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nni_hypens.errors import InputError


@given(field=st.text(), got=st.text() | st.none() | st.integers(), expected=st.text())
def test_the_message_is_one_line(field: str, got: object, expected: str) -> None:
    assert len(str(InputError(field, got, expected)).splitlines()) <= 1


def test_names_the_field_what_was_got_and_what_would_do() -> None:
    error = InputError("data", "a\nb", "one\n  thing")
    assert str(error) == "data: got a b; expected one thing"
    assert (error.field, error.got, error.expected) == ("data", "a\nb", "one\n  thing")
    with pytest.raises(ValueError, match="^data: got"):
        raise error
