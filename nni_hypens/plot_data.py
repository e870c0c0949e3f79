"""What each figure of a report shows, as a NamedTuple, and how it follows from the files of a run."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, cast

from nni_hypens.errors import InputError


class DialPoint(NamedTuple):
    """One candidate in the figure of shared edges against lam; role is "member", "trained" or "pool"."""

    id: str
    lam: float
    shared_edges: int
    source: str
    role: str


class Dial(NamedTuple):
    """How the diversity dial obeyed: shared edges (0..n_edges) against the requested lam.

    `omitted` counts candidates without a lam; `modes` are (lam, shared edges) of the hypernetwork's most probable
    architectures over the whole dial. `mean_absolute_error` is the mean of |shared edges - lam|, in edges, over the
    modes where there are any, and else over the candidates.
    """

    points: tuple[DialPoint, ...]
    n_edges: int
    omitted: int
    mean_absolute_error: float | None
    modes: tuple[tuple[float, int], ...] = ()


class AccuracyPoint(NamedTuple):
    """Test and validation accuracy (0..1) of one trained candidate, and the edges it shares with the base."""

    id: str
    shared_edges: float
    test: float | None
    validation: float | None
    is_member: bool


class AccuracyByEdges(NamedTuple):
    """Accuracies against shared edges, with the ensemble's and the base's test accuracy (0..1) as references."""

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
    count: tuple[int, ...]  # type: ignore[assignment]  # over tuple.count


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


class RobustnessCurve(NamedTuple):
    """Mean accuracy (0..1) and NLL (nats) of a model over all corruptions: (severity, accuracy, NLL), 0 for clean."""

    model: str
    points: tuple[tuple[int, float, float], ...]


class EntropyBar(NamedTuple):
    """Mean aleatoric and epistemic entropy, in nats, of some images."""

    label: str
    aleatoric: float
    epistemic: float


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


def short(value: object, width: int = 14) -> str:
    text = clean(value)
    return text if len(text) <= width else text[: width - 1] + "…"


def dial_data(
    candidates: Sequence[Mapping[str, Any]],
    trained: Collection[str],
    members: Collection[str],
    n_edges: int,
    modes: Sequence[Sequence[float]] = (),
) -> Dial:
    """Collect shared edges against lam.

    Args:
        candidates: The pool, each with id, lam (or None), shared_edges and source.
        trained: Ids of the candidates that were trained.
        members: Ids of the members.
        n_edges: Edges of an architecture.
        modes: Pairs (lam, shared edges of the mode).
    """
    points = []
    for item in candidates:
        lam, shared = number(item.get("lam")), number(item.get("shared_edges"))
        if lam is not None and shared is not None:
            role = "member" if item["id"] in members else "trained" if item["id"] in trained else "pool"
            points.append(DialPoint(str(item["id"]), lam, int(shared), str(item.get("source", "")), role))
    dial = tuple((float(lam), int(shared)) for lam, shared in modes)
    pairs = dial or [(point.lam, point.shared_edges) for point in points]
    error = sum(abs(shared - lam) for lam, shared in pairs) / len(pairs) if pairs else None
    return Dial(tuple(points), n_edges, len(candidates) - len(points), error, dial)


def accuracy_data(rows: Sequence[Mapping[str, Any]], ensemble: float, base_id: str | None) -> AccuracyByEdges:
    """Collect accuracies against shared edges, which every candidate has, asked for by a lam or not.

    Args:
        rows: Trained candidates, each with id, shared_edges, test, validation (metrics or None) and is_member.
        ensemble: The ensemble's test accuracy, 0..1.
        base_id: Id of the candidate that is the base, if there is one.
    """
    points, base = [], None
    for row in rows:
        shared = number(row.get("shared_edges"))
        test, validation = (number((row.get(part) or {}).get("accuracy")) for part in ("test", "validation"))
        if base_id is not None and row["id"] == base_id:
            base = test
        if shared is not None and (test is not None or validation is not None):
            points.append(AccuracyPoint(str(row["id"]), shared, test, validation, bool(row.get("is_member"))))
    return AccuracyByEdges(tuple(points), ensemble, base)


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
    return Disagreement(tuple(str(name) for name in ids), cast("tuple[tuple[float, ...], ...]", values))


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The mappings in what should be a list of them."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, (list, tuple)) else []


def robustness_data(rows: Sequence[Mapping[str, Any]]) -> tuple[RobustnessCurve, ...]:
    """Average over the corruptions at each severity.

    Args:
        rows: One a corruption, severity and model: `model`, `severity`, `accuracy`, `nll`.
    """
    found: dict[str, dict[int, list[tuple[float, float]]]] = {}
    for row in rows:
        severity, accuracy, nll = (number(row.get(key)) for key in ("severity", "accuracy", "nll"))
        if severity is not None and accuracy is not None and nll is not None:
            found.setdefault(str(row.get("model")), {}).setdefault(int(severity), []).append((accuracy, nll))
    return tuple(
        RobustnessCurve(model, tuple((level, *(sum(v) / len(v) for v in zip(*found[model][level], strict=True)))
                                     for level in sorted(found[model])))
        for model in found
    )  # fmt: skip


def entropy_data(parts: Mapping[str, Mapping[str, Any]]) -> tuple[EntropyBar, ...]:
    """Collect label -> mapping with `aleatoric` and `epistemic`; those without both numbers are left out."""
    bars = []
    for label, values in parts.items():
        aleatoric, epistemic = number(values.get("aleatoric")), number(values.get("epistemic"))
        if aleatoric is not None and epistemic is not None:
            bars.append(EntropyBar(label, aleatoric, epistemic))
    return tuple(bars)


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
