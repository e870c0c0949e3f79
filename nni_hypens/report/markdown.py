"""Markdown made of text that may come from anybody: names of classes and files become plain text, never markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from nni_hypens.errors import one_line

_MARKUP = re.compile(
    r"[\\`*\[\]{}<>&|~$#!\"']"  # what can begin markup, HTML or a formula
    r"|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"  # inside a word, an underscore is only itself
    r"|(?<=:)//|(?<=[wW]{3})\.|@"  # what turns text into a link, or calls a user
)


def literal(value: object, width: int = 80) -> str:
    r"""One line of Markdown, also inside a table, that shows a text as it is.

    Markup becomes numeric character references, which never have a meaning in Markdown. Line ends become spaces;
    control characters, and marks that change the direction of writing, become their Python escapes.

    Args:
        value: Anything.
        width: Most characters of the text; a longer one ends with an ellipsis.

    Examples:
        >>> print(literal("a|b\n<b>t_shirt</b>"))
        a&#124;b &#60;b&#62;t_shirt&#60;/b&#62;
    """
    text = one_line(value)
    text = text if len(text) <= width else text[: width - 1] + "…"
    return _MARKUP.sub(lambda found: "".join(f"&#{ord(character)};" for character in found[0]), text)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], numbers: int = 0) -> str:
    """A table; every cell is shown as it is.

    Args:
        columns: Headings.
        rows: Cells of each row.
        numbers: How many of the last columns hold numbers, which are set to the right.
    """
    lines = [[literal(name) for name in columns], ["---"] * (len(columns) - numbers) + ["---:"] * numbers]
    lines += [[literal(cell) for cell in row] for row in rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
