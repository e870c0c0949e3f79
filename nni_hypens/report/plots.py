"""The report's figures as matplotlib axes, for notebooks and papers: in the colours of a light page."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from nni_hypens.errors import InputError
from nni_hypens.report import (
    calibration,
    classes,
    corruptions,
    cost_front,
    dial,
    history,
    intervals,
    uncertainty,
)
from nni_hypens.report.content import RunContent
from nni_hypens.report.svg import WIDTH, AnyFigure, light_style, lighten


class Plot(NamedTuple):
    """A figure: its data in a run (empty or None if there are none), its height in inches, and what draws it."""

    find: Callable[[RunContent], Any]
    height: Callable[[Any], float]
    draw: Callable[[AnyFigure, Any], None]


def _fixed(height: float) -> Callable[[Any], float]:
    return lambda data: height


def _differences(run: RunContent, key: str) -> Any:
    return intervals.difference_data(intervals.intervals_of(run), key)


def _front(run: RunContent, cost: str) -> Any:
    found = cost_front.cost_front_data(run.part("cost_front"), cost)
    return found if found.points else None


def _dial(run: RunContent) -> Any:
    found = dial.dial_of(run)
    return found if found.points else None


def _accuracy(run: RunContent) -> Any:
    found = dial.accuracy_of(run)
    return found if found.points else None


def _history(run: RunContent) -> Any:
    found = history.history_of(run)
    return found if found.series else None


def _panels(data: history.History) -> dict[str, Any]:
    return {
        title: columns for title, columns in history.PANELS.items() if any(column in data.series for column in columns)
    }


def _draw_history(figure: AnyFigure, data: history.History) -> None:
    panels = _panels(data)
    parts = figure.subfigures(len(panels), 1, squeeze=False).flat
    for part, (title, columns) in zip(parts, panels.items(), strict=True):
        history.plot_history(part, data, columns, title)


PLOTS: dict[str, Plot] = {
    "dial": Plot(_dial, _fixed(3.7), dial.plot_dial),
    "accuracy": Plot(_accuracy, _fixed(3.7), dial.plot_accuracy),
    "reliability": Plot(calibration.reliability_of, _fixed(4.4), calibration.plot_reliability),
    "disagreement": Plot(calibration.disagreement_of, _fixed(3.4), calibration.plot_disagreement),
    "confusion": Plot(classes.classes_of, classes.confusion_height, classes.plot_confusion),
    "uncertainty": Plot(uncertainty.entropy_of, uncertainty.entropy_height, uncertainty.plot_entropy),
    "corruptions": Plot(
        lambda run: corruptions.robustness_data(run.rows("corruptions")), _fixed(4.6), corruptions.plot_robustness
    ),
    "history": Plot(_history, lambda data: history.HEIGHT * len(_panels(data)), _draw_history),
    **{
        f"cost_front, {cost}": Plot(partial(_front, cost=cost), _fixed(3.5), cost_front.plot_cost_front)
        for cost in cost_front.COSTS
    },
    **{
        f"differences, {key}": Plot(
            partial(_differences, key=key), intervals.differences_height, partial(intervals.plot_differences, key=key)
        )
        for key in ("accuracy", "nll")
    },
}
"""The figures by name."""


def plot_axes(run: RunContent, name: str) -> tuple[Axes, ...]:
    """Draw a figure with pyplot, so that a notebook shows it.

    Args:
        run: The run.
        name: One of `PLOTS`.

    Returns:
        Its axes, from top to bottom.

    Raises:
        InputError: The run has not measured what the figure shows.
    """
    plot = PLOTS[name]
    data = plot.find(run)
    if not data:
        raise InputError(f"the figure {name}", "no data", f"a run that has measured it; {run.name} has not")
    from matplotlib import pyplot

    with light_style():
        figure = pyplot.figure(figsize=(WIDTH, plot.height(data)), layout="constrained", facecolor="white")
        plot.draw(figure, data)
        figure.draw_without_rendering()  # makes the ticks, while the style holds
        lighten(figure)
    return tuple(figure.get_axes())
