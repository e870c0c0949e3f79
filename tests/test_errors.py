from __future__ import annotations

import errno

import pytest
from hypothesis import given, strategies as st

from nni_hypens.errors import InputError, explain


@given(field=st.text(), got=st.text() | st.none() | st.integers(), expected=st.text())
def test_the_message_is_one_line(field: str, got: object, expected: str) -> None:
    assert len(str(InputError(field, got, expected)).splitlines()) <= 1


def test_names_the_field_what_was_got_and_what_would_do() -> None:
    error = InputError("data", "a\nb", "one\n  thing")
    assert str(error) == "data: got a b; expected one thing"
    assert (error.field, error.got, error.expected) == ("data", "a\nb", "one\n  thing")
    with pytest.raises(ValueError, match="^data: got"):
        raise error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), "a/b: No space left on device; free some space"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system; make the place writable, or choose"),
        (OSError("the manager\nis gone"), "the manager is gone; finished work is kept; continue with: again"),
        (MemoryError(), "out of memory; free some memory, or choose smaller batches; finished work"),
    ],
)
def test_errors_of_the_system_say_what_to_do(error: OSError | MemoryError, says: str) -> None:
    assert explain(error, "again").startswith(says) and "\n" not in explain(error)
    assert "finished" not in explain(error)
