"""Argparse with one-line errors that name the nearest flag or command, and help that ends with examples."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from nni_hypens.errors import one_line
from nni_hypens.utils.checks import nearest

EXIT_FAILED, EXIT_INPUT = 1, 2
MEANT = {
    "--device": "--accelerator gpu (or cpu), and --devices 0 for the first GPU",
    "--gpu": "--accelerator gpu, and --devices 0 for the first GPU",
    "--gpus": "--accelerator gpu, and --devices 2 for two GPUs",
    "--cuda": "--accelerator gpu",
    "--lr": "--learning-rate",
    "--workers": "--concurrency, the number of trials at once",
}
"""Flags of other tools, and what does the same here."""


class ShowAll(argparse.Action):
    """Print the help of every flag, and end."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: object, values: object, flag: object = None) -> None:
        assert isinstance(parser, Parser)
        parser.shown = frozenset()
        parser.print_help()
        parser.exit()


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
        self.shown: frozenset[str] = frozenset()

    def show_first(self, flags: Iterable[str]) -> None:
        """Let `--help` show these flags only, and a new flag `--help-all` every one."""
        self.add_argument("--help-all", action=ShowAll, nargs=0, help="show every flag, and exit")
        self.shown = frozenset((*flags, "--help", "--help-all"))

    @property
    def list_flag(self) -> str:
        """The flag that lists every flag."""
        return "--help-all" if self.shown else "--help"

    def format_help(self) -> str:
        """The help: of every flag, or of those that `show_first` was given."""
        more = [action for action in self._actions if action.option_strings and not self._shown(action)]
        if not more:
            return super().format_help()
        texts, examples = [action.help for action in more], self.epilog
        for action in more:
            action.help = argparse.SUPPRESS
        self.epilog = f"{len(more)} more flags: {self.prog} --help-all\n\n{examples or ''}"
        try:
            return super().format_help()
        finally:
            self.epilog = examples
            for action, kept in zip(more, texts, strict=True):
                action.help = kept

    def _shown(self, action: argparse.Action) -> bool:
        return not self.shown or not self.shown.isdisjoint(action.option_strings)

    def parse_all(self, words: Sequence[str] | None = None) -> argparse.Namespace:
        """Parse all words; an unknown flag ends the program with exit code 2 and names the nearest flag."""
        found, rest = self.parse_known_args(words)
        if rest:
            self.commands.get(getattr(found, "command", ""), self).refuse(rest)
        return found

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """End the program because this command has no such arguments."""
        listed = f"`{self.prog} {self.list_flag}` lists"
        flags = [word.partition("=")[0] for word in words if word.startswith("-")]
        if not flags:
            self.error(f"got {' '.join(words)} beyond what {listed}")
        if flags[0] in MEANT:
            self.error(f"{flags[0]}: got an unknown flag; expected {MEANT[flags[0]]}")
        known = [flag for action in self._actions for flag in action.option_strings]
        expected = f"expected a flag that {listed}{nearest(flags[0], known)}"
        self.error(f"{flags[0]}: got an unknown flag; {expected}")

    def error(self, message: str) -> NoReturn:
        """End the program with exit code 2 and one line."""
        wrong = re.match(r"argument command: invalid choice: '(.*?)' ", message)
        if wrong:
            names = [name for name in self.commands if name not in self.hidden]
            message = f"command: got {wrong[1]!r}; expected one of {', '.join(names)}{nearest(wrong[1], names)}"
        self.exit(EXIT_INPUT, f"{self.prog}: {one_line(message)}\n")

    def short_help(self) -> str:
        """The help without the examples."""
        examples, self.epilog = self.epilog, None
        try:
            return self.format_help()
        finally:
            self.epilog = examples
