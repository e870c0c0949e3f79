"""Section: the members' architectures, one drawing for each cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from nni_hypens.report.cell_graph import CellGraph, Choice, cell_graphs, cell_inputs, edge_text
from nni_hypens.report.content import RunContent
from nni_hypens.report.html import Block, Figure, Figures, Note, Row, Section, Table, make_section
from nni_hypens.report.svg import CARD, FIRST, MUTED, SECOND, WIDTH, drawing, inline_svg
from nni_hypens.report.text import MISSING, number, plural, short

_ROW_HEIGHT = 0.25  # inches between two rows of a cell's graph


@dataclass(frozen=True)
class EdgeLegend(Block):
    """What the lines of the drawings mean."""

    compared: bool
    template = "edge_legend.html.j2"


@dataclass(frozen=True)
class Architecture:
    """The drawings and choices of one member."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Architectures(Block):
    """The members' architectures; narrow ones stand side by side."""

    articles: Sequence[Architecture]
    side_by_side: bool
    template = "articles.html.j2"

    @property
    def is_empty(self) -> bool:
        return not self.articles


def section(run: RunContent) -> Section | None:
    """Cells as drawings and other choices as a table, for each member."""
    base = run.base_candidate
    base_edges = base.get("edges") if base else run.results.get("base_edges")
    edges = {item["id"]: item["edges"] for item in run.candidates if item.get("edges")}
    inputs = cell_inputs([edge for item in edges.values() for edge in item])
    articles, is_wide = [], False
    for position, member in enumerate(run.shown_members):
        if member["id"] in edges:
            graphs, choices = cell_graphs(edges[member["id"]], base_edges, inputs)
            is_wide = is_wide or len(graphs) > 1 or bool(choices)
            articles.append(_article(member, position, graphs, choices))
    if not articles:
        return None
    note = Note(text) if (text := run.shown_note()) else None
    legend = EdgeLegend(bool(base_edges))
    return make_section("Architectures of the members", note, legend, Architectures(articles, not is_wide))


def _article(
    member: Mapping[str, Any], position: int, graphs: Sequence[CellGraph], choices: Sequence[Choice]
) -> Architecture:
    drawings = [Figure(draw_cell(graph, f"cell{position}-{index}"), graph.name) for index, graph in enumerate(graphs)]
    compared = {None: MISSING, True: "shared", False: "differs"}
    rows = [Row(choice.label, [choice.value, compared[choice.shared]]) for choice in choices]
    columns = ("label", "value", "compared with the base")
    table = Table(f"Choices of {member['id']}", columns, rows, text_columns=columns)
    shared = number(member.get("shared_edges"))
    title = member["id"]
    if shared is not None:
        title += f": {plural(round(shared), 'edge')} shared with the base"
    return Architecture(title, [block for block in (Figures(drawings), table) if not block.is_empty])


def draw_cell(graph: CellGraph, name: str) -> Markup:
    """Draw a cell as a column of nodes; each edge leaves its input, runs down a track and enters its node.

    Edges shared with the base are solid and of one colour, others are dashed and of another.
    """
    boxes, arrival, rows = _place_rows(graph)
    spans = [(boxes[edge.source][1], arrival[index]) for index, edge in enumerate(graph.edges)]
    tracks = assign_tracks([(min(span), max(span)) for span in spans])
    step = min(0.17, 1.1 / (max(tracks, default=0) + 1))
    height = (rows + 0.3) * _ROW_HEIGHT
    with drawing(height, layout=None) as figure:
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
        axes.set_axis_off()
        _draw_boxes(axes, boxes)
        outward: dict[int, float] = {}
        for (start, _), track in zip(spans, tracks, strict=True):
            outward[start] = max(outward.get(start, 0.0), 2.75 + step * track)
        for start, reach in outward.items():
            axes.plot([0.86, reach], [(start + 0.75) * _ROW_HEIGHT] * 2, color=MUTED, linewidth=1)
        for edge, (start, end), track in zip(graph.edges, spans, tracks, strict=True):
            colour, line = (SECOND, (0, (4, 2))) if edge.shared is False else (FIRST, "-")
            x, y0, y1 = 2.75 + step * track, (start + 0.75) * _ROW_HEIGHT, (end + 0.75) * _ROW_HEIGHT
            axes.plot([x, x, 0.93], [y0, y1, y1], color=colour, linewidth=1.5, linestyle=line)
            axes.plot([0.92], [y1], marker="<", markersize=5, color=colour, linestyle="")
            axes.plot([x], [y0], marker="o", markersize=3.5, color=colour, linestyle="")
            axes.text(1.03, y1 - 0.03, short(edge.operation, 24), va="bottom", fontsize=8.5)
        return inline_svg(figure, name, f"{graph.name}: " + "; ".join(map(edge_text, graph.edges)) + ".")


def _place_rows(graph: CellGraph) -> tuple[dict[str, tuple[int, int]], dict[int, int], int]:
    """First and last row of each node's box, the row in which each edge enters its node, and the number of rows."""
    boxes: dict[str, tuple[int, int]] = {}
    arrival: dict[int, int] = {}
    row = 0
    for node in graph.nodes:
        first = row
        for index, edge in enumerate(graph.edges):
            if edge.target == node:
                arrival[index] = row
                row += 1
        if row == first or any(edge.source == node for edge in graph.edges):
            row += 1  # the row in which edges leave
        boxes[node] = (first, row - 1)
    return boxes, arrival, row


def _draw_boxes(axes: Axes, boxes: Mapping[str, tuple[int, int]]) -> None:
    look: dict[str, Any] = {"boxstyle": "round,pad=0.0,rounding_size=0.05", "facecolor": CARD, "edgecolor": MUTED}
    for node, (top, bottom) in boxes.items():
        corner = (0.08, (top + 0.3) * _ROW_HEIGHT)
        axes.add_patch(FancyBboxPatch(corner, 0.78, (bottom - top + 0.7) * _ROW_HEIGHT, **look))
        middle = ((top + bottom) / 2 + 0.7) * _ROW_HEIGHT  # browsers centre letters a little high
        axes.text(0.47, middle, short(node, 11), ha="center", va="center", fontsize=9)


def assign_tracks(spans: Sequence[tuple[int, int]]) -> list[int]:
    """Give each span of rows the innermost vertical track without an overlapping span, short spans first."""
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
