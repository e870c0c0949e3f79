"""Cells of several architectures side by side, as a matplotlib figure for notebooks and papers."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from nni_hypens.errors import InputError
from nni_hypens.report.cell_graph import CellGraph, Choice, cell_graphs
from nni_hypens.report.text import short
from nni_hypens.space.architecture import EdgeStructure, Sample

SHARED, DIFFERS = "#1f6fb4", "#d1480b"
_ROW = 0.36  # inches


def plot_cells(
    structure: EdgeStructure, base: Sample, samples: Sequence[Sample], titles: Sequence[str] | None = None
) -> Figure:
    """Draw the cells of architectures side by side: edges shared with the base are blue, others orange and dashed.

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
    """Draw one cell from `row` on, and return the row after it."""
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
            # a long arrow bulges no further than a short one, or it would cross the names of operations
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
