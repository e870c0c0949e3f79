"""Section: the diversity dial: edges that candidates share with the base, and the accuracy of the candidates."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator, PercentFormatter

from nni_hypens.report.content import RunContent
from nni_hypens.report.html import Figure, Figures, Section, make_section
from nni_hypens.report.svg import FIRST, INK, MUTED, SECOND, AnyFigure, drawing, inline_svg
from nni_hypens.report.text import number, plural

MOST_POINTS = 1000
"""Most candidates that a figure shows as points, besides the members."""


class DialPoint(NamedTuple):
    """One candidate in the figure of shared edges against lam; role is "member", "trained" or "pool"."""

    id: str
    lam: float
    shared_edges: int
    source: str
    role: str


class Dial(NamedTuple):
    """How well the candidates follow the dial: shared edges (0..n_edges) against the requested lam.

    `omitted` counts candidates without a lam; `modes` are (lam, shared edges) of the hypernetwork's most probable
    architectures over the whole dial. `mean_absolute_error` is the mean of |shared edges - lam|, in edges, over the
    modes, or over the candidates if there are no modes. It is None if lam is no number of edges (`counts_edges`).
    """

    points: tuple[DialPoint, ...]
    n_edges: int
    omitted: int
    mean_absolute_error: float | None
    modes: tuple[tuple[float, int], ...] = ()
    counts_edges: bool = True


class AccuracyPoint(NamedTuple):
    """Test and validation accuracy (0..1) of one trained candidate, and the edges it shares with the base."""

    id: str
    shared_edges: float
    test: float | None
    validation: float | None
    is_member: bool


_Point = TypeVar("_Point", DialPoint, AccuracyPoint)


class AccuracyByEdges(NamedTuple):
    """Accuracies against shared edges, with the ensemble's and the base's test accuracy (0..1) as references."""

    points: tuple[AccuracyPoint, ...]
    ensemble: float
    base: float | None


def dial_data(
    candidates: Sequence[Mapping[str, Any]],
    trained: Collection[str],
    members: Collection[str],
    n_edges: int,
    modes: Sequence[Sequence[float]] = (),
    counts_edges: bool = True,
) -> Dial:
    """Collect shared edges against lam.

    Args:
        candidates: The pool, each with id, lam (or None), shared_edges and source.
        trained: Ids of the candidates that were trained.
        members: Ids of the members.
        n_edges: Edges of an architecture.
        modes: Pairs (lam, shared edges of the mode).
        counts_edges: Whether lam is a number of shared edges, as the search's regulariser says.
    """
    points = []
    for item in candidates:
        lam, shared = number(item.get("lam")), number(item.get("shared_edges"))
        if lam is not None and shared is not None:
            role = "member" if item["id"] in members else "trained" if item["id"] in trained else "pool"
            points.append(DialPoint(str(item["id"]), lam, int(shared), str(item.get("source", "")), role))
    dial = tuple((float(lam), int(shared)) for lam, shared in modes)
    pairs = dial or [(point.lam, point.shared_edges) for point in points]
    error = sum(abs(shared - lam) for lam, shared in pairs) / len(pairs) if pairs and counts_edges else None
    return Dial(tuple(points), n_edges, len(candidates) - len(points), error, dial, counts_edges)


def accuracy_data(rows: Sequence[Mapping[str, Any]], ensemble: float, base_id: str | None) -> AccuracyByEdges:
    """Collect accuracies against shared edges, of candidates with a lam and without.

    Args:
        rows: Trained candidates, each with id, shared_edges, test, validation (metrics or None) and is_member.
        ensemble: The ensemble's test accuracy, 0..1.
        base_id: Id of the candidate that is the base, or None.
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


def dial_of(run: RunContent) -> Dial:
    """The dial of a run."""
    members = {item["id"] for item in run.members}
    n_edges = number(run.results.get("n_edges"))
    if n_edges is None:
        n_edges = max((len(item.get("edges") or ()) for item in run.candidates), default=0)
    trained = {row["id"] for row in run.trained}
    counts_edges = run.results.get("counts_edges") is not False  # results of earlier versions do not say it
    return dial_data(run.candidates, trained, members, int(n_edges), run.results.get("dial") or (), counts_edges)


