"""Figures of a report, drawn from :mod:`nni_hypens.plot_data` as inline SVG in the page's own colours.

The drawings use matplotlib's object API only. Colours are written as place-holders that `inline_svg` turns into CSS
variables, so that one figure is readable on a light and on a dark page; the page defines the variables.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from nni_hypens.plot_cost import CostFront
from nni_hypens.plot_data import (
    AccuracyByEdges,
    CellGraph,
    Dial,
    Disagreement,
    EntropyBar,
    GraphEdge,
    History,
    ReliabilityCurve,
    RobustnessCurve,
    clean,
    short,
)

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


HEAT = 0.45
"""Opacity of the strongest colour of a heat map: numbers on it keep their contrast on a light and a dark page."""

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


def draw_dial(data: Dial, name: str) -> str:
    """Draw shared edges against lam."""
    looks: dict[str, tuple[str, dict[str, Any]]] = {
        "pool": ("in the pool only", {"facecolors": "none", "edgecolors": MUTED, "s": 20}),
        "trained": ("trained", {"facecolors": "none", "edgecolors": FIRST, "s": 36, "linewidths": 1.3}),
        "member": ("member", {"facecolors": SECOND, "edgecolors": INK, "s": 52, "linewidths": 0.8}),
    }
    with drawing(3.7) as figure:
        axes = figure.add_subplot(xlabel="lam (requested shared edges)", ylabel="shared edges with the base")
        axes.plot([0, data.n_edges], [0, data.n_edges], color=MUTED, linestyle="--", linewidth=1, label="as requested")
        if data.modes:
            lams, shared = zip(*data.modes, strict=True)
            axes.step(lams, shared, where="mid", color=FIRST, linewidth=1.2, label="hypernetwork's mode")
        for role, (label, look) in looks.items():
            points = [point for point in data.points if point.role == role]
            if points:
                axes.scatter([p.lam for p in points], [p.shared_edges for p in points], label=label, zorder=3, **look)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside lower center", ncols=2)
        error = "" if data.mean_absolute_error is None else f", {data.mean_absolute_error:.2f} edges off on average"
        label = f"Shared edges against lam for {len(data.points)} candidates, 0 to {data.n_edges}{error}."
        return inline_svg(figure, name, label)


def draw_accuracy(data: AccuracyByEdges, name: str) -> str:
    """Draw test and validation accuracy against shared edges, members filled."""
    with drawing(3.7) as figure:
        axes = figure.add_subplot(xlabel="shared edges with the base", ylabel="accuracy")
        for part, marker, colour in (("validation", "s", MUTED), ("test", "o", FIRST)):
            for is_member in (False, True):
                points = [p for p in data.points if getattr(p, part) is not None and p.is_member == is_member]
                if points:
                    axes.scatter(
                        [p.shared_edges for p in points], [getattr(p, part) for p in points],
                        marker=marker, s=34, zorder=3, linewidths=1.2,
                        facecolors=colour if is_member else "none", edgecolors=colour,
                        label=f"{part}, member" if is_member else part,
                    )  # fmt: skip
        axes.axhline(data.ensemble, color=SECOND, linewidth=1.4, label="ensemble, test")
        if data.base is not None:
            axes.axhline(data.base, color=INK, linestyle=":", linewidth=1.2, label="base, test")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        figure.legend(loc="outside lower center", ncols=2)
        tests = [p.test for p in data.points if p.test is not None]
        span = f", test from {min(tests):.1%} to {max(tests):.1%}" if tests else ""
        what = f"Accuracy against shared edges for {len(data.points)} trained candidates"
        label = f"{what}{span}; ensemble {data.ensemble:.1%}."
        return inline_svg(figure, name, label)


def _filled(colour: str, hatched: bool = False) -> dict[str, Any]:
    """The look of a bar: whole or hatched, so that two kinds differ for those who see no difference of colour."""
    return {"facecolor": "none" if hatched else colour, "edgecolor": colour, "hatch": "/////" if hatched else None}


def draw_reliability(curves: Sequence[ReliabilityCurve], name: str) -> str:
    """Draw accuracy against confidence with, below, the share of examples in each bin."""
    looks = [(FIRST, "o", "-"), (SECOND, "s", "--")]
    with drawing(4.4) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":", label="perfect")
        for position, (curve, (colour, marker, line)) in enumerate(zip(curves, looks, strict=False)):
            upper.plot(
                curve.confidence, curve.accuracy, color=colour, marker=marker, linestyle=line, markersize=4,
                label=short(curve.name, 30),
            )  # fmt: skip
            width, total = 1 / max(curve.n_bins, 1), sum(curve.count)
            left = [(index + 0.1 + 0.4 * position) * width for index in curve.bins]
            shares = [count / total for count in curve.count]
            lower.bar(left, shares, width=0.4 * width, align="edge", **_filled(colour, hatched=position == 1))
        upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.03))
        lower.set(xlabel="confidence", ylabel="examples")
        lower.yaxis.set_major_formatter(PercentFormatter(1.0))
        figure.legend(loc="outside lower center", ncols=2)
        return inline_svg(figure, name, "Reliability diagram. " + " ".join(_gap(curve) for curve in curves))


def _gap(curve: ReliabilityCurve) -> str:
    total = sum(curve.count)
    if not total:
        return f"{curve.name}: no examples."
    mean, share = (
        sum(value * count for value, count in zip(values, curve.count, strict=True)) / total
        for values in (curve.confidence, curve.accuracy)
    )
    return f"{curve.name}: mean confidence {mean:.1%}, accuracy {share:.1%}."


def draw_disagreement(data: Disagreement, name: str) -> str:
    """Draw the pairwise disagreement as a heat map; the strongest colour is the largest value."""
    size = len(data.ids)
    top = max((value for row in data.values for value in row), default=0.0) or 1.0
    with drawing(3.4) as figure:
        axes = figure.add_subplot(xlim=(0, size), ylim=(size, 0), aspect="equal")
        axes.grid(False)
        for i, row in enumerate(data.values):
            for j, value in enumerate(row):
                axes.add_patch(Rectangle((j, i), 1, 1, facecolor=FIRST, alpha=HEAT * value / top, linewidth=0))
                if size <= 10:
                    look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9 if size < 6 else 6.5}
                    axes.text(j + 0.5, i + 0.5, f"{value:.1%}", **look)
        ticks = [index + 0.5 for index in range(size)]
        names = [short(item, 10) for item in data.ids]
        axes.set_xticks(ticks, names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(ticks, names)
        axes.tick_params(length=0)
        pairs = [(data.values[i][j], data.ids[i], data.ids[j]) for i in range(size) for j in range(i)]
        label = f"Pairwise disagreement of {size} members."
        if pairs:
            (low, *_), (high, a, b) = min(pairs), max(pairs)
            label += f" From {low:.1%} to {high:.1%}, most between {a} and {b}."
        return inline_svg(figure, name, label)


def draw_robustness(curves: Sequence[RobustnessCurve], name: str) -> str:
    """Draw accuracy and, below, NLL against the severity of corruptions; curves with one accuracy are drawn once."""
    looks = ((FIRST, "o", "-"), (SECOND, "s", "--"), (INK, "^", ":"))
    with drawing(4.6) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True)
        drawn: list[list[float]] = []
        for curve, (colour, marker, line) in zip(curves, looks, strict=False):
            severity, accuracy, nll = (list(values) for values in zip(*curve.points, strict=True))
            look = {"color": colour, "marker": marker, "linestyle": line, "markersize": 4, "linewidth": 1.5}
            if accuracy not in drawn:  # a temperature changes no accuracy
                upper.plot(severity, accuracy, **look)
                drawn.append(accuracy)
            lower.plot(severity, nll, label=short(curve.model, 30), **look)
        upper.set(ylabel="accuracy")
        upper.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        lower.set(xlabel="severity (0: clean)", ylabel="NLL")
        lower.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside lower center", ncols=2)
        said = []
        for curve in curves:
            (_, first, low), (_, last, high) = curve.points[0], curve.points[-1]
            said.append(f"{curve.model}: accuracy {first:.1%} to {last:.1%}, NLL {low:.3f} to {high:.3f}.")
        return inline_svg(figure, name, "Accuracy and NLL against the severity of corruptions. " + " ".join(said))


def draw_entropy(bars: Sequence[EntropyBar], name: str) -> str:
    """Draw mean entropies as bars of two parts, one bar a kind of images."""
    with drawing(1.3 + 0.35 * len(bars)) as figure:
        axes = figure.add_subplot(xlabel="mean entropy (nats)")
        places, labels = range(len(bars)), [short(bar.label, 22) for bar in bars]
        first, second = [bar.aleatoric for bar in bars], [bar.epistemic for bar in bars]
        axes.barh(places, first, height=0.6, label="aleatoric", **_filled(FIRST))
        axes.barh(places, second, left=first, height=0.6, label="epistemic", **_filled(SECOND, hatched=True))
        axes.set_yticks(places, labels)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
        figure.legend(loc="outside lower center", ncols=2)
        said = [f"{bar.label}: aleatoric {bar.aleatoric:.3f}, epistemic {bar.epistemic:.3f}." for bar in bars]
        return inline_svg(figure, name, "Mean entropy. " + " ".join(said))


def draw_cost_front(front: CostFront, name: str) -> str:
    """Draw validation NLL against a total cost: the front as steps, its points with their numbers of members."""
    what = {"parameters": "parameters of all members", "flops": "FLOPs of all members for one image"}[front.cost]
    with drawing(3.5) as figure:
        axes = figure.add_subplot(xlabel=what, ylabel="validation NLL")
        costs, losses = [point.cost for point in front.points], [point.nll for point in front.points]
        axes.step(costs, losses, where="post", color=MUTED, linewidth=1, linestyle="--")
        axes.scatter(costs, losses, color=FIRST, s=26, zorder=3, label="no other ensemble is as good for less")
        for point in front.points:
            axes.annotate(str(point.members), (point.cost, point.nll), (6, 6), textcoords="offset points")
        if front.chosen is not None:
            look: dict[str, Any] = {"facecolors": "none", "edgecolors": SECOND, "s": 110, "linewidths": 1.6}
            axes.scatter([front.chosen.cost], [front.chosen.nll], label="the chosen ensemble", zorder=4, **look)
        axes.margins(0.12)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        figure.legend(loc="outside lower center", ncols=1)
        said = [f"{p.members} with {p.cost:.0f}: {p.nll:.4f}." for p in front.points]
        return inline_svg(figure, name, f"Validation NLL by {what}. Number of members, cost, NLL: " + " ".join(said))


def draw_history(data: History, columns: Mapping[str, str], title: str, name: str) -> str:
    """Draw columns of the search history against the epoch.

    Args:
        data: The history.
        columns: Column -> label of its line; a column without data is left out.
        title: The panel's title.
        name: Prefix of ids.
    """
    shown = {column: label for column, label in columns.items() if column in data.series}
    notes = []
    with drawing(2.4) as figure:
        axes: Axes = figure.add_subplot(xlabel="epoch")
        axes.set_title(title, loc="left", pad=16)  # leaves a line for the names of the phases
        for (column, label), colour, line in zip(shown.items(), (FIRST, SECOND, INK), ("-", "--", ":"), strict=False):
            points = data.series[column]
            epochs, values = zip(*points, strict=True)
            marker = "o" if len(points) < 3 else None
            axes.plot(epochs, values, color=colour, linestyle=line, linewidth=1.5, marker=marker, label=label)
            notes.append(f"{label} from {values[0]:.4g} to {values[-1]:.4g} over {len(points)} epochs")
        _mark_phases(axes, data.phases)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(shown) > 1:
            axes.legend(loc="best")
        return inline_svg(figure, name, f"{title}: {'; '.join(notes)}.")


def _mark_phases(axes: Axes, phases: Sequence[tuple[str, int, int]]) -> None:
    """Mark where each named phase starts and write its name above, as much of it as there is room for."""
    named = [phase for phase in phases if phase[0]]
    total = sum(last - first + 1 for _, first, last in phases)
    for phase, first, last in named if len(named) > 1 else []:
        axes.axvline(first, color=MUTED, linewidth=0.8, linestyle=":")
        room = int(44 * (last - first + 1) / total)
        if room >= 3:
            where = axes.get_xaxis_transform()
            axes.text(first, 1.03, short(phase, room), transform=where, va="bottom", fontsize=8, color=MUTED)


_ROW = 0.25  # inches between two rows of a cell's graph


def _tracks(spans: Sequence[tuple[int, int]]) -> list[int]:
    """Give each span of rows the innermost vertical track that no overlapping span holds, short spans first."""
    tracks: list[int] = [0] * len(spans)
    taken: list[list[tuple[int, int]]] = []
    for index in sorted(range(len(spans)), key=lambda i: (spans[i][1] - spans[i][0], spans[i])):
        low, high = spans[index]
        track = next((t for t, held in enumerate(taken) if all(high < a or b < low for a, b in held)), len(taken))
        if track == len(taken):
            taken.append([])
        taken[track].append((low, high))
        tracks[index] = track
    return tracks


def draw_cell(graph: CellGraph, name: str) -> str:
    """Draw a cell as a column of nodes; each edge leaves its input, runs down a track and enters its node.

    Edges shared with the base are solid, differing ones dashed, as well as of another colour.
    """
    arrival: dict[int, int] = {}
    boxes: dict[str, tuple[int, int]] = {}
    row = 0
    for node in graph.nodes:
        first = row
        for index, edge in enumerate(graph.edges):
            if edge.target == node:
                arrival[index] = row
                row += 1
        if row == first or any(edge.source == node for edge in graph.edges):
            row += 1  # the row on which edges leave
        boxes[node] = (first, row - 1)
    spans = [(boxes[edge.source][1], arrival[index]) for index, edge in enumerate(graph.edges)]
    tracks = _tracks([(min(span), max(span)) for span in spans])
    step = min(0.17, 1.1 / (max(tracks, default=0) + 1))
    height = (row + 0.3) * _ROW
    with drawing(height, layout=None) as figure:
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, _WIDTH), ylim=(height, 0))
        axes.set_axis_off()
        for node, (top, bottom) in boxes.items():
            box = (0.08, (top + 0.3) * _ROW), 0.78, (bottom - top + 0.7) * _ROW
            axes.add_patch(
                FancyBboxPatch(*box, boxstyle="round,pad=0.0,rounding_size=0.05", facecolor=CARD, edgecolor=MUTED)
            )
            middle = ((top + bottom) / 2 + 0.7) * _ROW  # browsers centre letters a little high
            axes.text(0.47, middle, short(node, 11), ha="center", va="center", fontsize=9)
        outward: dict[int, float] = {}
        for (start, _), track in zip(spans, tracks, strict=True):
            outward[start] = max(outward.get(start, 0.0), 2.75 + step * track)
        for start, reach in outward.items():
            axes.plot([0.86, reach], [(start + 0.75) * _ROW] * 2, color=MUTED, linewidth=1)
        for edge, (start, end), track in zip(graph.edges, spans, tracks, strict=True):
            colour, line = (SECOND, (0, (4, 2))) if edge.shared is False else (FIRST, "-")
            x, y0, y1 = 2.75 + step * track, (start + 0.75) * _ROW, (end + 0.75) * _ROW
            axes.plot([x, x, 0.93], [y0, y1, y1], color=colour, linewidth=1.5, linestyle=line)
            axes.plot([0.92], [y1], marker="<", markersize=5, color=colour, linestyle="")
            axes.plot([x], [y0], marker="o", markersize=3.5, color=colour, linestyle="")
            axes.text(1.03, y1 - 0.03, short(edge.operation, 24), va="bottom", fontsize=8.5)
        return inline_svg(figure, name, f"{graph.name}: " + "; ".join(map(edge_text, graph.edges)) + ".")


def edge_text(edge: GraphEdge) -> str:
    """Say an edge in words."""
    suffix = {None: "", True: " (shared)", False: " (differs)"}[edge.shared]
    return f"{edge.target} takes {edge.source} through {edge.operation}{suffix}"
