"""Errors, and how any exception becomes one line that a terminal can show."""

from __future__ import annotations

import errno
import os
import traceback

TRACEBACK = "NNI_HYPENS_TRACEBACK"
"""Environment variable; if it is set and not empty, commands show the whole traceback of an error."""

_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EFBIG: "raise the limit on the size of files",
    errno.EROFS: "make the place writable, or choose another",
    errno.EACCES: "make the place writable, or choose another",
    errno.EPERM: "make the place writable, or choose another",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENOMEM: "free some memory, or choose smaller batches",
}

_JOINERS = dict.fromkeys(map(ord, "\u200c\u200d"))
"""Characters without a width that Persian words and emoji need; Python does not call them printable."""


class InputError(ValueError):
    """Bad user input, found before any long work.

    Args:
        field: Name of the option, file, label or argument that is wrong.
        got: What was given.
        expected: What is accepted.
    """

    def __init__(self, field: str, got: object, expected: str) -> None:
        self.field = field
        self.got = got
        self.expected = expected
        super().__init__(one_line(f"{field}: got {got}; expected {expected}"))

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str]]:
        return type(self), (self.field, str(self.got), self.expected)  # worker processes send it


class InputWarning(UserWarning):
    """Input that can be used, but is probably not what the user means. The commands show it in one line."""


class CommandError(RuntimeError):
    """A command that this package started has failed. It has already printed the reason.

    Args:
        code: Exit code of the command.
        what: Description of the command, such as "the search".
    """

    def __init__(self, code: int, what: str) -> None:
        super().__init__(f"{what} ended with exit code {code}")
        self.code, self.what = code, what

    def __reduce__(self) -> tuple[type[CommandError], tuple[int, str]]:
        return type(self), (self.code, self.what)


def printable(text: object) -> str:
    r"""Text that no terminal or page takes for a command, and that UTF-8 can hold.

    White space becomes a space. Control characters (such as the escape that begins a terminal's commands), marks that
    change the direction of writing, and lone surrogates become their Python escapes.

    Examples:
        >>> print(printable("a\tb \x1b[2J \ud800"))
        a b \x1b[2J \ud800
    """
    shown = str(text)
    if is_printable(shown):
        return shown
    return "".join(c if is_printable(c) else " " if c.isspace() else ascii(c)[1:-1] for c in shown)


def is_printable(text: str) -> bool:
    """Whether `printable` leaves a text as it is."""
    return text.translate(_JOINERS).isprintable()


def one_line(text: object) -> str:
    r"""`printable` in one line, with one space for white space of any length.

    Examples:
        >>> one_line("\na\n  b")
        'a b'
    """
    return " ".join(printable(text).split())


def reason(error: BaseException, limit: int = 200) -> str:
    r"""The text of any exception in one line that is not empty: an exception without text gives the name of its type.

    Args:
        error: The exception. Code of users may have raised it, so its text may be anything, or fail.
        limit: Most characters.

    Examples:
        >>> reason(ValueError("\nno table\n  of this name")), reason(KeyError())
        ('no table of this name', 'KeyError')
    """
    try:
        text = one_line(error)
    except Exception:  # the exception's own code runs here
        text = ""
    text = text or type(error).__name__
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def raised(error: BaseException, limit: int = 200) -> str:
    r"""`reason` after the name of the exception's type.

    Examples:
        >>> raised(ValueError("\nno table")), raised(KeyError())
        ('ValueError: no table', 'KeyError')
    """
    name, text = type(error).__name__, reason(error, limit)
    return name if text == name else f"{name}: {text}"


def explain(error: BaseException, goes_on: str = "") -> str:
    """Explain any error in one line: what happened and what the user can do.

    Args:
        error: The error.
        goes_on: The command that continues the work. If it is given, the line adds that finished work is kept.
    """
    if isinstance(error, InputError):
        return str(error)
    remedy = ""
    if isinstance(error, MemoryError):
        what, remedy = "out of memory", _REMEDIES[errno.ENOMEM]
    elif isinstance(error, OSError):
        what = error.strerror or reason(error)
        what = f"{error.filename}: {what}" if error.filename is not None else what
        remedy = _REMEDIES.get(error.errno or 0, "")
    else:
        ours = type(error) is RuntimeError or type(error).__module__.partition(".")[0] == "nni_hypens"
        what = reason(error, 500) if ours else raised(error, 500)
        remedy = "" if os.environ.get(TRACEBACK) else f"{TRACEBACK}=1 shows the traceback"
    kept = f"finished work is kept; continue with: {goes_on}" if goes_on else ""
    return one_line("; ".join(part for part in (what, remedy, kept) if part))


def whole_traceback(error: BaseException) -> str:
    """The traceback of an error and of all that led to it, if the user wants to see it (`TRACEBACK`); else empty."""
    if not os.environ.get(TRACEBACK):
        return ""
    earlier: BaseException | None = error
    while earlier is not None:  # `from None` hides from a line what a traceback should show
        earlier.__suppress_context__ = False
        earlier = earlier.__cause__ or earlier.__context__
    lines = "".join(traceback.format_exception(error)).splitlines()
    return "".join(f"{printable(line)}\n" for line in lines)