def accuracy_of(run: RunContent) -> AccuracyByEdges:
    """Accuracies of a run's trained candidates."""
    members, base = {item["id"] for item in run.members}, run.base_candidate
    rows = [{**row, "is_member": row["id"] in members} for row in run.trained]
    return accuracy_data(rows, run.results["ensemble"]["accuracy"], base["id"] if base else None)


def _thinned(points: Sequence[_Point], is_kept: Callable[[_Point], bool]) -> tuple[_Point, ...]:
    """At most `MOST_POINTS`, evenly spaced, and those that are always kept."""
    step = -(-len(points) // MOST_POINTS)
    return tuple(point for place, point in enumerate(points) if not place % max(step, 1) or is_kept(point))


def section(run: RunContent) -> Section | None:
    """Shared edges against lam, and accuracy against shared edges."""
    figures = []
    dial, accuracy = dial_of(run), accuracy_of(run)
    total = max(len(dial.points), len(accuracy.points))
    dial = dial._replace(points=_thinned(dial.points, lambda point: point.role == "member"))
    accuracy = accuracy._replace(points=_thinned(accuracy.points, lambda point: point.is_member))
    some = f" Of {total:,} candidates, a part is shown." if total > MOST_POINTS else ""
    if dial.points:
        text = "Shared edges against lam."
        if dial.mean_absolute_error is not None:
            text += f" Mean error of the dial: {dial.mean_absolute_error:.2f} edges."
        else:
            text += " This search's regulariser has a distance of its own: its lam does not ask for a number of edges."
        if dial.omitted:
            text += f" Not shown: {plural(dial.omitted, 'candidate')} without a requested lam."
        figures.append(Figure(draw_dial(dial, "dial"), text + some))
    if accuracy.points:
        text = "Accuracy of each trained candidate: circles on test data, squares on validation data."
        figures.append(Figure(draw_accuracy(accuracy, "accuracy"), text + some))
    return make_section("The diversity dial", Figures(figures))


def draw_dial(data: Dial, name: str) -> Markup:
    """Draw shared edges against lam."""
    with drawing(3.7) as figure:
        plot_dial(figure, data)
        error = "" if data.mean_absolute_error is None else f", {data.mean_absolute_error:.2f} edges off on average"
        label = f"Shared edges against lam for {len(data.points)} candidates, 0 to {data.n_edges}{error}."
        return inline_svg(figure, name, label)


def plot_dial(figure: AnyFigure, data: Dial) -> None:
    """Draw shared edges against lam on a figure."""
    looks: dict[str, tuple[str, dict[str, Any]]] = {
        "pool": ("not trained", {"facecolors": "none", "edgecolors": MUTED, "s": 20}),
        "trained": ("trained", {"facecolors": "none", "edgecolors": FIRST, "s": 36, "linewidths": 1.3}),
        "member": ("member", {"facecolors": SECOND, "edgecolors": INK, "s": 52, "linewidths": 0.8}),
    }
    what = "lam (requested shared edges)" if data.counts_edges else "lam"
    axes = figure.add_subplot(xlabel=what, ylabel="shared edges with the base")
    if data.counts_edges:
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


def draw_accuracy(data: AccuracyByEdges, name: str) -> Markup:
    """Draw test and validation accuracy against shared edges, members filled."""
    with drawing(3.7) as figure:
        plot_accuracy(figure, data)
        tests = [p.test for p in data.points if p.test is not None]
        span = f", test from {min(tests):.1%} to {max(tests):.1%}" if tests else ""
        what = f"Accuracy against shared edges for {len(data.points)} trained candidates"
        label = f"{what}{span}; ensemble {data.ensemble:.1%}."
        return inline_svg(figure, name, label)


def plot_accuracy(figure: AnyFigure, data: AccuracyByEdges) -> None:
    """Draw accuracies against shared edges on a figure."""
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
