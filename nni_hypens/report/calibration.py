"""Section: calibration of the ensemble, and disagreement of its members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from markupsafe import Markup
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from nni_hypens.errors import InputError
from nni_hypens.report.content import MOST_SHOWN, RunContent
from nni_hypens.report.html import Figure, Figures, Row, Section, Table, make_section
from nni_hypens.report.svg import FIRST, HEAT, MUTED, SECOND, AnyFigure, drawing, filled, inline_svg
from nni_hypens.report.text import MISSING, fixed, number, short

_FEW = 5  # temperatures of members, where there are too many to write all
_POOLINGS = {"log": "average of log-probabilities", "linear": "average of probabilities"}
_METHODS = {
    "ensemble": "one temperature",
    "members": "one temperature for each member first",
    "none": "no temperature",
}


class ReliabilityCurve(NamedTuple):
    """The non-empty bins of a reliability diagram: bin numbers, mean confidence, accuracy and count of each."""

    name: str
    n_bins: int
    bins: tuple[int, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    count: tuple[int, ...]  # type: ignore[assignment]  # over tuple.count


class Disagreement(NamedTuple):
    """Share of test images (0..1) on which two members predict different classes, M x M."""

    ids: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]


def combination_name(item: Mapping[str, Any]) -> str:
    """Words for a pooling and a calibration method; results of earlier versions have only the second."""
    pooling, method = str(item.get("pooling", "linear")), str(item.get("method"))
    return f"{_POOLINGS.get(pooling, pooling)}, {_METHODS.get(method, method)}"


def compared(run: RunContent) -> str:
    """Words for the averages that selection compares; earlier versions gave no candidate a temperature."""
    used = run.part("calibration")
    own = "pooling" in used and used.get("method") != "none"
    return f"probabilities averaged, {'each candidate with its own temperature' if own else 'before any temperature'}"


def reliability_data(name: str, bins: Mapping[str, Sequence[Any]]) -> ReliabilityCurve:
    """Keep the bins that hold images.

    Args:
        name: The model's name.
        bins: `confidence`, `accuracy` and `count`, one value for each bin of equal width; None or NaN in empty bins.

    Raises:
        InputError: If the three lists differ in length.
    """
    columns = [list(bins.get(key) or ()) for key in ("confidence", "accuracy", "count")]
    if len({len(column) for column in columns}) != 1:
        lengths = ", ".join(str(len(column)) for column in columns)
        raise InputError(f"reliability of {name}", f"lists of {lengths} values", "lists of equal length")
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
        InputError: If `pairwise` is not a square of finite numbers, one row for each member.
    """
    values = tuple(tuple(number(value) for value in row) for row in pairwise)
    if len(values) != len(ids) or any(len(row) != len(ids) or None in row for row in values):
        shape = f"rows of {', '.join(str(len(row)) for row in values)} values"
        raise InputError("diversity.pairwise", shape, f"{len(ids)} x {len(ids)} finite numbers")
    return Disagreement(tuple(str(name) for name in ids), cast("tuple[tuple[float, ...], ...]", values))


def reliability_of(run: RunContent) -> list[ReliabilityCurve]:
    """Curves of a run's ensemble and best member."""
    reliability = run.part("reliability")
    best = run.results["best_member"].get("id", "")
    names = {"ensemble": "ensemble", "best_member": f"best member {best}".strip()}
    return [reliability_data(name, reliability[key]) for key, name in names.items() if reliability.get(key)]


def disagreement_of(run: RunContent) -> Disagreement | None:
    """Disagreement of a run's members; None for one member, or where it was not measured."""
    pairwise = run.part("diversity").get("pairwise")
    if not pairwise or len(run.members) < 2:
        return None
    return disagreement_data([item["id"] for item in run.members], pairwise)


def section(run: RunContent) -> Section | None:
    """Reliability diagram, pairwise disagreement, and the ensemble under each calibration method."""
    figures = []
    curves, data = reliability_of(run), disagreement_of(run)
    if curves:
        caption = "Reliability on test data. Below the diagonal the model is overconfident, above it underconfident."
        figures.append(Figure(draw_reliability(curves, "reliability"), caption))
    if data is not None and len(data.ids) <= MOST_SHOWN:
        caption = (
            f"Pairwise disagreement: the share of test {run.noun}s on which two members predict different classes."
        )
        figures.append(Figure(draw_disagreement(data, "disagreement"), caption))
    return make_section("Calibration and disagreement", Figures(figures), _table(run))


