"""The error that bad user input raises: one line that names the field, what was got and what would do."""

from __future__ import annotations


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
