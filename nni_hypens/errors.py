"""The error that bad user input raises: one line that names the field, what was got and what would do."""

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
        field: Name of the option, file, label or argument at fault.
        got: What was given.
        expected: What would do instead.
    """

    def __init__(self, field: str, got: object, expected: str) -> None:
        self.field = field
        self.got = got
        self.expected = expected
        super().__init__(" ".join(f"{field}: got {got}; expected {expected}".split()))


class CommandError(RuntimeError):
    """A command that was run for the user has failed, and has said itself why.

    Args:
        code: Its exit code.
        what: What it was.
    """

    def __init__(self, code: int, what: str) -> None:
        super().__init__(f"{what} ended with exit code {code}")
        self.code = code


def explain(error: OSError | MemoryError, goes_on: str = "") -> str:
    """What the operating system refused, and what to do about it, in one line.

    Args:
        error: The error.
        goes_on: The command that goes on afterwards; what is finished is kept then.
    """
    if isinstance(error, MemoryError):
        what, remedy = "out of memory", _REMEDIES[errno.ENOMEM]
    else:
        what = error.strerror or str(error) or type(error).__name__
        what = f"{error.filename}: {what}" if error.filename is not None else what
        remedy = _REMEDIES.get(error.errno or 0, "")
    kept = f"what is finished is kept; go on with: {goes_on}" if goes_on else ""
    return " ".join("; ".join(part for part in (what, remedy, kept) if part).split())
