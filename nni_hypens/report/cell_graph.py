"""The cells of an architecture as graphs: its edges read into nodes, and compared with the base."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nni_hypens.errors import printable

Edges = Sequence[Sequence[Any]]
"""[group, input or None, operation] triples."""
CellInputs = Mapping[str, tuple[int, int]]
"""Cell -> the first node's number and the number of inputs."""
_WORDS = {"sep": "separable", "dil": "dilated", "avg": "average", "none": "nothing"}


class GraphEdge(NamedTuple):
    """An edge (node, input, operation); `shared` with the base, or None if there is no base to compare with."""

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
    """An edge outside the cells: a mutable's label and value."""

    label: str
    value: str
    shared: bool | None


def cell_graphs(
    edges: Edges, base: Edges | None, inputs: CellInputs
) -> tuple[tuple[CellGraph, ...], tuple[Choice, ...]]:
    """Turn the edges of one architecture into the graphs of its cells and the choices outside them.

    Args:
        edges: Edges of the architecture.
        base: The base's edges; an edge counts as shared as often as the base has it. None if there is no base.
        inputs: Of the cells, from `cell_inputs`.
    """
    unmatched = Counter(json.dumps(list(edge)) for edge in base or ())
    cells: dict[str, list[tuple[int, GraphEdge]]] = {}
    choices = []
    for group, source, operation in edges:
        key = json.dumps([group, source, operation])
        shared = None if base is None else unmatched[key] > 0
        unmatched[key] -= 1
        node = _node(group)
        if source is None or node is None:
            value = operation_name(operation) if source is None else f"{printable(source)}, {operation_name(operation)}"
            choices.append(Choice(printable(group), value, shared))
            continue
        cell, position = node
        edge = GraphEdge(_origin(source, cell, *inputs[cell]), f"node {position}", operation_name(operation), shared)
        cells.setdefault(cell, []).append((position, edge))
    return tuple(_graph(cell, items) for cell, items in cells.items()), tuple(choices)


def _graph(cell: str, items: list[tuple[int, GraphEdge]]) -> CellGraph:
    edges = [edge for _, edge in sorted(items, key=lambda item: item[0])]
    targets = list(dict.fromkeys(edge.target for edge in edges))
    inputs = sorted({edge.source for edge in edges} - set(targets))
    name = "cell" if cell in ("", "node") else f"{printable(cell)} cell"
    return CellGraph(name, (*inputs, *targets), tuple(edges))


def _origin(source: Any, cell: str, first: int, count: int) -> str:
    """Name where an edge comes from, in a cell with `count` inputs whose first node has the number `first`."""
    if not isinstance(source, int):
        node = _node(source)
        return f"node {node[1]}" if node and node[0] == cell else printable(source)
    return f"input {source}" if source < count else f"node {source - count + first}"


def _node(group: object) -> tuple[str, int] | None:
    """Split a group like "normal/2" or "node_0" into the cell's name and the node's number."""
    match = re.fullmatch(r"(.*?)[/_]?(\d+)", str(group), flags=re.DOTALL)
    return (match[1], int(match[2])) if match else None


def cell_inputs(pool: Edges) -> CellInputs:
    """For each cell in the edges of a whole pool, the first node's number and the cell's number of inputs.

    Nodes numbered from 1 or more share one numbering with the inputs, as in NNI's Cell. If nodes start at 0, their
    inputs have a separate numbering, cell inputs first, so the largest input seen tells how many there are.
    """
    cells: dict[str, list[tuple[int, Any]]] = {}
    for group, source, _ in pool:
        node = _node(group)
        if node and source is not None:
            cells.setdefault(node[0], []).append((node[1], source))
    inputs = {}
    for cell, edges in cells.items():
        first = min(node for node, _ in edges)
        reach = [source - node + 1 for node, source in edges if isinstance(source, int)]
        inputs[cell] = (first, first or max([1, *reach]))
    return inputs


def operation_name(value: Any) -> str:
    """Write an operation or a value in words: `sep_conv_3x3` becomes "separable conv 3×3"."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"choice {value}"
    if not isinstance(value, str):
        return printable(json.dumps(value))
    words = [_WORDS.get(word, word) for word in printable(value).replace("_", " ").split()]
    text = re.sub(r"\b(\d+)x(\d+)\b", r"\1×\2", " ".join(words))
    return "skip" if text in ("skip connect", "skip connection") else text


def edge_text(edge: GraphEdge) -> str:
    """Describe an edge in words."""
    suffix = {None: "", True: " (shared)", False: " (differs)"}[edge.shared]
    return f"{edge.target} takes {edge.source} through {edge.operation}{suffix}"
