"""Drawings as SVG in the page's colours."""

from __future__ import annotations

import matplotlib
import pytest
from hypothesis import given, settings, strategies as st

from nni_hypens.errors import is_printable, printable
from nni_hypens.report.architectures import draw_cell
from nni_hypens.report.cell_graph import CellGraph, GraphEdge
from nni_hypens.report.dial import Dial, DialPoint, draw_dial
from nni_hypens.report.svg import COLOUR_VARIABLES, INK
from tests.support.report_svg import check_svg

pytestmark = pytest.mark.filterwarnings("error")


def test_colours_follow_the_page_and_user_text_does_not_change() -> None:
    svg = draw_cell(
        CellGraph("cell", ("input 0", "node 0"), (GraphEdge("input 0", "node 0", f'{INK} id="x', True),)),
        "c",
    )
    parsed = check_svg(svg, "c")
    assert f'{INK} id="x' in parsed.text
    assert "var(--ink)" in svg and "var(--first)" in svg and "var(--second)" not in svg
    assert not any(colour in svg.replace(f"{INK} id", "") for colour in COLOUR_VARIABLES)


def test_drawing_is_repeatable_and_leaves_matplotlib_as_it_was() -> None:
    before = dict(matplotlib.rcParams)
    data = Dial((DialPoint("a", 0.5, 1, "mode", "member"),), 4, 0, 0.5)
    assert draw_dial(data, "d") == draw_dial(data, "d")
    assert dict(matplotlib.rcParams) == before


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(codec=None), max_size=12))
def test_any_text_can_be_drawn(text: str) -> None:
    graph = CellGraph("cell", ("input 0", text or "n"), (GraphEdge("input 0", text or "n", text, False),))
    svg = draw_cell(graph, "c")
    svg.encode("utf-8")
    check_svg(svg.replace("http", ""), "c")
    assert is_printable(printable(text))
