"""Report section: calibration and disagreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from nni_hypens.errors import InputError
from nni_hypens.report import html as page
from nni_hypens.report.content import RunContent
from nni_hypens.report.html import mappings, number, short
from nni_hypens.report.svg import FIRST, MUTED, SECOND, _filled, drawing, inline_svg


def _prediction_figures(run: RunContent) -> str:
    figures = []
    reliability = run.results.get("reliability") or {}
    best = run.results["best_member"].get("id", "")
    names = {"ensemble": "ensemble", "best_member": f"best member {best}".strip()}
    curves = [reliability_data(text, reliability[key]) for key, text in names.items() if reliability.get(key)]
    if curves:
        text = "Reliability on test data: below the diagonal the model is too sure of itself, above it too unsure."
        figures.append(page.figure(draw_reliability(curves, "reliability"), text))
    pairwise = (run.results.get("diversity") or {}).get("pairwise")
    if pairwise and len(run.members) > 1:
        data = disagreement_data([item["id"] for item in run.members], pairwise)
        text = "Pairwise disagreement: the share of test examples on which two members predict different classes."
        figures.append(page.figure(draw_disagreement(data, "disagreement"), text))
    body = f'<div class="figures">{"".join(figures)}</div>' if figures else ""
    return page.section("Calibration and disagreement", body, calibration_table(run))


_METHODS = {
    "ensemble": "one temperature on the average", "members": "a temperature for each member", "none": "no temperature"
}  # fmt: skip


def calibration_table(run: RunContent) -> str:
    """The table of the ways to calibrate; empty for an older folder."""
    found = run.results.get("calibration") or {}
    rows = []
    for item in mappings(found.get("rows")):
        method = str(item.get("method"))
        used = method == found.get("method")
        listed = item.get("member_temperatures")
        own = [page.fixed(value, 3) for value in (listed if isinstance(listed, list) else ())]
        said = {"ensemble": page.fixed(item.get("temperature"), 3), "members": ", ".join(own)}.get(method, "–")
        cells = [*page.metric_cells(item), (page.fixed(item.get("validation_nll")), True), (said, False)]
        rows.append(page.row(_METHODS.get(method, method) + (" (used)" if used else ""), cells, "top" if used else ""))
    head = ("calibration", "#accuracy", "#NLL", "#ECE", "#Brier", "#AURC", "#validation NLL", "temperature")
    caption = "The ensemble on test data by each way to calibrate it; temperatures were fitted on validation data."
    return page.table(caption, head, rows, "results") if rows else ""


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


HEAT = 0.45
"""Opacity of the strongest colour of a heat map: numbers on it keep their contrast on a light and a dark page."""


def draw_reliability(curves: Sequence[ReliabilityCurve], name: str) -> str:
    """Draw accuracy against confidence with, below, the share of examples in each bin."""
    looks = [(FIRST, "o", "-"), (SECOND, "s", "--")]
    with drawing(4.4) as figure:
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
            lower.bar(left, shares, width=0.4 * width, align="edge", **_filled(colour, hatched=position == 1))
        upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.03))
        lower.set(xlabel="confidence", ylabel="examples")
        lower.yaxis.set_major_formatter(PercentFormatter(1.0))
        figure.legend(loc="outside lower center", ncols=2)
        return inline_svg(figure, name, "Reliability diagram. " + " ".join(_gap(curve) for curve in curves))


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
    with drawing(3.4) as figure:
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
        pairs = [(data.values[i][j], data.ids[i], data.ids[j]) for i in range(size) for j in range(i)]
        label = f"Pairwise disagreement of {size} members."
        if pairs:
            (low, *_), (high, a, b) = min(pairs), max(pairs)
            label += f" From {low:.1%} to {high:.1%}, most between {a} and {b}."
        return inline_svg(figure, name, label)
