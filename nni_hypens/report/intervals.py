"""Section: the ensemble compared with other models, with confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isclose
from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from nni_hypens.report.content import RunContent, mappings
from nni_hypens.report.html import Figure, Figures, Row, Section, Table, make_section
from nni_hypens.report.svg import FIRST, INK, MUTED, SECOND, AnyFigure, drawing, inline_svg
from nni_hypens.report.text import MISSING, fixed, number, percent, plain, short

_ROW = 0.42  # inches for a model: its name and, below, its interval
_TITLES = {"accuracy": "accuracy of the ensemble minus the other's", "nll": "NLL of the ensemble minus the other's"}
_CAPTIONS = {
    "accuracy": "Right of zero the ensemble is more accurate.",
    "nll": "Left of zero the ensemble has the lower (better) NLL. Members have no temperature, except where the name "
    "says so; the baselines are calibrated like the ensemble.",
}


BASE_ALONE = "base architecture alone"
"""The baseline that is the network of the base, calibrated like the ensemble, where the base was trained."""


class Difference(NamedTuple):
    """Ensemble minus another model in accuracy (0..1) or NLL (nats), with the interval of the paired difference.

    `sign` is 1 if the whole interval favours the ensemble, -1 if it favours the other model, 0 if it includes zero.
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


def interval_name(intervals: Mapping[str, Any]) -> str:
    """Name an interval by its level: "95% interval"."""
    level = number(intervals.get("level"))
    return "interval" if level is None else f"{level:.0%} interval"


def difference_data(intervals: Mapping[str, Any], key: str) -> tuple[Difference, ...]:
    """Collect the differences from `intervals` in results.json; rows without numbers are left out.

    Args:
        intervals: `rows` with `name` and, for accuracy and NLL, `difference` and `difference_interval`.
        key: "accuracy" (more is better) or "nll" (less is better).
    """
    rows = []
    for row in mappings(intervals.get("rows")):
        measure = row.get(key)
        if not isinstance(measure, Mapping):
            continue
        value, ends = number(measure.get("difference")), interval(measure.get("difference_interval"))
        if value is not None and ends is not None:
            sign = 1 if ends[0] > 0 else -1 if ends[1] < 0 else 0
            rows.append(Difference(str(row.get("name")), value, *ends, sign if key == "accuracy" else -sign))
    return tuple(rows)


def range_text(ends: tuple[float, float], key: str) -> str:
    """Write the interval of a difference, in percentage points for accuracy and in nats for NLL."""
    low, high = (100 * end if key == "accuracy" else end for end in ends)
    return f"{low:+.2f} to {high:+.2f}" if key == "accuracy" else f"{low:+.4f} to {high:+.4f}"


