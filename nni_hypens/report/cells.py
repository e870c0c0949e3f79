"""Cells of several architectures side by side, as a matplotlib figure for notebooks and papers."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from nni_hypens.errors import InputError
from nni_hypens.report import html as page
from nni_hypens.report.content import RunContent, _base_candidate
from nni_hypens.report.html import clean, number, short
from nni_hypens.report.svg import _WIDTH, CARD, FIRST, MUTED, SECOND, drawing, inline_svg
from nni_hypens.space.architecture import EdgeStructure, Sample

SHARED, DIFFERS = "#1f6fb4", "#d1480b"
_ROW = 0.36  # inches


def plot_cells(
    structure: EdgeStructure, base: Sample, samples: Sequence[Sample], titles: Sequence[str] | None = None
) -> Figure:
    """Draw the cells of architectures side by side; edges that the base has too are blue, others orange and dashed.

    Args:
        structure: Edges of the space.
        base: What the others are compared with.
        samples: The architectures, one column each.
        titles: One for each; None for the number of shared edges.

    Raises:
        InputError: No architecture, or another number of titles.
    """
    if not samples:
        raise InputError("samples", "none", "one architecture or more")
    if titles is None:
        titles = [f"{structure.shared_edges(base, sample)} shared edges" for sample in samples]
    if len(titles) != len(samples):
        raise InputError("titles", f"{len(titles)} for {len(samples)} architectures", "one for each")
    pools = [[list(edge) for edge in structure.edges(sample)] for sample in (base, *samples)]
    everything = [edge for pool in pools for edge in pool]
    columns = [cell_graphs(pool, pools[0], everything) for pool in pools[1:]]
    rows = max(_rows(graphs, choices) for graphs, choices in columns)
    figure = Figure(figsize=(2.9 * len(samples), _ROW * (rows + 1)), layout="constrained", facecolor="white")
    panels = figure.subplots(1, len(samples), squeeze=False)[0]
    for axes, (graphs, choices), title in zip(panels, columns, titles, strict=True):
        axes.set(xlim=(-0.6, 4.6), ylim=(rows + 0.2, -0.6))
        axes.set_axis_off()
        axes.set_title(title, loc="left", fontsize=9)
        row = 0
        for graph in graphs:
            row = _draw(axes, graph, row, named=len(graphs) > 1)
        for choice in choices:
            text = f"{short(choice.label, 20)}: {short(choice.value, 20)}"
            axes.text(-0.5, row, text, color=_look(choice.shared)["color"], fontsize=8)
            row += 1
    return figure


def _rows(graphs: Sequence[CellGraph], choices: Sequence[Choice]) -> int:
    named = len(graphs) if len(graphs) > 1 else 0
    inner = [max(1, sum(edge.target == node for edge in graph.edges)) for graph in graphs for node in graph.nodes]
    return named + sum(inner) + len(choices)


def _draw(axes: Axes, graph: CellGraph, row: int, named: bool) -> int:
    """One cell from ``row`` on; the row after it."""
    if named:
        axes.text(-0.5, row, graph.name, fontsize=8, weight="bold", va="center")
        row += 1
    places: dict[str, int] = {}
    box = {"boxstyle": "round,pad=0.25", "facecolor": "#eef1f4", "edgecolor": "#8a929a"}
    for node in graph.nodes:
        places[node] = row
        axes.text(0, row, short(node, 8), ha="center", va="center", fontsize=8, bbox=box)
        incoming = [edge for edge in graph.edges if edge.target == node]
        for offset, edge in enumerate(incoming):
            look = _look(edge.shared)
            start, end = (0.45, places[edge.source]), (0.45, row + offset)
            # a long way bulges as far as a short one, or it would run into the names of operations
            bend = -0.75 / max(1.0, end[1] - start[1]) ** 0.75
            arrow = FancyArrowPatch(
                start,
                end,
                connectionstyle=f"arc3,rad={bend}",
                arrowstyle="-|>",
                mutation_scale=9,
                color=look["color"],
                linestyle=look["linestyle"],
            )
            axes.add_patch(arrow)
            text = f"{short(edge.source, 8)}, {short(edge.operation, 20)}"
            axes.text(1.25, row + offset, text, va="center", fontsize=7.5, color=look["color"])
        row += max(1, len(incoming))
    return row


def _look(shared: bool | None) -> dict[str, str]:
    return {"color": SHARED, "linestyle": "-"} if shared else {"color": DIFFERS, "linestyle": "--"}


def _architectures(run: RunContent) -> str:
    base = _base_candidate(run)  # with adaptive training the base is seldom a candidate
    base_edges = base.get("edges") if base else run.results.get("base_edges")
    edges = {item["id"]: item["edges"] for item in run.candidates if item.get("edges")}
    pool = [edge for item in edges.values() for edge in item]
    parts, wide = [], False
    for position, member in enumerate(run.members):
        if member["id"] not in edges:
            continue
        graphs, choices = cell_graphs(edges[member["id"]], base_edges, pool)
        wide = wide or len(graphs) > 1 or bool(choices)
        figures = "".join(
            page.figure(draw_cell(graph, f"cell{position}-{index}"), graph.name) for index, graph in enumerate(graphs)
        )
        rows = []
        for choice in choices:
            said = {None: "–", True: "shared", False: "differs"}[choice.shared]
            rows.append(page.row(choice.label, [(choice.value, False), (said, False)]))
        shared = number(member.get("shared_edges"))
        plural = "" if shared == 1 else "s"
        title = member["id"] + ("" if shared is None else f": {shared:.0f} edge{plural} shared with the base")
        table = page.table(f"Choices of {member['id']}", ("label", "value", "base"), rows) if rows else ""
        figures = f'<div class="figures">{figures}</div>' if figures else ""
        parts.append(f"<article><h3>{page.esc(title)}</h3>{figures}{table}</article>")
    kinds = (
        ' <strong class="shared">Solid</strong>: shared with the base. '
        '<strong class="differs">Dashed</strong>: differs from the base.'
    )
    legend = (
        '<p class="note">Each line is an edge: it leaves an input or a node and enters a node through the named '
        f"operation.{kinds if base_edges else ''}</p>"
    )
    layout = "" if wide else ' class="figures"'
    body = f"<div{layout}>{''.join(parts)}</div>"
    return page.section("Architectures of the members", legend, body) if parts else ""


class GraphEdge(NamedTuple):
    """An edge (node, input, operation); `shared` with the base, or None when there is no base to compare with."""

    source: str
    target: str
    operation: str
    shared: bool | None


class CellGraph(NamedTuple):
    """A cell: its name ("cell", "normal cell"), its inputs, then its nodes in order, and its edges."""

    name: str
    nodes: tuple[str, ...]
    edges: tuple[GraphEdge, ...]


class Choice(NamedTuple):
    """An edge that is no part of a cell: a mutable's label and value."""

    label: str
    value: str
    shared: bool | None


