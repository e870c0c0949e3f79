"""Cells of several architectures side by side, as a matplotlib figure for notebooks and papers."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from nni_hypens.errors import InputError
from nni_hypens.report.cell_graph import CellGraph, Choice, GraphEdge, cell_graphs, cell_inputs
from nni_hypens.report.text import short
from nni_hypens.space.architecture import EdgeStructure, Sample

SHARED, DIFFERS = "#1f6fb4", "#d1480b"
WIRE = "#8a929a"
_ROW = 0.36  # inches
_RIGHT, _LANE, _STEP = 0.5, 2.75, 0.16
"""Right side of a node's box, place of the first vertical line, and the distance to the next."""


def plot_cells(
    structure: EdgeStructure, base: Sample, samples: Sequence[Sample], titles: Sequence[str] | None = None
) -> Figure:
    """Draw the cells of architectures side by side: edges shared with the base are blue, others orange and dashed.

    The output of a node goes down a grey line on the right; each arrow from there into a node bears its operation.

    Args:
        structure: Edges of the space.
        base: The architecture that the others are compared with.
        samples: The architectures, one column each.
        titles: One for each; None for the number of shared edges.

    Raises:
        InputError: There is no architecture, or the number of titles is another.
    """
    if not samples:
        raise InputError("samples", "none", "one architecture or more")
    if titles is None:
        titles = [f"{structure.shared_edges(base, sample)} shared edges" for sample in samples]
    if len(titles) != len(samples):
        raise InputError("titles", f"{len(titles)} for {len(samples)} architectures", "one for each")
    pools = [[list(edge) for edge in structure.edges(sample)] for sample in (base, *samples)]
    inputs = cell_inputs([edge for pool in pools for edge in pool])
    columns = [cell_graphs(pool, pools[0], inputs) for pool in pools[1:]]
    rows = max(_rows(graphs, choices) for graphs, choices in columns)
    figure = Figure(figsize=(2.9 * len(samples), _ROW * (rows + 1)), layout="constrained", facecolor="white")
    panels = figure.subplots(1, len(samples), squeeze=False)[0]
    for axes, (graphs, choices), title in zip(panels, columns, titles, strict=True):
        axes.set(xlim=(-0.6, 4.0), ylim=(rows + 0.2, -0.6))
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
    """Draw one cell from `row` on, and return the row after it."""
    if named:
        axes.text(-0.5, row, graph.name, fontsize=8, weight="bold", va="center")
        row += 1
    sources = [node for node in graph.nodes if any(edge.source == node for edge in graph.edges)]
    leaves: dict[str, float] = {}  # node -> height at which its output leaves its box
    reaches: dict[str, float] = {}  # node -> height of the last node that takes it
    for node in graph.nodes:
        incoming = [edge for edge in graph.edges if edge.target == node]
        size = max(1, len(incoming))
        _box(axes, node, row, size)
        leaves[node] = row + size - 0.67
        for offset, edge in enumerate(incoming):
            _arrow(axes, _lane(sources, edge.source), row + offset, edge)
            reaches[edge.source] = row + offset
        row += size
    for node in sources:
        lane = _lane(sources, node)
        line = [(_RIGHT, leaves[node]), (lane, leaves[node]), (lane, reaches[node])]
        axes.plot(*zip(*line, strict=True), color=WIRE, linewidth=1, zorder=0)
    return row


def _lane(sources: Sequence[str], node: str) -> float:
    """Place of the vertical line of a node's output; the last node has the nearest, so that few lines cross."""
    return _LANE + _STEP * (len(sources) - 1 - sources.index(node))


def _box(axes: Axes, node: str, row: int, size: int) -> None:
    corner, height = (-0.5, row - 0.36), size - 1 + 0.8
    axes.add_patch(Rectangle(corner, 1.0, height, facecolor="#eef1f4", edgecolor=WIRE, linewidth=0.8))
    axes.text(0, row - 0.36 + height / 2, short(node, 8), ha="center", va="center", fontsize=8)


def _arrow(axes: Axes, lane: float, height: float, edge: GraphEdge) -> None:
    """An arrow into a node, with its operation on it."""
    look = _look(edge.shared)
    arrow = FancyArrowPatch(
        (lane, height),
        (_RIGHT, height),
        arrowstyle="-|>",
        mutation_scale=9,
        shrinkA=0,
        shrinkB=0,
        color=look["color"],
        linestyle=look["linestyle"],
    )
    axes.add_patch(arrow)
    label = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}
    middle = (_RIGHT + 0.15 + _LANE) / 2
    text = short(edge.operation, 20)
    axes.text(middle, height, text, ha="center", va="center", fontsize=7.5, color=look["color"], bbox=label)


def _look(shared: bool | None) -> dict[str, str]:
    return {"color": SHARED, "linestyle": "-"} if shared else {"color": DIFFERS, "linestyle": "--"}
