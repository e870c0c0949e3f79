"""Figures of a report: what each one shows as a NamedTuple, and its drawing as inline SVG in the page's own colours.

The drawings use matplotlib's object API only. Colours are written as place-holders that `_svg` turns into CSS
variables, so that one figure is readable on a light and on a dark page; the page defines the variables.
"""

from __future__ import annotations

import html
import io
import json
import math
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from nni_hypens.errors import InputError

# No figure uses these near-black colours for anything else, so replacing them is safe.
INK, MUTED, GRID, FIRST, SECOND, CARD = "#010101", "#010102", "#010103", "#010104", "#010105", "#010106"
COLOUR_VARIABLES = {
    INK: "--ink", MUTED: "--muted", GRID: "--grid", FIRST: "--first", SECOND: "--second", CARD: "--card",
}  # fmt: skip

_WIDTH = 4.0  # inches = 288 SVG units: at phone width an 8.5 pt letter is then about 10 CSS pixels high
_STYLE = {
    "font.family": "DejaVu Sans", "font.size": 8.5, "axes.titlesize": 9, "legend.fontsize": 8, "legend.frameon": False,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "grid.color": GRID, "grid.linewidth": 0.6, "axes.grid": True,
    "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "text.parse_math": False,
    "svg.fonttype": "none", "svg.hashsalt": "nni_hypens",
}  # fmt: skip


class DialPoint(NamedTuple):
    """One candidate in the figure of shared edges against lam; role is "member", "trained" or "pool"."""

    id: str
    lam: float
    shared_edges: int
    source: str
    role: str


class Dial(NamedTuple):
    """How the diversity dial obeyed: shared edges (0..n_edges) against the requested lam.

    `omitted` counts candidates without a lam; `mean_absolute_error` is the mean of |shared edges - lam|, in edges.
    """

    points: tuple[DialPoint, ...]
    n_edges: int
    omitted: int
    mean_absolute_error: float | None


class AccuracyPoint(NamedTuple):
    """Test and validation accuracy (0..1) of one trained candidate at its lam."""

    id: str
    lam: float
    test: float | None
    validation: float | None
    is_member: bool


class AccuracyByLam(NamedTuple):
    """Accuracies against lam, with the ensemble's and the base's test accuracy (0..1) as references."""

    points: tuple[AccuracyPoint, ...]
    ensemble: float
    base: float | None


class ReliabilityCurve(NamedTuple):
    """The non-empty bins of a reliability diagram: bin numbers, mean confidence, accuracy and count of each."""

    name: str
    n_bins: int
    bins: tuple[int, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    count: tuple[int, ...]


class Disagreement(NamedTuple):
    """Share of test examples (0..1) on which two members predict different classes, M x M."""

    ids: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]


class History(NamedTuple):
    """Search history per epoch.

    `series` maps a column to its (epoch, value) points; epochs count from 1 on through all phases. `phases` holds
    (name, first epoch, last epoch).
    """

    series: dict[str, tuple[tuple[int, float], ...]]
    phases: tuple[tuple[str, int, int], ...]


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