_WORDS = {"sep": "separable", "dil": "dilated", "avg": "average", "none": "nothing"}


def operation_name(value: Any) -> str:
    """Write an operation or a value as a reader would: `sep_conv_3x3` becomes "separable conv 3×3"."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"choice {value}"
    if not isinstance(value, str):
        return clean(json.dumps(value))
    words = [_WORDS.get(word, word) for word in clean(value).replace("_", " ").split()]
    text = re.sub(r"\b(\d+)x(\d+)\b", r"\1×\2", " ".join(words))
    return "skip" if text in ("skip connect", "skip connection") else text


def _node(group: object) -> tuple[str, int] | None:
    """Split a group such as "normal/2" or "node_0" into the cell's name and the node's number."""
    match = re.fullmatch(r"(.*?)[/_]?(\d+)", str(group), flags=re.DOTALL)
    return (match[1], int(match[2])) if match else None


def _cell_inputs(pool: Sequence[Sequence[Any]]) -> dict[str, tuple[int, int]]:
    """Find, for each cell in the edges of a whole pool, the first node's number and how many inputs the cell has.

    Nodes numbered from 1 or more share one numbering with the inputs, as in NNI's Cell. Where nodes start at 0 their
    inputs are numbered on their own, cell inputs first, so the largest input seen tells how many there are.
    """
    cells: dict[str, list[tuple[int, Any]]] = {}
    for group, source, _ in pool:
        node = _node(group)
        if node and source is not None:
            cells.setdefault(node[0], []).append((node[1], source))
    found = {}
    for cell, edges in cells.items():
        first = min(node for node, _ in edges)
        reach = [source - node + 1 for node, source in edges if isinstance(source, int)]
        found[cell] = (first, first or max([1, *reach]))
    return found


def cell_graphs(
    edges: Sequence[Sequence[Any]], base: Sequence[Sequence[Any]] | None, pool: Sequence[Sequence[Any]]
) -> tuple[tuple[CellGraph, ...], tuple[Choice, ...]]:
    """Turn the edges of one architecture into the graphs of its cells and the choices outside them.

    Args:
        edges: [group, input or None, operation] triples of the architecture.
        base: The base's edges; an edge counts as shared as often as the base has it. None if there is no base.
        pool: The edges of all candidates together, from which the number of cell inputs is read.
    """
    left = Counter(json.dumps(list(edge)) for edge in base or ())
    inputs = _cell_inputs([*pool, *edges])
    cells: dict[str, list[tuple[int, GraphEdge]]] = {}
    choices = []
    for group, source, operation in edges:
        key = json.dumps([group, source, operation])
        shared = None if base is None else left[key] > 0
        left[key] -= 1
        node = _node(group)
        if source is None or node is None:
            value = operation_name(operation) if source is None else f"{clean(source)}, {operation_name(operation)}"
            choices.append(Choice(clean(group), value, shared))
            continue
        first, count = inputs[node[0]]
        if not isinstance(source, int):
            named = _node(source)
            origin = f"node {named[1]}" if named and named[0] == node[0] else clean(source)
        elif source < count:
            origin = f"input {source}"
        else:
            origin = f"node {source - count + first}"
        cells.setdefault(node[0], []).append(
            (node[1], GraphEdge(origin, f"node {node[1]}", operation_name(operation), shared))
        )
    graphs = []
    for cell, items in cells.items():
        items.sort(key=lambda item: item[0])
        targets = list(dict.fromkeys(edge.target for _, edge in items))
        origins = sorted({edge.source for _, edge in items} - set(targets))
        name = "cell" if cell in ("", "node") else f"{clean(cell)} cell"
        graphs.append(CellGraph(name, (*origins, *targets), tuple(edge for _, edge in items)))
    return tuple(graphs), tuple(choices)


_ROW_HEIGHT = 0.25  # inches between two rows of a cell's graph


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
    height = (row + 0.3) * _ROW_HEIGHT
    with drawing(height, layout=None) as figure:
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, _WIDTH), ylim=(height, 0))
        axes.set_axis_off()
        for node, (top, bottom) in boxes.items():
            box = (0.08, (top + 0.3) * _ROW_HEIGHT), 0.78, (bottom - top + 0.7) * _ROW_HEIGHT
            axes.add_patch(
                FancyBboxPatch(*box, boxstyle="round,pad=0.0,rounding_size=0.05", facecolor=CARD, edgecolor=MUTED)
            )
            middle = ((top + bottom) / 2 + 0.7) * _ROW_HEIGHT  # browsers centre letters a little high
            axes.text(0.47, middle, short(node, 11), ha="center", va="center", fontsize=9)
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


def edge_text(edge: GraphEdge) -> str:
    """Say an edge in words."""
    suffix = {None: "", True: " (shared)", False: " (differs)"}[edge.shared]
    return f"{edge.target} takes {edge.source} through {edge.operation}{suffix}"