def _table(run: RunContent) -> Table:
    used = combination_name(run.part("calibration"))
    rows = []
    for item in run.rows("calibration"):
        name = combination_name(item)
        cells = [fixed(item.get("validation_nll")), fixed(item.get("nll")), _temperatures(item)]
        rows.append(Row(f"{name} (used)", cells, "top") if name == used else Row(name, cells))
    columns = ("members are combined by", "validation NLL", "test NLL", "temperature")
    caption = "The ensemble with each way to combine its members. Temperatures were fitted on validation data."
    return Table(caption, columns, rows, text_columns=("temperature",), look="results")


def _temperatures(item: Mapping[str, Any]) -> str:
    if item.get("method") not in ("ensemble", "members"):
        return MISSING
    whole, listed = fixed(item.get("temperature"), 3), item.get("member_temperatures")
    if item.get("method") == "ensemble" or not isinstance(listed, list):
        return whole
    texts = [fixed(value, 3) for value in listed]
    if len(texts) > MOST_SHOWN:
        return f"{whole} after {len(texts)}, such as {', '.join(texts[:_FEW])}"
    return f"{whole} after {', '.join(texts)}"


def draw_reliability(curves: Sequence[ReliabilityCurve], name: str) -> Markup:
    """Draw accuracy against confidence with, below, the share of images in each bin."""
    with drawing(4.4) as figure:
        plot_reliability(figure, curves)
        return inline_svg(figure, name, "Reliability diagram. " + " ".join(_gap(curve) for curve in curves))


def plot_reliability(figure: AnyFigure, curves: Sequence[ReliabilityCurve]) -> None:
    """Draw a reliability diagram on a figure."""
    looks = [(FIRST, "o", "-"), (SECOND, "s", "--")]
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":", label="perfect")
    for position, (curve, (colour, marker, line)) in enumerate(zip(curves, looks, strict=False)):
        upper.plot(
            curve.confidence, curve.accuracy, color=colour, marker=marker, linestyle=line, markersize=4,
            label=short(curve.name, 30),
        )  # fmt: skip
        width, total = 1 / max(curve.n_bins, 1), sum(curve.count)
        left = [(index + 0.1 + 0.4 * position) * width for index in curve.bins]
        shares = [count / total for count in curve.count]
        lower.bar(left, shares, width=0.4 * width, align="edge", **filled(colour, hatched=position == 1))
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.03))
    lower.set(xlabel="confidence", ylabel="images")
    lower.yaxis.set_major_formatter(PercentFormatter(1.0))
    figure.legend(loc="outside lower center", ncols=2)


def _gap(curve: ReliabilityCurve) -> str:
    total = sum(curve.count)
    if not total:
        return f"{curve.name}: no images."
    mean, share = (
        sum(value * count for value, count in zip(values, curve.count, strict=True)) / total
        for values in (curve.confidence, curve.accuracy)
    )
    return f"{curve.name}: mean confidence {mean:.1%}, accuracy {share:.1%}."


def draw_disagreement(data: Disagreement, name: str) -> Markup:
    """Draw the pairwise disagreement as a heat map; the strongest colour is the largest value."""
    size = len(data.ids)
    with drawing(3.4) as figure:
        plot_disagreement(figure, data)
        pairs = [(data.values[i][j], data.ids[i], data.ids[j]) for i in range(size) for j in range(i)]
        label = f"Pairwise disagreement of {size} members."
        if pairs:
            (low, *_), (high, a, b) = min(pairs), max(pairs)
            label += f" From {low:.1%} to {high:.1%}, most between {a} and {b}."
        return inline_svg(figure, name, label)


def plot_disagreement(figure: AnyFigure, data: Disagreement) -> None:
    """Draw the pairwise disagreement on a figure."""
    size = len(data.ids)
    top = max((value for row in data.values for value in row), default=0.0) or 1.0
    axes = figure.add_subplot(xlim=(0, size), ylim=(size, 0), aspect="equal")
    axes.grid(False)
    for i, row in enumerate(data.values):
        for j, value in enumerate(row):
            axes.add_patch(Rectangle((j, i), 1, 1, facecolor=FIRST, alpha=HEAT * value / top, linewidth=0))
            if size <= 10:
                look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9 if size < 6 else 6.5}
                axes.text(j + 0.5, i + 0.5, f"{value:.1%}", **look)
    ticks = [index + 0.5 for index in range(size)]
    names = [short(item, 10) for item in data.ids]
    axes.set_xticks(ticks, names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, names)
    axes.tick_params(length=0)
