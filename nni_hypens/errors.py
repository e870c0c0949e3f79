"""Errors that the commands show in one line: bad input, a failed command, a refusal of the operating system."""

from __future__ import annotations

import errno

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
        super().__init__(" ".join(f"{field}: got {got}; expected {expected}".split()))


class CommandError(RuntimeError):
    """A command that this package started has failed. It has already printed the reason.

    Args:
        code: Exit code of the command.
        what: Description of the command, such as "the search".
    """

    def __init__(self, code: int, what: str) -> None:
        super().__init__(f"{what} ended with exit code {code}")
        self.code = code


def explain(error: OSError | MemoryError, goes_on: str = "") -> str:
    """Explain in one line what the operating system refused, and what the user can do.

    Args:
        error: The error.
        goes_on: The command that continues the work. If it is given, the line adds that finished work is kept.
    """
    if isinstance(error, MemoryError):
        what, remedy = "out of memory", _REMEDIES[errno.ENOMEM]
    else:
        what = error.strerror or str(error) or type(error).__name__
        what = f"{error.filename}: {what}" if error.filename is not None else what
        remedy = _REMEDIES.get(error.errno or 0, "")
    kept = f"finished work is kept; continue with: {goes_on}" if goes_on else ""
    return " ".join("; ".join(part for part in (what, remedy, kept) if part).split())
