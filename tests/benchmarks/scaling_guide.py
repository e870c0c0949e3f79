"""Writes the tables, sentences and figure of the guide "Cost as work grows" from the results of `scaling`.

    python -m tests.benchmarks.scaling_guide [--quick]

This rewrites the text between `<!-- scaling: NAME -->` and `<!-- end -->` in the guide and draws the figure. `--quick`
only checks that the guide matches the results.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from nni_hypens.compare.figures import Drawing, Paint, as_png
from nni_hypens.report.svg import FIRST, INK, MUTED, SECOND
from nni_hypens.utils.files import read_json, write_bytes, write_text
from tests.benchmarks.paper_guide import replaced
from tests.benchmarks.scaling import RESULTS, key
from tests.benchmarks.scaling_steps import CANDIDATES, CLASSES, PIXELS, STEPS_OF_A_RUN, VALUES

GUIDE, FIGURE = Path("docs/guides/scaling.md"), Path("docs/scaling.png")
FEWEST = 3
"""Fewest points from which an exponent is told."""
NOISE = 0.25
"""How far a measured exponent may be above the least possible one before the guide says so."""
_UNITS = {CANDIDATES: "candidates", PIXELS: "pixels", CLASSES: "classes"}
_SELECT = [name for name in STEPS_OF_A_RUN if name.startswith("select_")]
_PANELS = {
    "choice of members, by candidates": (CANDIDATES, _SELECT),
    "other steps, by candidates": (CANDIDATES, [name for name in STEPS_OF_A_RUN if name not in _SELECT]),
    "by pixels of a side": (PIXELS, list(STEPS_OF_A_RUN)),
    "by classes": (CLASSES, ["search_step", "training_step", "select_greedy", "select_brier", "select_error", "weights",
                             "calibration", "evaluation", "report"]),
}  # fmt: skip
_LOOKS = [(colour, line) for line in ("-", "--", ":") for colour in (FIRST, SECOND, INK, MUTED)]


class Line(NamedTuple):
    """A step along one axis: values, lowest CPU seconds and extra megabytes of each, and why it ends where it does."""

    step: str
    axis: str
    values: tuple[int, ...]
    seconds: tuple[float, ...]
    megabytes: tuple[float, ...]
    cut: tuple[int, str] | None


def line(results: dict[str, Any], step: str, axis: str) -> Line:
    """What was measured of a step along an axis."""
    rows = {value: results["points"].get(key(step, axis, value), {}) for value in VALUES[axis]}
    measured = {value: row for value, row in rows.items() if "seconds" in row}
    cut = next(((value, row["cut"]) for value, row in rows.items() if "cut" in row), None)
    seconds = tuple(min(row["seconds"]) for row in measured.values())
    return Line(step, axis, tuple(measured), seconds, tuple(row["extra_mb"] for row in measured.values()), cut)


def exponent(values: tuple[int, ...], costs: tuple[float, ...]) -> float | None:
    """Slope of the costs over the upper half of the values, both in logarithms; None for fewer than `FEWEST` values.

    Examples:
        >>> exponent((1, 10, 100, 1000), (5.0, 5.0, 50.0, 500.0))
        1.0
    """
    if len(values) < FEWEST or min(costs, default=0) <= 0:
        return None
    half = max(FEWEST - 1, -(-len(values) // 2))
    slope = np.polyfit(np.log(values[-half:]), np.log(costs[-half:]), 1)[0]
    return float(round(slope, 2)) + 0.0


def lines(results: dict[str, Any], axis: str) -> list[Line]:
    """All steps along an axis, with at least one measured point."""
    found = [line(results, step, axis) for step, about in STEPS_OF_A_RUN.items() if axis in about.must]
    return [one for one in found if one.values]


def table(results: dict[str, Any], axis: str) -> str:
    """A row for each step: CPU seconds by value, exponents of time and memory, and the least possible exponent."""
    shown = lines(results, axis)
    values = [value for value in VALUES[axis] if any(value in one.values for one in shown)]
    head = ["step", *(f"{value:,}" for value in values), "exponent", "least", "extra MB at the largest"]
    rows = [head, ["---"] * len(head)]
    for one in shown:
        by_value = dict(zip(one.values, one.seconds, strict=True))
        cells = [seconds_text(by_value[value]) if value in by_value else "-" for value in values]
        grown, least = exponent(one.values, one.seconds), STEPS_OF_A_RUN[one.step].must[axis][0]
        told = "-" if grown is None else f"{grown:.2f}"
        rows.append([STEPS_OF_A_RUN[one.step].title, *cells, told, f"{least:g}", f"{one.megabytes[-1]:,.0f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def seconds_text(seconds: float) -> str:
    """Two significant digits: ``0.0042``, ``0.35``, ``12``."""
    return f"{seconds:.0f}" if seconds >= 10 else f"{float(f'{seconds:.2g}'):.{max(0, 1 - _power(seconds))}f}"


def _power(value: float) -> int:
    return int(np.floor(np.log10(value)))


def cuts(results: dict[str, Any]) -> str:
    """Which points are missing, and why."""
    found = [one for axis in VALUES for one in lines(results, axis) if one.cut is not None]
    told = [
        f"- {STEPS_OF_A_RUN[one.step].title}, {one.cut[0]:,} {_UNITS[one.axis]}: {one.cut[1]}."
        for one in found
        if one.cut is not None
    ]
    missing = [
        f"- {STEPS_OF_A_RUN[one.step].title}: not yet measured beyond {one.values[-1]:,} {_UNITS[one.axis]}."
        for axis in VALUES
        for one in lines(results, axis)
        if one.cut is None and one.values[-1] < VALUES[axis][-1]
    ]
    return "\n".join([*told, *missing]) or "Nothing was cut off."


def verdict(results: dict[str, Any]) -> str:
    """Steps that grow faster than they must, as far as was measured."""
    faster, told = [], 0
    for axis in VALUES:
        for one in lines(results, axis):
            grown, (least, _) = exponent(one.values, one.seconds), STEPS_OF_A_RUN[one.step].must[axis]
            told += grown is not None
            if grown is not None and grown > least + NOISE:
                faster.append(f"- {STEPS_OF_A_RUN[one.step].title}, with {axis}: {grown:.2f} instead of {least:g}.")
    head = f"Of {told} exponents, {told - len(faster)} are at most {NOISE} above the least possible one."
    return "\n".join([head, "", *faster]) if faster else head


def setup(results: dict[str, Any]) -> str:
    """Sizes and machine."""
    settings = results["settings"]
    return (
        f"Measured on one thread of {results['machine']['processor']} with torch {results['versions']['torch']}. Where "
        f"nothing else is said, there are 100 candidates, {settings['images']} validation images and as many test "
        f"images, 10 classes, {settings['members']} members, and images of 32 pixels in batches of "
        f"{settings['batch']}. A point may take {settings['limit_s']} CPU seconds and {settings['limit_gb']} GB."
    )


def drawing(results: dict[str, Any]) -> Drawing:
    """CPU seconds against what grows, both in logarithms, a panel for each axis."""
    shown = {
        title: [one for one in lines(results, axis) if one.step in steps] for title, (axis, steps) in _PANELS.items()
    }

    def draw(figure: Figure, paint: Paint) -> None:
        for part, (title, found) in zip(figure.subfigures(len(shown), 1), shown.items(), strict=True):
            axes = part.add_subplot(xscale="log", yscale="log", ylabel="CPU seconds")
            axes.set_title(title, loc="left", fontsize=9)
            for one, (colour, style) in zip(found, _LOOKS, strict=False):
                look: dict[str, Any] = {"marker": "o", "markersize": 2.5, "linewidth": 1.2, "label": _label(one.step)}
                axes.plot(one.values, one.seconds, color=paint(colour), linestyle=style, **look)
            ticks = VALUES[_PANELS[title][0]]
            axes.set_xticks(ticks, [f"{value:,}" for value in ticks], fontsize=7)
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.minorticks_off()
            axes.tick_params(axis="y", labelsize=7)
            part.legend(loc="outside lower center", ncols=2, fontsize=7, handlelength=2.6)

    said = [
        f"{title}: "
        + ", ".join(f"{_label(one.step)} {seconds_text(one.seconds[-1])} s at {one.values[-1]:,}" for one in found)
        for title, found in shown.items()
    ]
    return Drawing(13.5, draw, f"CPU seconds of the steps of a run in logarithmic scales. {'. '.join(said)}.")


def _label(step: str) -> str:
    return STEPS_OF_A_RUN[step].title.replace("`", "").removeprefix("select, ")


def parts(results: dict[str, Any]) -> dict[str, str]:
    """Name of each generated part of the guide -> its text."""
    made = {"setup": setup(results), "verdict": verdict(results), "cuts": cuts(results)}
    made |= {f"table_{axis}": table(results, axis) for axis in VALUES}
    return made | {"figure": f"![{drawing(results).label}](../{FIGURE.name})"}


def written(results: dict[str, Any]) -> str:
    """The guide with its generated parts replaced."""
    return replaced(GUIDE.read_text(encoding="utf-8"), "scaling", parts(results))


def main() -> None:
    parser = argparse.ArgumentParser(description="Rewrite the guide to the cost of growing work from its results.")
    parser.add_argument("--quick", action="store_true", help="only check that the guide matches the results")
    arguments = parser.parse_args()
    results = read_json(RESULTS)
    filled = written(results)
    if arguments.quick:
        same = filled == GUIDE.read_text(encoding="utf-8")
        print("the guide matches the results" if same else "the guide does not match the results")
        sys.exit(not same)
    write_text(GUIDE, filled)
    write_bytes(FIGURE, as_png(drawing(results)))
    print(f"figure: {FIGURE}")


if __name__ == "__main__":
    main()
