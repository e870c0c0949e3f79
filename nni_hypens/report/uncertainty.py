"""Report section: uncertainty, corruptions and out-of-distribution images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.ticker import MaxNLocator, PercentFormatter

from nni_hypens.report import html as page
from nni_hypens.report.content import RunContent
from nni_hypens.report.html import _count, mappings, number, short
from nni_hypens.report.svg import FIRST, INK, SECOND, _filled, drawing, inline_svg

_SCORES = {
    "entropy": "entropy", "mutual_information": "mutual information", "confidence": "confidence",
    "best_member_confidence": "best member's confidence",
}  # fmt: skip
_SEVERITIES = (1, 2, 3, 4, 5)


def uncertainty(run: RunContent) -> str:
    """The section on entropy and images from elsewhere; empty for an older folder."""
    split = {str(item.get("examples")): item for item in mappings((run.results.get("uncertainty") or {}).get("rows"))}
    ood = run.results.get("ood") or {}
    sets = mappings(ood.get("sets"))
    kinds = {f"test, {name}": item for name, item in split.items()}
    kinds |= {_set_name(item): item for item in sets}
    bars = entropy_data(kinds)
    parts = []
    if bars:
        text = (
            "Mean entropy of the average before any temperature. Aleatoric: the mean of the members' own entropies; "
            "epistemic: the mutual information of prediction and member, which is what they disagree about."
        )
        rows = [
            page.row(label, [(_count(item.get("count", item.get("images"))), True),
                             *((page.fixed(item.get(key), 3), True) for key in ("total", "aleatoric", "epistemic"))])
            for label, item in kinds.items()
        ]  # fmt: skip
        table = page.table(
            "Mean entropy (nats) by images", ("images", "#number", "#total", "#aleatoric", "#epistemic"), rows
        )
        drawn = page.figure(draw_entropy(bars, "entropy"), text)
        parts.append(f'<div class="side">{drawn}<div>{table}</div></div>')
    return page.section("Uncertainty, and images from elsewhere", *parts, _ood_table(ood, sets))


def _set_name(item: Mapping[str, Any]) -> str:
    return {"fashion_mnist": "Fashion-MNIST"}.get(str(item.get("name")), str(item.get("name")))


def _ood_table(ood: Mapping[str, Any], sets: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for item in sets:
        auroc = item.get("auroc") if isinstance(item.get("auroc"), Mapping) else {}
        rows.append(
            page.row(_set_name(item), [(page.fixed(auroc.get(score), 3), True) for score in _SCORES])  # type: ignore[union-attr]
        )
    caption = (
        f"AUROC of telling images from elsewhere from {_count(ood.get('images'))} test images by how unsure the model "
        "is: 0.5 is chance, below it the model is surer of what it has never seen."
    )
    head = ("images from elsewhere", *(f"#{name}" for name in _SCORES.values()))
    notes = "".join(
        f'<p class="note">Not measured: {page.esc(item.get("name"))}. {page.esc(item.get("reason"))}</p>'
        for item in mappings(ood.get("skipped"))
    )
    return (page.table(caption, head, rows, "results") if rows else "") + notes


def corrupted(run: RunContent) -> str:
    """The section on corrupted test images; empty for an older folder."""
    found = run.results.get("corruptions") or {}
    title = "Corrupted test images"
    if found.get("skipped"):
        return page.section(title, f'<p class="note">Not measured: {page.esc(found["skipped"])}</p>')
    rows = mappings(found.get("rows"))
    curves = robustness_data(rows)
    if not curves:
        return ""
    of = f"{_count(found.get('images'))} of {_count(found.get('of'))} test images"
    text = f"Means over all corruptions, on {of}. Severity 0: the same images, clean."
    drawn = page.figure(draw_robustness(curves, "robustness"), text)
    tables = _corruption_table(rows, "accuracy") + _corruption_table(rows, "nll")
    return page.section(title, f'<div class="side">{drawn}<div>{tables}</div></div>')


def _corruption_table(rows: Sequence[Mapping[str, Any]], key: str) -> str:
    """Accuracy or NLL of the ensemble and, after a slash, of the best member, by corruption and severity."""
    at = {(str(row.get("corruption")), number(row.get("severity")), str(row.get("model"))): row for row in rows}
    names = list(dict.fromkeys(str(row.get("corruption")) for row in rows if number(row.get("severity"))))
    # Against a best member with a temperature of its own: without one its NLL says little of its answers.
    other = "best member" if key == "accuracy" else "best member, calibrated"

    def cell(name: str, severity: int) -> tuple[str, bool]:
        pair = [number((at.get((name, severity, model)) or {}).get(key)) for model in ("ensemble", other)]
        said = ["–" if value is None else f"{value:.0%}" if key == "accuracy" else f"{value:.2f}" for value in pair]
        return " / ".join(said), True

    body = [page.row(name.replace("_", " "), [cell(name, severity) for severity in _SEVERITIES]) for name in names]
    what = "Accuracy" if key == "accuracy" else "NLL"
    caption = f"{what} by severity: ensemble / {other}"
    return page.table(caption, ("corruption", *(f"#{severity}" for severity in _SEVERITIES)), body, "results")


class RobustnessCurve(NamedTuple):
    """Mean accuracy (0..1) and NLL (nats) of a model over all corruptions: (severity, accuracy, NLL), 0 for clean."""

    model: str
    points: tuple[tuple[int, float, float], ...]


class EntropyBar(NamedTuple):
    """Mean aleatoric and epistemic entropy, in nats, of some images."""

    label: str
    aleatoric: float
    epistemic: float


def robustness_data(rows: Sequence[Mapping[str, Any]]) -> tuple[RobustnessCurve, ...]:
    """Average over the corruptions at each severity.

    Args:
        rows: One a corruption, severity and model: `model`, `severity`, `accuracy`, `nll`.
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


