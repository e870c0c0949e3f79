"""Draw with matplotlib: SVG in the colours of the page, light or dark."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import matplotlib
from markupsafe import Markup, escape
from matplotlib.colors import to_hex, to_rgba_array
from matplotlib.figure import Figure, SubFigure

from nni_hypens.errors import printable

# No figure uses these near-black colours for anything else, so replacing them is safe.
INK, MUTED, GRID, FIRST, SECOND, CARD = "#010101", "#010102", "#010103", "#010104", "#010105", "#010106"
COLOUR_VARIABLES = {
    INK: "--ink", MUTED: "--muted", GRID: "--grid", FIRST: "--first", SECOND: "--second", CARD: "--card",
}  # fmt: skip

HEAT = 0.45
"""Opacity of the strongest colour of a heat map: numbers on it keep their contrast on a light and a dark page."""

AnyFigure: TypeAlias = Figure | SubFigure
Layout = Literal["constrained", "compressed", "tight"]
WIDTH = 4.0  # inches = 288 SVG units: at phone width a letter of 9.5 pt is then about 12 CSS pixels high
_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans", "font.size": 9.5, "axes.titlesize": 10, "legend.fontsize": 9, "legend.frameon": False,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "grid.color": GRID, "grid.linewidth": 0.6, "axes.grid": True,
    "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "text.parse_math": False,
    "svg.fonttype": "none", "hatch.linewidth": 1.2, "svg.hashsalt": "nni_hypens",
}  # fmt: skip

# The values of these variables on a light page, for files of pixels; a test compares them with the page's style.
LIGHT = {INK: "#1b2026", MUTED: "#5f6873", GRID: "#d5dae1", FIRST: "#0b62b8", SECOND: "#b8480a", CARD: "#f3f5f8"}


@contextmanager
def drawing(height: float, layout: Layout | None = "constrained", light: bool = False) -> Iterator[Figure]:
    """Yield a figure of the report's width in the report's style.

    Args:
        height: Inches.
        layout: The layout engine of matplotlib; None for axes that are placed by hand.
        light: Draw in the colours of a light page, for files of pixels, instead of placeholders for the page's colours.
    """
    style: Any = {key: LIGHT.get(value, value) for key, value in _STYLE.items()} if light else _STYLE
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # The browser draws the letters with its own fonts, so it does not matter if matplotlib's font lacks a glyph.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield Figure(figsize=(WIDTH, height), layout=layout)


def inline_svg(figure: Figure, name: str, label: str) -> Markup:
    """Write a figure as an inline SVG element.

    Args:
        figure: The finished figure.
        name: Prefix of every id inside, so that many figures can share a page.
        label: The figure's text alternative.
    """
    buffer = io.StringIO()
    none = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=none)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()

    def adapt(match: re.Match[str]) -> str:
        tag = match[0]
        for colour, variable in COLOUR_VARIABLES.items():
            tag = tag.replace(colour, f"var({variable})")
        tag = re.sub(r'\bid="', f'id="{name}-', tag)
        tag = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', tag)
        return tag.replace("url(#", f"url(#{name}-")

    text = re.sub(r"<[^>]*>", adapt, text)  # tags only: a user's text must come out as it is
    box = re.search(r'viewBox="([^"]*)"', text)
    body = text[text.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    view = box[1] if box else ""
    return Markup(f'<svg viewBox="{view}" role="img" aria-label="{escape(printable(label))}">{body}')


def filled(colour: str, hatched: bool = False) -> dict[str, Any]:
    """The look of a bar: solid or hatched, so that two kinds differ without colour, too."""
    return {"facecolor": "none" if hatched else colour, "edgecolor": colour, "hatch": "/////" if hatched else None}


@contextmanager
def light_style() -> Iterator[None]:
    """Draw in the report's style and the colours of a light page, on a figure of the caller's."""
    style: Any = {key: LIGHT.get(value, value) for key, value in _STYLE.items()}
    with matplotlib.rc_context(style):
        yield


def lighten(figure: Figure) -> None:
    """Give a finished figure, drawn with the placeholders of the page's colours, the colours of a light page."""
    for artist in figure.findobj():
        for name in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
            read, write = getattr(artist, f"get_{name}", None), getattr(artist, f"set_{name}", None)
            if read is None or write is None:
                continue
            colours = to_rgba_array(read())
            for colour in colours:
                colour[:3] = to_rgba_array(LIGHT.get(to_hex(colour[:3]), to_hex(colour[:3])))[0, :3]
            if len(colours):
                write(colours[0] if len(colours) == 1 else colours)
