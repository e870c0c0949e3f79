"""Drawing with matplotlib as SVG that follows the page's colours."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib
from matplotlib.figure import Figure

from nni_hypens.report.html import clean

# No figure uses these near-black colours for anything else, so replacing them is safe.
INK, MUTED, GRID, FIRST, SECOND, CARD = "#010101", "#010102", "#010103", "#010104", "#010105", "#010106"
COLOUR_VARIABLES = {
    INK: "--ink", MUTED: "--muted", GRID: "--grid", FIRST: "--first", SECOND: "--second", CARD: "--card",
}  # fmt: skip

Layout = Literal["constrained", "compressed", "tight"]
_WIDTH = 4.0  # inches = 288 SVG units: at phone width a letter of 9.5 pt is then about 12 CSS pixels high
_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans", "font.size": 9.5, "axes.titlesize": 10, "legend.fontsize": 9, "legend.frameon": False,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "grid.color": GRID, "grid.linewidth": 0.6, "axes.grid": True,
    "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "text.parse_math": False,
    "svg.fonttype": "none", "hatch.linewidth": 1.2, "svg.hashsalt": "nni_hypens",
}  # fmt: skip

# The values of those variables on a light page, for files of pixels; tests hold them against the page's style.
LIGHT = {INK: "#1b2026", MUTED: "#5f6873", GRID: "#d5dae1", FIRST: "#0b62b8", SECOND: "#b8480a", CARD: "#f3f5f8"}


@contextmanager
def drawing(height: float, layout: Layout | None = "constrained", light: bool = False) -> Iterator[Figure]:
    """Give a figure of the report's width, `height` inches high, in the report's style while the block lasts.

    With `light` the style has the colours of a light page in place of place-holders.
    """
    style: Any = {key: LIGHT.get(value, value) for key, value in _STYLE.items()} if light else _STYLE
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # The browser draws the letters with its own fonts, so a glyph that matplotlib's font lacks is no fault.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield Figure(figsize=(_WIDTH, height), layout=layout)


def inline_svg(figure: Figure, name: str, label: str) -> str:
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
    return f'<svg viewBox="{box[1] if box else ""}" role="img" aria-label="{html.escape(clean(label))}">{body}'


def _filled(colour: str, hatched: bool = False) -> dict[str, Any]:
    """The look of a bar: whole or hatched, so that two kinds differ for those who see no difference of colour."""
    return {"facecolor": "none" if hatched else colour, "edgecolor": colour, "hatch": "/////" if hatched else None}