def entropy_data(parts: Mapping[str, Mapping[str, Any]]) -> tuple[EntropyBar, ...]:
    """Collect label -> mapping with `aleatoric` and `epistemic`; those without both numbers are left out."""
    bars = []
    for label, values in parts.items():
        aleatoric, epistemic = number(values.get("aleatoric")), number(values.get("epistemic"))
        if aleatoric is not None and epistemic is not None:
            bars.append(EntropyBar(label, aleatoric, epistemic))
    return tuple(bars)


def draw_robustness(curves: Sequence[RobustnessCurve], name: str) -> str:
    """Draw accuracy and, below, NLL against the severity of corruptions; curves with one accuracy are drawn once."""
    looks = ((FIRST, "o", "-"), (SECOND, "s", "--"), (INK, "^", ":"))
    with drawing(4.6) as figure:
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
        said = []
        for curve in curves:
            (_, first, low), (_, last, high) = curve.points[0], curve.points[-1]
            said.append(f"{curve.model}: accuracy {first:.1%} to {last:.1%}, NLL {low:.3f} to {high:.3f}.")
        return inline_svg(figure, name, "Accuracy and NLL against the severity of corruptions. " + " ".join(said))


def draw_entropy(bars: Sequence[EntropyBar], name: str) -> str:
    """Draw mean entropies as bars of two parts, one bar a kind of images."""
    with drawing(1.3 + 0.35 * len(bars)) as figure:
        axes = figure.add_subplot(xlabel="mean entropy (nats)")
        places, labels = range(len(bars)), [short(bar.label, 22) for bar in bars]
        first, second = [bar.aleatoric for bar in bars], [bar.epistemic for bar in bars]
        axes.barh(places, first, height=0.6, label="aleatoric", **_filled(FIRST))
        axes.barh(places, second, left=first, height=0.6, label="epistemic", **_filled(SECOND, hatched=True))
        axes.set_yticks(places, labels)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
        figure.legend(loc="outside lower center", ncols=2)
        said = [f"{bar.label}: aleatoric {bar.aleatoric:.3f}, epistemic {bar.epistemic:.3f}." for bar in bars]
        return inline_svg(figure, name, "Mean entropy. " + " ".join(said))
