from __future__ import annotations

import errno
import pickle

import pytest
from hypothesis import given, strategies as st

from nni_hypens.errors import (
    TRACEBACK,
    CommandError,
    InputError,
    explain,
    is_printable,
    one_line,
    printable,
    raised,
    reason,
    whole_traceback,
)


class SpeechlessError(Exception):
    """Of a user whose exceptions have faults, too."""

    def __str__(self) -> str:
        raise KeyError("text")


@given(field=st.text(), got=st.text() | st.none() | st.integers(), expected=st.text())
def test_the_message_is_one_line(field: str, got: object, expected: str) -> None:
    assert is_printable(str(InputError(field, got, expected)))


@given(text=st.text())
def test_any_exception_is_one_line_that_is_not_empty(text: str) -> None:
    for kind in (ValueError, RuntimeError, OSError, KeyError, MemoryError, UserWarning, InputError, SpeechlessError):
        error = kind(text, text, text) if kind is InputError else kind(f"\n{text}")
        for line in (reason(error), raised(error), explain(error), explain(error, "again")):
            assert is_printable(line) and line.strip(), (kind, text)


def test_what_a_terminal_would_obey_is_shown_instead() -> None:
    assert one_line("a\tb\r\n c") == "a b c" and printable(" né\n") == " né " and printable("né 猫 \\n") == "né 猫 \\n"
    assert printable("\u200c\u200d") == "\u200c\u200d"
    assert printable("\x1b[2J\x07\x9b\u202e\ud800") == "\\x1b[2J\\x07\\x9b\\u202e\\ud800"


def test_the_text_is_short_and_names_the_type_once() -> None:
    assert reason(ValueError("x" * 300), 50) == "x" * 47 + "..."
    assert raised(ValueError("\n\n  far\n off")) == "ValueError: far off"
    assert raised(KeyError()) == reason(KeyError()) == "KeyError" and reason(SpeechlessError()) == "SpeechlessError"


def test_the_line_names_the_way_to_the_traceback_which_shows_all_that_led_to_the_error(monkeypatch) -> None:
    try:
        try:
            raise KeyError("the first \x1b cause")
        except KeyError:
            raise InputError("data", "this", "that") from None
    except InputError as caught:
        error = caught
    monkeypatch.delenv(TRACEBACK, raising=False)
    assert whole_traceback(error) == "" and f"{TRACEBACK}=1" in explain(ValueError("x"))
    assert TRACEBACK not in explain(error)
    monkeypatch.setenv(TRACEBACK, "1")
    shown = whole_traceback(error)
    assert "KeyError" in shown and "cause" in shown and "\x1b" not in shown and __file__ in shown
    assert TRACEBACK not in explain(ValueError("x"))


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


def test_errors_come_whole_from_worker_processes() -> None:
    error = pickle.loads(pickle.dumps(InputError("methods", lambda: 1, "a known method")))
    assert isinstance(error, InputError) and (error.field, error.expected) == ("methods", "a known method")
    ended = pickle.loads(pickle.dumps(CommandError(7, "the search")))
    assert ended.code == 7 and str(ended) == "the search ended with exit code 7"
