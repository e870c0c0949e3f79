"""Argparse with errors of one line that name the nearest flag or command, and help that ends in examples."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

EXIT_INPUT = 2


class Parser(argparse.ArgumentParser):
    """A parser of the command line, or of one of its commands.

    Args:
        examples: What the help ends with, as it is.
        **options: Of ``argparse.ArgumentParser``.
    """

    def __init__(self, *, examples: str = "", **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(epilog=examples or None, allow_abbrev=False, **options)
        self.commands: dict[str, Parser] = {}
        self.hidden: tuple[str, ...] = ()

    def parse_all(self, words: Sequence[str] | None = None) -> argparse.Namespace:
        """Parse all words; a flag that is not there ends the program, with the nearest one that is."""
        found, rest = self.parse_known_args(words)
        if rest:
            self.commands.get(getattr(found, "command", ""), self).unknown(rest)
        return found

    def unknown(self, words: Sequence[str]) -> NoReturn:
        """End because of words that are no arguments of this command."""
        flags = [word.partition("=")[0] for word in words if word.startswith("-")]
        if not flags:
            self.error(f"got {' '.join(words)} beyond what `{self.prog} --help` lists")
        known = [flag for action in self._actions for flag in action.option_strings]
        wanted = f"expected one that `{self.prog} --help` lists{near(flags[0], known)}"
        self.error(f"{flags[0]}: got a flag that is not there; {wanted}")

    def error(self, message: str) -> NoReturn:
        """End with exit code 2 and one line."""
        wrong = re.match(r"argument command: invalid choice: '(.*?)' ", message)
        if wrong:
            names = [name for name in self.commands if name not in self.hidden]
            message = f"command: got {wrong[1]!r}; expected one of {', '.join(names)}{near(wrong[1], names)}"
        self.exit(EXIT_INPUT, f"{self.prog}: {message}\n")


def near(word: str, known: Iterable[str]) -> str:
    """``; nearest: ...`` where some known word is like this one."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return f"; nearest: {found[0]}" if found else ""
