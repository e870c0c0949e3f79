"""Section: the search, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from nni_hypens.report.content import RunContent
from nni_hypens.report.html import Figure, Figures, Note, Section, make_section
from nni_hypens.report.svg import FIRST, INK, MUTED, SECOND, AnyFigure, drawing, inline_svg
from nni_hypens.report.text import number, plural, short

HEIGHT = 2.4
"""Height of a panel in inches."""
PANELS = {
    "Loss": {"loss": "training", "val_loss": "validation"},
    "Accuracy": {"accuracy": "accuracy"},
    "Regulariser weight": {"weight": "weight"},
    "Temperature": {"temperature": "temperature"},
    "Error of the dial (edges)": {"dial_error": "error"},
}
"""Title of each figure -> the columns of history.csv that it shows, and their labels."""


class History(NamedTuple):
    """Search history by epoch.

    `series` maps a column to its (epoch, value) points; epochs count from 1 through all phases. `phases` holds
    (name, first epoch, last epoch).
    """

    series: dict[str, tuple[tuple[int, float], ...]]
    phases: tuple[tuple[str, int, int], ...]


def history_data(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> History:
    """Average the search history over the steps of each epoch.

    Args:
        rows: The rows of history.csv as text; any value may be empty.
        columns: The columns to keep; those without a number are left out.
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


def history_of(run: RunContent) -> History:
    """The search history of a run."""
    return history_data(run.history, [column for columns in PANELS.values() for column in columns])


def section(run: RunContent) -> Section | None:
    """A figure for each quantity that the search recorded."""
    data = history_of(run)
    figures = [
        Figure(draw_history(data, columns, title, f"history{index}"))
        for index, (title, columns) in enumerate(PANELS.items())
        if any(column in data.series for column in columns)
    ]
    if not figures:
        return None
    note = "Means over the steps of each epoch. Epochs are counted through all phases."
    return make_section("Search history", Note(note), Figures(figures))


def draw_history(data: History, columns: Mapping[str, str], title: str, name: str) -> Markup:
    """Draw columns of the search history against the epoch.

    Args:
        data: The history.
        columns: Column -> label of its line; a column without data is left out.
        title: The panel's title.
        name: Prefix of ids.
    """
    shown = {column: label for column, label in columns.items() if column in data.series}
    notes = []
    for column, label in shown.items():
        points = data.series[column]
        values = [value for _, value in points]
        notes.append(f"{label} from {values[0]:.4g} to {values[-1]:.4g} over {plural(len(points), 'epoch')}")
    with drawing(HEIGHT) as figure:
        plot_history(figure, data, columns, title)
        return inline_svg(figure, name, f"{title}: {'; '.join(notes)}.")


def plot_history(figure: AnyFigure, data: History, columns: Mapping[str, str], title: str) -> None:
    """Draw columns of the search history on a figure."""
    shown = {column: label for column, label in columns.items() if column in data.series}
    axes: Axes = figure.add_subplot(xlabel="epoch")
    axes.set_title(title, loc="left", pad=16)  # leaves a line for the names of the phases
    for (column, label), colour, line in zip(shown.items(), (FIRST, SECOND, INK), ("-", "--", ":"), strict=False):
        epochs, values = zip(*data.series[column], strict=True)
        marker = "o" if len(epochs) < 3 else None
        axes.plot(epochs, values, color=colour, linestyle=line, linewidth=1.5, marker=marker, label=label)
    _mark_phases(axes, data.phases)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(shown) > 1:
        axes.legend(loc="best")


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
