"""The building blocks of a page: colours that can be read, tables, sections, and the whole."""

from __future__ import annotations

import re

import pytest

from nni_hypens import plots, report_html
from tests.support.report_page import contrast


def rgb(colour: str) -> tuple[float, ...]:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    return tuple(int(digits[i : i + 2], 16) for i in (0, 2, 4))


SCHEMES = [
    {name: rgb(colour) for name, colour in re.findall(r"--(\w+): (#\w+)", block)}
    for block in report_html.CSS.split("@media (prefers")[:2]
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
    assert set(plots.COLOUR_VARIABLES.values()) <= {f"--{name}" for name in scheme}
    for ink in {name.removeprefix("--") for name in plots.COLOUR_VARIABLES.values()} - {"grid", "card"}:
        for paper in ("page", "card"):
            assert contrast(scheme[ink], scheme[paper]) >= 3, (ink, paper)


@each_scheme
def test_numbers_on_a_heat_map_have_contrast(scheme: dict[str, tuple[float, ...]]) -> None:
    for share in (0.25, 0.5, 0.75, 1.0):
        alpha = plots.HEAT * share
        cell = tuple(alpha * a + (1 - alpha) * b for a, b in zip(scheme["first"], scheme["page"], strict=True))
        assert contrast(scheme["ink"], cell) >= 4.5, share


def test_light_pictures_have_the_colours_of_the_light_page() -> None:
    for placeholder, variable in plots.COLOUR_VARIABLES.items():
        assert rgb(plots.LIGHT[placeholder]) == SCHEMES[0][variable.removeprefix("--")]


def test_tables_are_reached_by_the_keyboard_where_they_scroll() -> None:
    wide = report_html.table("A <b>", ("x", "#y"), [report_html.row("h", [("1", True)])])
    assert 'role="region" tabindex="0" aria-label="A &lt;b&gt;"' in wide
    assert '<th scope="col">x</th><th scope="col" class="n">y</th>' in wide and '<th scope="row">h</th>' in wide
    assert "tabindex" not in report_html.pairs("A", {"a": [1, 2.5, None]}) and "<caption>" in wide


def test_document() -> None:
    sections = [
        report_html.section("A & B", "<p>1</p>"),
        report_html.section("None"),
        report_html.section("C", "<p>2</p>"),
    ]
    page = report_html.document("T <i>", "<p>first</p>", sections, "b{}")
    assert (
        "<title>T &lt;i&gt;</title>" in page and page.count("<h1>") == 1 and f"{report_html.CSS}b{{}}</style>" in page
    )
    assert '<li><a href="#part-a-b">A &amp; B</a></li><li><a href="#part-c">C</a></li>' in page
    assert page.index('class="skip" href="#part-a-b"') < page.index("<main>") < page.index("<p>first</p>")
    assert "<nav" not in report_html.document("T", "", sections[:1]) and "skip" in report_html.CSS
    assert 'class="skip"' not in report_html.document("T", "", [])


def test_numbers_and_values() -> None:
    assert report_html.fixed(None) == report_html.fixed(float("nan")) == "–"
    assert report_html.fixed(0.12345) == "0.1235" and report_html.fixed(0.5, percent=True) == "50.00%"
    assert report_html.plain({"a": [1.0, None]}) == "a 1, none" and report_html.plain(list(range(13))).endswith("11 …")
