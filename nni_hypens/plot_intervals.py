"""The figure that holds the ensemble against its members and the baselines: what it shows, and its drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.ticker import MaxNLocator

from nni_hypens.plot_data import mappings, number, short
from nni_hypens.plots import FIRST, INK, MUTED, SECOND, drawing, inline_svg

_ROW = 0.42  # inches for a model: its name and, below, its interval
TITLES = {
    "accuracy": "accuracy of the ensemble minus that of the other",
    "nll": "NLL of the ensemble minus the other's",
}


class Difference(NamedTuple):
    """Ensemble minus another model in accuracy (0..1) or NLL (nats), with the interval of the paired difference.

    `sign` is 1 where the whole interval speaks for the ensemble, -1 where it speaks against it, 0 where it holds zero.
    """

    name: str
    value: float
    low: float
    high: float
    sign: int


def interval(value: Any) -> tuple[float, float] | None:
    """Two finite numbers, or None."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return None
    low, high = number(value[0]), number(value[1])
    return None if low is None or high is None else (low, high)


def difference_data(found: Mapping[str, Any], key: str) -> tuple[Difference, ...]:
    """Collect the differences of `intervals` in results.json; rows without numbers are left out.

    Args:
        found: `rows` with `name` and, for accuracy and NLL, `difference` and `difference_interval`.
        key: "accuracy", where more is better, or "nll", where less is.
    """
    rows = []
    for row in mappings(found.get("rows")):
        measure = row.get(key)
        if not isinstance(measure, Mapping):
            continue
        value, ends = number(measure.get("difference")), interval(measure.get("difference_interval"))
        if value is not None and ends is not None:
            sign = 1 if ends[0] > 0 else -1 if ends[1] < 0 else 0
            rows.append(Difference(str(row.get("name")), value, *ends, sign if key == "accuracy" else -sign))
    return tuple(rows)


def draw_differences(rows: Sequence[Difference], key: str, name: str) -> str:
    """Draw one line for each other model: a filled diamond where the interval leaves out zero, an open one where not.

    Args:
        rows: At least one difference.
        key: "accuracy" or "nll".
        name: Prefix of ids.
    """
    factor = 100 if key == "accuracy" else 1
    looks = {1: FIRST, -1: SECOND, 0: INK}
    with drawing(0.75 + _ROW * len(rows)) as figure:
        axes = figure.add_subplot(xlabel=f"{TITLES[key]}{', points' if factor == 100 else ''}")
        for place, row in enumerate(rows):
            colour = looks[row.sign]
            axes.plot([0, 0], [place - 0.22, place + 0.3], color=MUTED, linewidth=1.2)  # leaves the names free
            axes.plot([factor * row.low, factor * row.high], [place, place], color=colour, linewidth=1.8)
            face = colour if row.sign else "none"
            axes.scatter([factor * row.value], [place], marker="D", s=30, facecolors=face, edgecolors=colour, zorder=3)
            axes.annotate(
                short(row.name, 46), (0, place), (2, 6), xycoords=axes.get_yaxis_transform(), fontsize=8.5,
                textcoords="offset points", va="bottom",
            )  # fmt: skip
        axes.set_ylim(len(rows) - 0.6, -0.95)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        digits, unit = (2, " points") if factor == 100 else (4, "")
        said = [
            f"{row.name}: {factor * row.value:+.{digits}f}{unit} "
            f"({factor * row.low:+.{digits}f} to {factor * row.high:+.{digits}f})."
            for row in rows
        ]
        better = "right" if key == "accuracy" else "left"
        label = (
            f"{TITLES[key][0].upper()}{TITLES[key][1:]}, with 95% intervals; {better} of zero the ensemble is better. "
        )
        return inline_svg(figure, name, label + " ".join(said))