def repeats_base(run: RunContent, name: object, nll: object, among: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a baseline is the row of the trained base once more.

    It is so in a run without temperatures. In all others the baseline is calibrated and the candidate's row is not.

    Args:
        run: The run.
        name: Of the baseline.
        nll: Of the baseline on test data, in nats.
        among: The candidates that have a row.
    """
    base = (run.base_candidate or {}).get("id")
    own = next((one for one in among if one["id"] == base), None)
    value, other = number(nll), number(((own or {}).get("test") or {}).get("nll"))
    return name == BASE_ALONE and value is not None and other is not None and isclose(value, other, rel_tol=1e-9)


def intervals_of(run: RunContent) -> Mapping[str, Any]:
    """The intervals of a run, with each model once: a base that is a member may be a baseline, too."""
    intervals, ids = run.part("intervals"), {item["id"] for item in run.members}
    members = [row for row in run.trained if row["id"] in ids]
    rows = [
        row
        for row in mappings(intervals.get("rows"))
        if not repeats_base(run, row.get("name"), _measure(row, "nll").get("value"), members)
    ]
    return {**intervals, "rows": rows}


def section(run: RunContent) -> Section | None:
    """Every other model against the ensemble, as figures and as a table."""
    intervals = intervals_of(run)
    shown = {item["id"] for item in run.shown_members}
    hidden = {f"member {item['id']}" for item in run.members if item["id"] not in shown}
    figures = []
    for key, text in _CAPTIONS.items():
        differences = [row for row in difference_data(intervals, key) if row.name not in hidden]
        if differences:
            marks = f" Filled: the {interval_name(intervals)} excludes zero. Open: it includes zero, so the difference "
            caption = f"{text}{marks}may be chance. {run.shown_note()}".strip()
            svg = draw_differences(differences, key, f"intervals-{key}", interval_name(intervals))
            figures.append(Figure(svg, caption))
    return make_section("The ensemble against its members and baselines", Figures(figures), _table(run))


def _table(run: RunContent) -> Table:
    intervals = intervals_of(run)
    images, resamples = (fixed(intervals.get(key), 0) for key in ("images", "resamples"))
    caption = (
        f"The ensemble minus each other model, with its {interval_name(intervals)}: paired percentile "
        f"bootstrap over the {images} test {run.noun}s, {resamples} resamples, seed {plain(intervals.get('seed'))}. "
        f"The intervals cover the choice of test {run.noun}s, not the randomness of search and training."
    )
    columns = ("model", "accuracy (points)", "NLL")
    rows = [
        Row(str(item.get("name")), [_change(item, key) for key in _CAPTIONS])
        for item in intervals["rows"]
        if any(number(_measure(item, key).get("difference")) is not None for key in _CAPTIONS)
    ]
    return Table(caption, columns, rows, look="results")


def value_text(item: Mapping[str, Any], key: str, value: str) -> str:
    """Add the interval of accuracy or NLL to a value, if a row of `intervals` has one: "97.50% (95.00% to 99.00%)"."""
    ends = interval(_measure(item, key).get("interval"))
    write = percent if key == "accuracy" else fixed
    return value if ends is None else f"{value} ({write(ends[0])} to {write(ends[1])})"


def _measure(item: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = item.get(key)
    return found if isinstance(found, Mapping) else {}


def _change(item: Mapping[str, Any], key: str) -> str:
    """The ensemble's difference from a model, with its interval."""
    measure = _measure(item, key)
    difference, ends = number(measure.get("difference")), interval(measure.get("difference_interval"))
    if difference is None:
        return MISSING
    change = f"{100 * difference:+.2f}" if key == "accuracy" else f"{difference:+.4f}"
    return change if ends is None else f"{change} ({range_text(ends, key)})"


def draw_differences(rows: Sequence[Difference], key: str, name: str, level: str = "interval") -> Markup:
    """Draw a line for each other model; its diamond is filled if the interval excludes zero, and open if not.

    Args:
        rows: At least one difference.
        key: "accuracy" or "nll".
        name: Prefix of ids.
        level: What the text alternative calls the intervals.
    """
    factor = 100 if key == "accuracy" else 1
    unit = " points" if key == "accuracy" else ""
    with drawing(differences_height(rows)) as figure:
        plot_differences(figure, rows, key)
        digits = 2 if unit else 4
        texts = [
            f"{row.name}: {factor * row.value:+.{digits}f}{unit} ({range_text((row.low, row.high), key)})."
            for row in rows
        ]
        side = "right" if key == "accuracy" else "left"
        title = _TITLES[key][0].upper() + _TITLES[key][1:]
        label = f"{title}, each with its {level}; {side} of zero the ensemble is better. "
        return inline_svg(figure, name, label + " ".join(texts))


def differences_height(rows: Sequence[Difference]) -> float:
    """Height of the figure in inches."""
    return 0.75 + _ROW * len(rows)


def plot_differences(figure: AnyFigure, rows: Sequence[Difference], key: str) -> None:
    """Draw the differences on a figure."""
    factor = 100 if key == "accuracy" else 1
    unit = " points" if key == "accuracy" else ""
    axes = figure.add_subplot(xlabel=f"{_TITLES[key]}{',' if unit else ''}{unit}")
    for place, row in enumerate(rows):
        colour = {1: FIRST, -1: SECOND, 0: INK}[row.sign]
        axes.plot([0, 0], [place - 0.22, place + 0.3], color=MUTED, linewidth=1.2)  # does not cross the names
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