def number(value: Any) -> float | None:
    """Give a finite number as a float, and None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def clean(value: object) -> str:
    """Text in which every character can be written to a page: no control characters, no lone surrogates."""
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)


def _short(value: object, width: int = 14) -> str:
    text = clean(value)
    return text if len(text) <= width else text[: width - 1] + "…"


def dial_data(
    candidates: Sequence[Mapping[str, Any]], trained: Collection[str], members: Collection[str], n_edges: int
) -> Dial:
    """Collect shared edges against lam.

    Args:
        candidates: The pool, each with id, lam (or None), shared_edges and source.
        trained: Ids of the candidates that were trained.
        members: Ids of the members.
        n_edges: Edges of an architecture.
    """
    points = []
    for item in candidates:
        lam, shared = number(item.get("lam")), number(item.get("shared_edges"))
        if lam is not None and shared is not None:
            role = "member" if item["id"] in members else "trained" if item["id"] in trained else "pool"
            points.append(DialPoint(str(item["id"]), lam, int(shared), str(item.get("source", "")), role))
    error = sum(abs(p.shared_edges - p.lam) for p in points) / len(points) if points else None
    return Dial(tuple(points), n_edges, len(candidates) - len(points), error)


def accuracy_data(rows: Sequence[Mapping[str, Any]], ensemble: float, base_id: str | None) -> AccuracyByLam:
    """Collect accuracies against lam.

    Args:
        rows: Trained candidates, each with id, lam (or None), test, validation (metrics or None) and is_member.
        ensemble: The ensemble's test accuracy, 0..1.
        base_id: Id of the candidate that is the base, if there is one.
    """
    points, base = [], None
    for row in rows:
        lam = number(row.get("lam"))
        test, validation = (number((row.get(part) or {}).get("accuracy")) for part in ("test", "validation"))
        if base_id is not None and row["id"] == base_id:
            base = test
        if lam is not None and (test is not None or validation is not None):
            points.append(AccuracyPoint(str(row["id"]), lam, test, validation, bool(row.get("is_member"))))
    return AccuracyByLam(tuple(points), ensemble, base)


def reliability_data(name: str, bins: Mapping[str, Sequence[Any]]) -> ReliabilityCurve:
    """Keep the bins that hold examples.

    Args:
        name: What the curve is of.
        bins: `confidence`, `accuracy` and `count`, one value a bin of equal width; None or NaN in empty bins.

    Raises:
        InputError: If the three lists differ in length.
    """
    columns = [list(bins.get(key) or ()) for key in ("confidence", "accuracy", "count")]
    if len({len(column) for column in columns}) != 1:
        lengths = ", ".join(str(len(column)) for column in columns)
        raise InputError(f"reliability of {name}", f"lists of {lengths}", "confidence, accuracy, count of one length")
    kept = [
        (index, confidence, accuracy, int(count))
        for index, (confidence, accuracy, count) in enumerate(zip(*map(_numbers, columns), strict=True))
        if confidence is not None and accuracy is not None and count
    ]
    index, confidence, accuracy, count = zip(*kept, strict=True) if kept else ((), (), (), ())
    return ReliabilityCurve(name, len(columns[0]), index, confidence, accuracy, count)


def _numbers(values: Sequence[Any]) -> list[float | None]:
    return [number(value) for value in values]


def disagreement_data(ids: Sequence[str], pairwise: Sequence[Sequence[float]]) -> Disagreement:
    """Check and collect the pairwise disagreement of the members.

    Raises:
        InputError: If `pairwise` is not one row and one column a member, of finite numbers.
    """
    values = tuple(tuple(number(value) for value in row) for row in pairwise)
    if len(values) != len(ids) or any(len(row) != len(ids) or None in row for row in values):
        shape = f"rows of {', '.join(str(len(row)) for row in values)} values"
        raise InputError("diversity.pairwise", shape, f"{len(ids)} x {len(ids)} finite numbers, one a pair of members")
    return Disagreement(tuple(str(name) for name in ids), values)


def history_data(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> History:
    """Average the search history over the steps of each epoch.

    Args:
        rows: The rows of history.csv as text; any value may be empty.
        columns: The columns to keep; one without a single number is left out.
    """
    epochs: list[tuple[str, str]] = []
    values: dict[str, dict[int, list[float]]] = {column: {} for column in columns}
    for row in rows:
        key = (row.get("phase") or "", row.get("epoch") or "")
        if not epochs or epochs[-1] != key:
            epochs.append(key)
        for column in columns:
            try:
                value = number(float(row.get(column) or "nan"))
            except ValueError:
                value = None
            if value is not None:
                values[column].setdefault(len(epochs), []).append(value)
    phases: list[tuple[str, int, int]] = []
    for position, (phase, _) in enumerate(epochs, start=1):
        if phases and phases[-1][0] == phase:
            phases[-1] = (phase, phases[-1][1], position)
        else:
            phases.append((phase, position, position))
    series = {c: tuple((e, sum(v) / len(v)) for e, v in points.items()) for c, points in values.items() if points}
    return History(series, tuple(phases))


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


@contextmanager
def _figure(height: float, layout: str | None = "constrained") -> Iterator[Figure]:
    """Give a figure of the report's width, `height` inches high, in the report's style while the block lasts."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # The browser draws the letters with its own fonts, so a glyph that matplotlib's font lacks is no fault.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield Figure(figsize=(_WIDTH, height), layout=layout)


def _svg(figure: Figure, name: str, label: str) -> str:
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
    looks = {
        "pool": ("in the pool only", {"facecolors": "none", "edgecolors": MUTED, "s": 20}),
        "trained": ("trained", {"facecolors": "none", "edgecolors": FIRST, "s": 36, "linewidths": 1.3}),
        "member": ("member", {"facecolors": SECOND, "edgecolors": INK, "s": 52, "linewidths": 0.8}),
    }
    with _figure(3.7) as figure:
        axes = figure.add_subplot(xlabel="lam (requested shared edges)", ylabel="shared edges with the base")
        axes.plot([0, data.n_edges], [0, data.n_edges], color=MUTED, linestyle="--", linewidth=1, label="as requested")
        for role, (label, look) in looks.items():
            points = [point for point in data.points if point.role == role]
            if points:
                axes.scatter([p.lam for p in points], [p.shared_edges for p in points], label=label, zorder=3, **look)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside lower center", ncols=2)
        error = "" if data.mean_absolute_error is None else f", {data.mean_absolute_error:.2f} edges off on average"
        label = f"Shared edges against lam for {len(data.points)} candidates, 0 to {data.n_edges}{error}."
        return _svg(figure, name, label)


