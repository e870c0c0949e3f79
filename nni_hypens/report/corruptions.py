"""Section: accuracy and NLL on corrupted test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator, PercentFormatter

from nni_hypens.report.content import RunContent
from nni_hypens.report.html import Figure, FigureBeside, Note, Row, Section, Table, make_section
from nni_hypens.report.svg import FIRST, INK, SECOND, AnyFigure, drawing, inline_svg
from nni_hypens.report.text import MISSING, fixed, number, short

_TITLE = "Corrupted test images"
_SEVERITIES = (1, 2, 3, 4, 5)
BEST_BY_KEY = {"accuracy": "best member", "nll": "best member, calibrated"}
"""What the ensemble is compared with: a best member without a temperature would have a needlessly high NLL."""


class RobustnessCurve(NamedTuple):
    """Mean accuracy (0..1) and NLL (nats) of a model over all corruptions: (severity, accuracy, NLL), 0 for clean."""

    model: str
    points: tuple[tuple[int, float, float], ...]


def robustness_data(rows: Sequence[Mapping[str, Any]]) -> tuple[RobustnessCurve, ...]:
    """Average over the corruptions at each severity.

    Args:
        rows: One for each corruption, severity and model: `model`, `severity`, `accuracy`, `nll`.
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


def section(run: RunContent) -> Section | None:
    """Means over all corruptions as a figure, and each corruption in tables."""
    found = run.part("corruptions")
    if found.get("skipped"):
        return make_section(_TITLE, Note(f"Not measured: {found['skipped']}"))
    rows = run.rows("corruptions")
    curves = robustness_data(rows)
    if not curves:
        return None
    images = f"{fixed(found.get('images'), 0)} of {fixed(found.get('of'), 0)} test images"
    caption = f"Means over all corruptions, on {images}. Severity 0: the same images without corruption."
    figure = Figure(draw_robustness(curves, "robustness"), caption)
    return make_section(_TITLE, FigureBeside(figure, [_table(rows, "accuracy"), _table(rows, "nll")]))


def _table(rows: Sequence[Mapping[str, Any]], key: str) -> Table:
    """Accuracy or NLL of the ensemble and, after a slash, of the best member, by corruption and severity."""
    at = {(str(row.get("corruption")), number(row.get("severity")), str(row.get("model"))): row for row in rows}
    names = list(dict.fromkeys(str(row.get("corruption")) for row in rows if number(row.get("severity"))))
    other = BEST_BY_KEY[key]

    def cell(name: str, severity: int) -> str:
        pair = [number((at.get((name, severity, model)) or {}).get(key)) for model in ("ensemble", other)]
        style = ".0%" if key == "accuracy" else ".2f"
        return " / ".join(MISSING if value is None else format(value, style) for value in pair)

    body = [Row(name.replace("_", " "), [cell(name, severity) for severity in _SEVERITIES]) for name in names]
    caption = f"{'Accuracy' if key == 'accuracy' else 'NLL'} by severity: ensemble / {other}"
    return Table(caption, ("corruption", *map(str, _SEVERITIES)), body, look="results")


def draw_robustness(curves: Sequence[RobustnessCurve], name: str) -> Markup:
    """Draw accuracy and, below, NLL against the severity of corruptions; curves with one accuracy are drawn once."""
    with drawing(4.6) as figure:
        plot_robustness(figure, curves)
        said = []
        for curve in curves:
            (_, first, low), (_, last, high) = curve.points[0], curve.points[-1]
            said.append(f"{curve.model}: accuracy {first:.1%} to {last:.1%}, NLL {low:.3f} to {high:.3f}.")
        return inline_svg(figure, name, "Accuracy and NLL against the severity of corruptions. " + " ".join(said))


def plot_robustness(figure: AnyFigure, curves: Sequence[RobustnessCurve]) -> None:
    """Draw accuracy and NLL against the severity on a figure."""
    looks = ((FIRST, "o", "-"), (SECOND, "s", "--"), (INK, "^", ":"))
    upper, lower = figure.subplots(2, 1, sharex=True)
    drawn: list[list[float]] = []
    for curve, (colour, marker, line) in zip(curves, looks, strict=False):
        severity, accuracy, nll = (list(values) for values in zip(*curve.points, strict=True))
        look = {"color": colour, "marker": marker, "linestyle": line, "markersize": 4, "linewidth": 1.5}
        if accuracy not in drawn:  # a temperature changes no accuracy
            upper.plot(severity, accuracy, **look)
            drawn.append(accuracy)
        lower.plot(severity, nll, label=short(curve.model, 30), **look)
    upper.set(ylabel="accuracy")
    upper.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    lower.set(xlabel="severity (0: clean)", ylabel="NLL")
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=2)
