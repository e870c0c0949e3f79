"""A page as data: sections of blocks. Templates turn them into HTML and escape every text.

A block is a dataclass and names the template that writes it. A section that needs a new kind of block defines its
dataclass beside it and adds one template.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nni_hypens.errors import printable
from nni_hypens.report.text import plain

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""What a browser allows a page: its own styles and images. Texts are escaped; should one escape this, no code runs."""


class Block:
    """A part of a section. Its template, in `templates`, sees it as `block`."""

    template: ClassVar[str]

    @property
    def is_empty(self) -> bool:
        """Whether the section should leave the block out."""
        return False


@dataclass(frozen=True)
class _Text(Block):
    text: str


class Paragraph(_Text):
    """A paragraph."""

    template = "paragraph.html.j2"


class Note(_Text):
    """A paragraph in small print."""

    template = "note.html.j2"


class Heading(_Text):
    """A heading inside a section."""

    template = "heading.html.j2"


class Code(_Text):
    """Text to copy, in a fixed-width font; its lines stay lines."""

    template = "code.html.j2"

    @property
    def lines(self) -> list[str]:
        """The text line by line."""
        return self.text.split("\n")


@dataclass(frozen=True)
class Callout(Block):
    """The framed message at the top of a page; `look` is "better", "worse", or any other word for grey."""

    text: str
    head: str = ""
    look: str = ""
    notes: Sequence[str] = ()
    template = "callout.html.j2"


class Row(NamedTuple):
    """A table row: its heading, the text of the other cells, and a look: "top", "member" or none."""

    head: str
    cells: Sequence[str]
    look: str = ""


@dataclass(frozen=True)
class Table(Block):
    """A table. Its columns hold numbers, except the first, which heads each row, and those named in `text_columns`.

    Look "results" is for wide tables: numbers do not wrap. A table that `scrolls` can be reached and scrolled by the
    keyboard; one that does not must fit any page.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    text_columns: Collection[str] = ()
    look: str = "plain"
    scrolls: bool = True
    template = "table.html.j2"

    @property
    def is_empty(self) -> bool:
        return not self.rows

    def is_numeric(self, position: int) -> bool:
        """Whether a column, counted from 0, is right-aligned."""
        return position > 0 and self.columns[position] not in self.text_columns


def pairs_table(caption: str, pairs: Mapping[str, Any]) -> Table:
    """A table of names and values."""
    rows = [Row(str(name), [plain(value)]) for name, value in pairs.items()]
    return Table(caption, ("name", "value"), rows, text_columns=("value",), scrolls=False)


@dataclass(frozen=True)
class Figure(Block):
    """A figure as inline SVG, with a caption."""

    svg: Markup
    caption: str = ""
    template = "figure.html.j2"


@dataclass(frozen=True)
class Figures(Block):
    """Figures in a grid; `wide` ones need more room."""

    figures: Sequence[Figure]
    wide: bool = False
    template = "figures.html.j2"

    @property
    def is_empty(self) -> bool:
        return not self.figures


@dataclass(frozen=True)
class FigureBeside(Block):
    """A figure with other blocks beside it, or below it on a narrow page."""

    figure: Figure
    blocks: Sequence[Block]
    template = "side.html.j2"


@dataclass(frozen=True)
class Columns(Block):
    """Tables beside each other where there is room."""

    tables: Sequence[Table]
    template = "columns.html.j2"


@dataclass(frozen=True)
class Folded(Block):
    """A table that the reader unfolds."""

    title: str
    table: Table
    template = "folded.html.j2"

    @property
    def is_empty(self) -> bool:
        return self.table.is_empty


@dataclass(frozen=True)
class Definitions(Block):
    """Terms and what they mean."""

    terms: Mapping[str, str]
    template = "definitions.html.j2"


class Link(NamedTuple):
    """A file beside the page, and what it holds."""

    path: str
    about: str


@dataclass(frozen=True)
class Links(Block):
    """Links to files beside the page."""

    links: Sequence[Link]
    template = "links.html.j2"


@dataclass(frozen=True)
class Section:
    """A section of a page; the reader unfolds a `folded` one, and paper shows it unfolded.

    `number` tells sections of a page apart whose titles would give the same id; `render_page` sets it.
    """

    title: str
    blocks: Sequence[Block]
    folded: bool = False
    number: int = 1

    @property
    def anchor(self) -> str:
        """The id that the table of contents links to."""
        anchor = "part-" + re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")
        return anchor if self.number == 1 else f"{anchor.removesuffix('-')}-{self.number}"


def make_section(title: str, *blocks: Block | None) -> Section | None:
    """Make a section of the blocks that are not empty; None if all are."""
    kept = [block for block in blocks if block is not None and not block.is_empty]
    return Section(title, kept) if kept else None


def render_page(title: str, opening: Sequence[Block], sections: Iterable[Section | None]) -> str:
    """Write a page that needs no other file: title, opening blocks, table of contents, sections; None is left out.

    Folded sections have no table of contents: their titles are one.
    """
    kept = _told_apart(section for section in sections if section is not None)
    return (
        _environment().get_template("page.html.j2").render(title=title, opening=opening, sections=kept, policy=POLICY)
        + "\n"
    )


def _told_apart(sections: Iterable[Section]) -> list[Section]:
    """The sections, with ids that differ: titles may differ only in what an id leaves out."""
    taken: dict[str, Section] = {}
    for section in sections:
        while section.anchor in taken:
            section = replace(section, number=section.number + 1)
        taken[section.anchor] = section
    return list(taken.values())


def render_section(section: Section) -> str:
    """Write the HTML of one section."""
    return _environment().get_template("section.html.j2").render(section=section)


def render_template(name: str, **values: Any) -> str:
    """Write a template that is no part of a page; every text is escaped."""
    return _environment().get_template(name).render(**values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("nni_hypens.report"),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _printable(value: object) -> object:
    """Remove characters that a page cannot hold, before jinja2 escapes the text; finished HTML and line ends stay."""
    return value if isinstance(value, Markup) or value == "\n" else printable(value)
