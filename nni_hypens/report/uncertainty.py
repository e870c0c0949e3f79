"""Section: entropy of the predictions, on test images and on out-of-distribution images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from nni_hypens.report.content import RunContent
from nni_hypens.report.html import Figure, FigureBeside, Note, Row, Section, Table, make_section
from nni_hypens.report.svg import FIRST, SECOND, AnyFigure, drawing, filled, inline_svg
from nni_hypens.report.text import fixed, number, short

_SCORES = {
    "entropy": "entropy",
    "mutual_information": "mutual information",
    "confidence": "confidence",
    "best_member_confidence": "best member's confidence",
}
_SET_NAMES = {"fashion_mnist": "Fashion-MNIST"}


class EntropyBar(NamedTuple):
    """Mean aleatoric and epistemic entropy, in nats, of some images."""

    label: str
    aleatoric: float
    epistemic: float


def entropy_data(parts: Mapping[str, Mapping[str, Any]]) -> tuple[EntropyBar, ...]:
    """Collect the bars from label -> mapping with `aleatoric` and `epistemic`; both numbers must be there."""
    bars = []
    for label, values in parts.items():
        aleatoric, epistemic = number(values.get("aleatoric")), number(values.get("epistemic"))
        if aleatoric is not None and epistemic is not None:
            bars.append(EntropyBar(label, aleatoric, epistemic))
    return tuple(bars)


def section(run: RunContent) -> Section | None:
    """The split of the entropy, and how well uncertainty separates out-of-distribution images."""
    skipped = []
    for item in run.rows("ood", "skipped"):
        what = "" if item.get("name") == "all" else f"{item.get('name')}. "
        skipped.append(Note(f"Not measured: {what}{item.get('reason')}"))
    title = "Uncertainty and out-of-distribution images" if run.of_images else "Uncertainty"
    return make_section(title, _entropy(run), _auroc_table(run), *skipped)


def set_name(item: Mapping[str, Any]) -> str:
    """Name of an out-of-distribution set for readers."""
    name = str(item.get("name"))
    return _SET_NAMES.get(name, name)


def _kinds(run: RunContent) -> dict[str, Mapping[str, Any]]:
    """The measurements by kind of images."""
    kinds = {f"test, {item.get('examples')}": item for item in run.rows("uncertainty")}
    return kinds | {set_name(item): item for item in run.rows("ood", "sets")}


def entropy_of(run: RunContent) -> tuple[EntropyBar, ...]:
    """Mean entropies of a run."""
    return entropy_data(_kinds(run))


def _entropy(run: RunContent) -> FigureBeside | None:
    """Entropy as a figure and as a table."""
    kinds, bars = _kinds(run), entropy_of(run)
    if not bars:
        return None
    rows = [
        Row(
            label,
            [
                fixed(item.get("count", item.get("images")), 0),
                *(fixed(item.get(key), 3) for key in ("total", "aleatoric", "epistemic")),
            ],
        )
        for label, item in kinds.items()
    ]
    columns = (f"{run.noun}s", "number", "total", "aleatoric", "epistemic")
    caption = (
        "Mean entropy of the average prediction, before any temperature. Aleatoric: mean entropy of the members' "
        "predictions. Epistemic: mutual information between prediction and member, that is, how much they disagree."
    )
    figure = Figure(draw_entropy(bars, "entropy"), caption)
    return FigureBeside(figure, [Table(f"Mean entropy (nats) by kind of {run.noun}s", columns, rows)])


def _auroc_table(run: RunContent) -> Table:
    rows = []
    for item in run.rows("ood", "sets"):
        found = item.get("auroc")
        auroc: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
        rows.append(Row(set_name(item), [fixed(auroc.get(score), 3) for score in _SCORES]))
    caption = (
        f"AUROC of telling out-of-distribution images from {fixed(run.part('ood').get('images'), 0)} test images by "
        "the model's uncertainty. 0.5 is chance; below it the model is more certain about images unlike those it was "
        "trained on."
    )
    return Table(caption, ("out-of-distribution images", *_SCORES.values()), rows, look="results")


def draw_entropy(bars: Sequence[EntropyBar], name: str) -> Markup:
    """Draw mean entropies as bars of two parts, one bar for each kind of images."""
    with drawing(entropy_height(bars)) as figure:
        plot_entropy(figure, bars)
        said = [f"{bar.label}: aleatoric {bar.aleatoric:.3f}, epistemic {bar.epistemic:.3f}." for bar in bars]
        return inline_svg(figure, name, "Mean entropy. " + " ".join(said))


def entropy_height(bars: Sequence[EntropyBar]) -> float:
    """Height of the figure in inches."""
    return 1.3 + 0.35 * len(bars)


def plot_entropy(figure: AnyFigure, bars: Sequence[EntropyBar]) -> None:
    """Draw mean entropies on a figure."""
    axes = figure.add_subplot(xlabel="mean entropy (nats)")
    places, labels = range(len(bars)), [short(bar.label, 22) for bar in bars]
    first, second = [bar.aleatoric for bar in bars], [bar.epistemic for bar in bars]
    axes.barh(places, first, height=0.6, label="aleatoric", **filled(FIRST))
    axes.barh(places, second, left=first, height=0.6, label="epistemic", **filled(SECOND, hatched=True))
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    figure.legend(loc="outside lower center", ncols=2)
