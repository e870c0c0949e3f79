"""Argparse with one-line errors that name the nearest flag or command, and help that ends with examples."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from nni_hypens.errors import printable
from nni_hypens.utils.checks import nearest

EXIT_INPUT = 2


class Parser(argparse.ArgumentParser):
    """A parser of the command line, or of one of its commands.

    Args:
        examples: The end of the help, printed as it is.
        **options: Of `argparse.ArgumentParser`.
    """

    def __init__(self, *, examples: str = "", **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(epilog=examples or None, allow_abbrev=False, **options)
        self.commands: dict[str, Parser] = {}
        self.hidden: tuple[str, ...] = ()

    def parse_all(self, words: Sequence[str] | None = None) -> argparse.Namespace:
        """Parse all words; an unknown flag ends the program with exit code 2 and names the nearest flag."""
        found, rest = self.parse_known_args(words)
        if rest:
            self.commands.get(getattr(found, "command", ""), self).refuse(rest)
        return found

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """End the program because this command has no such arguments."""
        flags = [word.partition("=")[0] for word in words if word.startswith("-")]
        if not flags:
            self.error(f"got {' '.join(words)} beyond what `{self.prog} --help` lists")
        known = [flag for action in self._actions for flag in action.option_strings]
        expected = f"expected a flag that `{self.prog} --help` lists{nearest(flags[0], known)}"
        self.error(f"{flags[0]}: got an unknown flag; {expected}")

    def error(self, message: str) -> NoReturn:
        """End the program with exit code 2 and one line."""
        wrong = re.match(r"argument command: invalid choice: '(.*?)' ", message)
        if wrong:
            names = [name for name in self.commands if name not in self.hidden]
            message = f"command: got {wrong[1]!r}; expected one of {', '.join(names)}{nearest(wrong[1], names)}"
        self.exit(EXIT_INPUT, f"{self.prog}: {printable(message)}\n")

    def short_help(self) -> str:
        """The help without the examples."""
        examples, self.epilog = self.epilog, None
        try:
            return self.format_help()
        finally:
            self.epilog = examples