def draw_accuracy(data: AccuracyByLam, name: str) -> str:
    """Draw test and validation accuracy against lam, members filled."""
    with _figure(3.7) as figure:
        axes = figure.add_subplot(xlabel="lam (requested shared edges)", ylabel="accuracy")
        for part, marker, colour in (("validation", "s", MUTED), ("test", "o", FIRST)):
            for is_member in (False, True):
                points = [p for p in data.points if getattr(p, part) is not None and p.is_member == is_member]
                if points:
                    axes.scatter(
                        [p.lam for p in points], [getattr(p, part) for p in points], marker=marker, s=34, zorder=3,
                        facecolors=colour if is_member else "none", edgecolors=colour, linewidths=1.2,
                        label=f"{part}, member" if is_member else part,
                    )  # fmt: skip
        axes.axhline(data.ensemble, color=SECOND, linewidth=1.4, label="ensemble, test")
        if data.base is not None:
            axes.axhline(data.base, color=INK, linestyle=":", linewidth=1.2, label="base, test")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        figure.legend(loc="outside lower center", ncols=2)
        tests = [p.test for p in data.points if p.test is not None]
        span = f", test from {min(tests):.1%} to {max(tests):.1%}" if tests else ""
        label = f"Accuracy against lam for {len(data.points)} trained candidates{span}; ensemble {data.ensemble:.1%}."
        return _svg(figure, name, label)


def draw_reliability(curves: Sequence[ReliabilityCurve], name: str) -> str:
    """Draw accuracy against confidence with, below, the share of examples in each bin."""
    looks = [(FIRST, "o", "-"), (SECOND, "s", "--")]
    with _figure(4.4) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":", label="perfect")
        for position, (curve, (colour, marker, line)) in enumerate(zip(curves, looks, strict=False)):
            upper.plot(
                curve.confidence, curve.accuracy, color=colour, marker=marker, linestyle=line, markersize=4,
                label=_short(curve.name, 30),
            )  # fmt: skip
            width, total = 1 / max(curve.n_bins, 1), sum(curve.count)
            left = [(index + 0.1 + 0.4 * position) * width for index in curve.bins]
            shares = [count / total for count in curve.count]
            lower.bar(left, shares, width=0.4 * width, align="edge", color=colour)
        upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.03))
        lower.set(xlabel="confidence", ylabel="examples")
        lower.yaxis.set_major_formatter(PercentFormatter(1.0))
        figure.legend(loc="outside lower center", ncols=2)
        return _svg(figure, name, "Reliability diagram. " + " ".join(_gap(curve) for curve in curves))


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
    with _figure(3.4) as figure:
        axes = figure.add_subplot(xlim=(0, size), ylim=(size, 0), aspect="equal")
        axes.grid(False)
        for i, row in enumerate(data.values):
            for j, value in enumerate(row):
                axes.add_patch(Rectangle((j, i), 1, 1, facecolor=FIRST, alpha=0.55 * value / top, linewidth=0))
                if size <= 10:
                    axes.text(j + 0.5, i + 0.5, f"{value:.1%}", ha="center", va="center", fontsize=8 if size < 6 else 6)
        ticks = [index + 0.5 for index in range(size)]
        names = [_short(item, 10) for item in data.ids]
        axes.set_xticks(ticks, names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(ticks, names)
        axes.tick_params(length=0)
        pairs = [(data.values[i][j], data.ids[i], data.ids[j]) for i in range(size) for j in range(i)]
        label = f"Pairwise disagreement of {size} members."
        if pairs:
            (low, *_), (high, a, b) = min(pairs), max(pairs)
            label += f" From {low:.1%} to {high:.1%}, most between {a} and {b}."
        return _svg(figure, name, label)


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
    with _figure(2.4) as figure:
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
        return _svg(figure, name, f"{title}: {'; '.join(notes)}.")


def _mark_phases(axes: Axes, phases: Sequence[tuple[str, int, int]]) -> None:
    """Mark where each named phase starts and write its name above, as much of it as there is room for."""
    named = [phase for phase in phases if phase[0]]
    total = sum(last - first + 1 for _, first, last in phases)
    for phase, first, last in named if len(named) > 1 else []:
        axes.axvline(first, color=MUTED, linewidth=0.8, linestyle=":")
        room = int(50 * (last - first + 1) / total)
        if room >= 3:
            where = axes.get_xaxis_transform()
            axes.text(first, 1.03, _short(phase, room), transform=where, va="bottom", fontsize=7, color=MUTED)


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
    with _figure(height, layout=None) as figure:
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, _WIDTH), ylim=(height, 0))
        axes.set_axis_off()
        for node, (top, bottom) in boxes.items():
            box = (0.08, (top + 0.3) * _ROW), 0.78, (bottom - top + 0.7) * _ROW
            axes.add_patch(
                FancyBboxPatch(*box, boxstyle="round,pad=0.0,rounding_size=0.05", facecolor=CARD, edgecolor=MUTED)
            )
            middle = ((top + bottom) / 2 + 0.7) * _ROW  # browsers centre letters a little high
            axes.text(0.47, middle, _short(node, 11), ha="center", va="center")
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
            axes.text(1.03, y1 - 0.03, _short(edge.operation, 26), va="bottom", fontsize=8)
        return _svg(figure, name, f"{graph.name}: " + "; ".join(map(edge_text, graph.edges)) + ".")


def edge_text(edge: GraphEdge) -> str:
    """Say an edge in words."""
    suffix = {None: "", True: " (shared)", False: " (differs)"}[edge.shared]
    return f"{edge.target} takes {edge.source} through {edge.operation}{suffix}"
