"""The figures of the pool's page."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from nni_hypens.compare.figures import Drawing, Paint
from nni_hypens.report.svg import FIRST, INK, MUTED, SECOND
from tests.benchmarks.pool_text import TITLES, WAY_TITLES

_LOOKS = {
    "linear, members": (FIRST, "o", "--"), "linear, none": (FIRST, "^", ":"), "log, ensemble": (SECOND, "s", "-"),
    "log, none": (INK, "v", ":"),
}  # fmt: skip
"""Ways that the figure shows; the reference is the line at 0."""
_COLUMNS, _PANEL = 2, 1.9  # inches


def _panels(figure: Figure, results: dict[str, Any]) -> list[Any]:
    """Axes for each cell, with its title; two in a row."""
    names = list(results["cells"])
    rows = -(-len(names) // _COLUMNS)
    axes = [figure.add_subplot(rows, _COLUMNS, place + 1, title=TITLES[name]) for place, name in enumerate(names)]
    for one in axes:
        one.title.set_fontsize(9)
        one.tick_params(labelsize=8)
    return axes


def _height(results: dict[str, Any]) -> float:
    return _PANEL * -(-len(results["cells"]) // _COLUMNS) + 0.8


def calibration_figure(results: dict[str, Any]) -> Drawing:
    """NLL relative to the linear average with one temperature against the number of validation images; 5 members."""

    def draw(figure: Figure, paint: Paint) -> None:
        handles: list[Any] = []
        for axes, cell in zip(_panels(figure, results), results["cells"].values(), strict=True):
            axes.axhline(0, color=paint(MUTED), linewidth=1)
            handles = []
            for way, (colour, marker, line) in _LOOKS.items():
                rows = [row for row in cell["pooling"] if row["way"] == way and row["members"] == 5]
                values, errors = ([100 * row[key] for row in rows] for key in ("difference", "se"))
                handles.append(axes.errorbar(
                    [row["images"] for row in rows], values, errors, color=paint(colour), marker=marker, markersize=4,
                    linestyle=line, linewidth=1.2, capsize=2, label=WAY_TITLES[way],
                ))  # fmt: skip
            images = sorted({row["images"] for row in cell["pooling"]})
            axes.set_xscale("log")
            axes.set_xticks(images, [f"{number:,}" for number in images])
            axes.xaxis.set_minor_locator(NullLocator())
        figure.supxlabel("validation images", fontsize=9)
        figure.supylabel("NLL against linear, one temperature (%)", fontsize=9)
        figure.legend(handles=handles, loc="outside upper center", ncols=2)

    label = "Test NLL relative to the linear average with one temperature, against the number of validation images."
    return Drawing(_height(results), draw, label)


def gains_figure(results: dict[str, Any]) -> Drawing:
    """Gain of pairs of architectures against how often their answers differ."""

    def draw(figure: Figure, paint: Paint) -> None:
        handles: list[Any] = []
        for axes, cell in zip(_panels(figure, results), results["cells"].values(), strict=True):
            points = np.array(cell["gains"]["points"]).reshape(-1, 3)
            groups = [("no common edge", FIRST, points[:, 2] == 0), ("common edges", SECOND, points[:, 2] > 0)]
            handles = [
                axes.scatter(
                    100 * points[rows, 0],
                    points[rows, 1],
                    s=4,
                    color=paint(colour),
                    alpha=0.5,
                    linewidths=0,
                    label=name,
                )
                for name, colour, rows in groups
            ]
        figure.supxlabel("test images with different answers (%)", fontsize=9)
        figure.supylabel("gain of the pair (NLL)", fontsize=9)
        figure.legend(handles=handles, loc="outside upper center", ncols=2, markerscale=2)

    return Drawing(_height(results), draw, "Gain of pairs of networks against how often their answers differ.")
