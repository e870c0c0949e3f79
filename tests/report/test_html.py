"""Blocks, sections and the page: escaped, accessible, with enough contrast on light and dark pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from itertools import product

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from nni_hypens.report.html import (
    Block,
    Callout,
    Code,
    Columns,
    Definitions,
    Figure,
    FigureBeside,
    Figures,
    Folded,
    Heading,
    Note,
    Paragraph,
    Row,
    Section,
    Table,
    make_section,
    pairs_table,
    render_page,
    render_section,
)
from nni_hypens.report.svg import COLOUR_VARIABLES, HEAT, LIGHT
from tests.support.report_page import Page, contrast

CSS = files("nni_hypens.report").joinpath("templates/style.css").read_text(encoding="utf-8")


def rgb(colour: str) -> tuple[float, ...]:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    return tuple(int(digits[i : i + 2], 16) for i in (0, 2, 4))


SCHEMES = [
    {name: rgb(colour) for name, colour in re.findall(r"--(\w+): (#\w+)", block)}
    for block in CSS.split("@media screen and (prefers")[:2]
]
each_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=["light", "dark"])


@each_scheme
def test_text_has_contrast(scheme: dict[str, tuple[float, ...]]) -> None:
    """WCAG AA asks 4.5 of text; the marks of right and wrong images are text as well."""
    assert len(SCHEMES) == 2 and SCHEMES[0].keys() == SCHEMES[1].keys() != set()
    for ink in ("ink", "muted", "first", "second", "good", "bad"):
        for paper in ("page", "card"):
            assert contrast(scheme[ink], scheme[paper]) >= 4.5, (ink, paper)


@each_scheme
def test_figures_have_contrast(scheme: dict[str, tuple[float, ...]]) -> None:
    """WCAG AA asks 3 of lines and marks; every colour of the figures but that of grid and cards' filling is one."""
    assert set(COLOUR_VARIABLES.values()) <= {f"--{name}" for name in scheme}
    for ink in {name.removeprefix("--") for name in COLOUR_VARIABLES.values()} - {"grid", "card"}:
        for paper in ("page", "card"):
            assert contrast(scheme[ink], scheme[paper]) >= 3, (ink, paper)


@each_scheme
def test_numbers_on_a_heat_map_have_contrast(scheme: dict[str, tuple[float, ...]]) -> None:
    for colour, share in product(("first", "second"), (0.25, 0.5, 0.75, 1.0)):
        alpha = HEAT * share
        cell = tuple(alpha * a + (1 - alpha) * b for a, b in zip(scheme[colour], scheme["page"], strict=True))
        assert contrast(scheme["ink"], cell) >= 4.5, (colour, share)


def test_light_pictures_have_the_colours_of_the_light_page() -> None:
    for placeholder, variable in COLOUR_VARIABLES.items():
        assert rgb(LIGHT[placeholder]) == SCHEMES[0][variable.removeprefix("--")]


def render(*blocks: Block) -> str:
    return render_section(Section("S", blocks))


def test_wide_tables_are_reached_by_the_keyboard() -> None:
    table = Table("A <b>", ("x", "y", "z"), [Row("h", ["1", "t"])], text_columns=("z",))
    source = render(table)
    assert 'role="region" tabindex="0" aria-label="A &lt;b&gt;"' in source and "<caption>" in source
    assert '<th scope="col">x</th><th scope="col" class="n">y</th><th scope="col">z</th>' in source
    assert '<th scope="row">h</th><td class="n">1</td><td>t</td>' in source
    assert "tabindex" not in render(pairs_table("A", {"a": [1, 2.5, None]}))


def test_page_has_a_table_of_contents_and_leaves_empty_sections_out() -> None:
    sections = [make_section("A & B", Paragraph("1")), make_section("None"), make_section("C", Paragraph("2"))]
    source = render_page("T <i>", [Note("first")], sections)
    assert "<title>T &lt;i&gt;</title>" in source and source.count("<h1>") == 1 and CSS.strip() in source
    assert '<li><a href="#part-a-b">A &amp; B</a></li><li><a href="#part-c">C</a></li>' in source
    assert source.index('class="skip" href="#part-a-b"') < source.index("<main>") < source.index("first</p>")
    assert "<nav" not in render_page("T", [], sections[:1])
    assert 'class="skip"' not in render_page("T", [], [])


def test_ids_differ_where_titles_differ_only_in_what_an_id_leaves_out() -> None:
    titles = ("данные", "снимки", "2", "a.npz, 3", "a/npz, 3", "C++", "C", "c 2", "C", "End")
    source = render_page("T", [], [make_section(title, Paragraph("text")) for title in titles])
    linked = re.findall(r'<li><a href="#([^"]*)">', source)
    assert linked == re.findall(r'<section id="([^"]*)">', source) and len(set(linked)) == len(titles)
    assert linked[0] == "part-" and linked[3:5] == ["part-a-npz-3", "part-a-npz-3-2"] and linked[-1] == "part-end"


def test_a_browser_would_run_nothing_that_escaped() -> None:
    source = render_page("T", [], [])
    policy = Page(source).named("meta")[1]
    assert policy["http-equiv"] == "Content-Security-Policy" and "script-src" not in policy["content"]
    assert policy["content"].startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    assert source.index("http-equiv") < source.index("<title>")  # it binds only what comes after it


def test_sections_drop_empty_blocks() -> None:
    empty = Table("", ("a",), [])
    assert make_section("A", None, empty, Figures([]), Folded("f", empty)) is None
    section = make_section("A", None, Note("n"), empty)
    assert section is not None and section.blocks == [Note("n")]


HOSTILE = "<script>&\x00\"'</script>"
TABLE = Table(HOSTILE, (HOSTILE,) * 2, [Row(HOSTILE, [HOSTILE])], text_columns=(HOSTILE,))
FIGURE = Figure(Markup("<svg></svg>"), HOSTILE)


@pytest.mark.parametrize(
    "block",
    [
        Paragraph(HOSTILE), Note(HOSTILE), Heading(HOSTILE), Code(HOSTILE), Callout(HOSTILE, HOSTILE, notes=[HOSTILE]),
        TABLE, Figures([FIGURE]), FigureBeside(FIGURE, [Note(HOSTILE)]), Columns([TABLE]), Folded(HOSTILE, TABLE),
        Definitions({HOSTILE: HOSTILE}),
    ],
    ids=lambda block: type(block).__name__,
)  # fmt: skip
def test_text_is_escaped(block: Block) -> None:
    page = Page(render(block))
    assert "script" not in {tag for tag, _ in page.elements}
    assert HOSTILE.replace("\x00", r"\x00") in page.text


def test_a_template_that_asks_for_more_than_its_block_has_is_an_error() -> None:
    @dataclass(frozen=True)
    class Wrong(Block):
        template = "note.html.j2"

    with pytest.raises(UndefinedError):
        render(Wrong())
