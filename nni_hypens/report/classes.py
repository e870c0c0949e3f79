"""Section: which classes are recognised, and which are taken for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from nni_hypens.report.content import RunContent
from nni_hypens.report.html import Block, Figure, FigureBeside, Row, Section, Table, make_section
from nni_hypens.report.svg import FIRST, HEAT, SECOND, AnyFigure, drawing, inline_svg
from nni_hypens.report.text import MISSING, percent, plural, short

_LARGEST_MATRIX = 20
"""Classes above which the matrix has no figure: its numbers could not be read."""
_MOST_PAIRS = 10
_MOST_CLASSES = 1000


class Classes(NamedTuple):
    """Test images by true class; all lists have one entry for each class, in its order.

    `confused` has (true class, answer, images) of the ensemble's errors, most images first.
    """

    names: tuple[str, ...]
    images: tuple[int, ...]
    right: tuple[int, ...]
    best_right: tuple[int, ...]
    confused: tuple[tuple[int, int, int], ...]


def class_data(found: Mapping[str, Any], names: Any) -> Classes | None:
    """Collect `classes` of results.json; None if it is missing, or is not what `evaluate` writes.

    Args:
        found: `images`, `right`, `best_member_right` (counts by class) and `confused`.
        names: Names of the classes; anything else than a list of that length is replaced by numbers.
    """
    columns = [_counts(found.get(key)) for key in ("images", "right", "best_member_right")]
    size = len(columns[0])
    if not 0 < size <= _MOST_CLASSES or any(len(column) != size for column in columns):
        return None
    listed = found.get("confused")
    pairs = [_counts(row) for row in listed] if isinstance(listed, list) else []
    confused = [(a, b, n) for a, b, n in (row for row in pairs if len(row) == 3) if a < size and b < size and a != b]
    known = names if isinstance(names, list) and len(names) == size else range(size)
    images, right, best = columns
    return Classes(tuple(map(str, known)), images, right, best, tuple(sorted(confused, key=lambda row: -row[2])))


def _counts(value: Any) -> tuple[int, ...]:
    """A list of counts; empty if it is anything else."""
    fine = isinstance(value, list) and all(type(item) is int and 0 <= item < 2**53 for item in value)
    return tuple(value) if fine else ()


def classes_of(run: RunContent) -> Classes | None:
    """The classes of a run, if it has counted them."""
    return class_data(run.part("classes"), run.part("data").get("class_names"))


def section(run: RunContent) -> Section | None:
    """The matrix as a figure if it is small, the pairs that are confused most, and the accuracy of each class."""
    data = classes_of(run)
    if data is None:
        return None
    title, table = "Accuracy of each class", _class_table(data, run.noun)
    if len(data.names) > _LARGEST_MATRIX:
        return make_section(title, _pair_table(data, run.noun), table)
    caption = f"Test {run.noun}s by true class and by the ensemble's answer. Right answers are on the diagonal."
    beside: list[Block] = [table]
    return make_section(title, FigureBeside(Figure(draw_confusion(data, "confusion"), caption), beside))


def _class_table(data: Classes, what: str) -> Table:
    """A row for each class, those with the lowest accuracy first."""
    rows = []
    for index, name in enumerate(data.names):
        images, right, best = data.images[index], data.right[index], data.best_right[index]
        shares = [percent(count / images, 1) if images else MISSING for count in (right, best)]
        rows.append((right / images if images else 2.0, Row(name, [str(images), *shares])))
    caption = f"Share of each class's test {what}s that are recognised. The class with the lowest accuracy comes first."
    ordered = [row for _, row in sorted(rows, key=lambda pair: pair[0])]
    return Table(caption, ("class", f"test {what}s", "ensemble", "best member"), ordered)


def _pair_table(data: Classes, what: str) -> Table:
    rows = [
        Row(data.names[label], [data.names[answer], str(images)])
        for label, answer, images in data.confused[:_MOST_PAIRS]
    ]
    caption = f"The {plural(len(rows), 'pair')} of classes that the ensemble confuses most"
    return Table(caption, ("true class", "answer", f"test {what}s"), rows, text_columns=("answer",))


def draw_confusion(data: Classes, name: str) -> Markup:
    """Draw the confusion matrix; the darkest cell of each colour has the most images."""
    size = len(data.names)
    with drawing(confusion_height(data)) as figure:
        plot_confusion(figure, data)
        errors = sum(images for _, _, images in data.confused)
        label = f"Confusion matrix of {size} classes: {sum(data.right)} of {sum(data.images)} are right."
        if data.confused:
            a, b, images = data.confused[0]
            label += f" Of {errors} errors, most take {data.names[a]} for {data.names[b]}: {images}."
        return inline_svg(figure, name, label)


def confusion_height(data: Classes) -> float:
    """Height of the figure in inches."""
    return 1.1 + 0.29 * max(len(data.names), 6)


def plot_confusion(figure: AnyFigure, data: Classes) -> None:
    """Draw the matrix: right answers in one colour, errors in another, each cell with its number of images."""
    size, axes = len(data.names), figure.add_subplot()
    axes.set(xlim=(0, size), ylim=(size, 0), xlabel="answer", ylabel="true class")
    axes.grid(False)
    right = [(index, index, count) for index, count in enumerate(data.right)]
    for cells, colour in ((right, FIRST), (data.confused, SECOND)):
        top = max((count for *_, count in cells), default=0) or 1
        for label, answer, count in cells:
            if count:
                look: dict[str, Any] = {"facecolor": colour, "alpha": HEAT * count / top, "linewidth": 0}
                axes.add_patch(Rectangle((answer, label), 1, 1, **look))
                place = (answer + 0.5, label + 0.5)
                axes.text(*place, str(count), ha="center", va="center", fontsize=9 if size <= 10 else 6.5)
    _name_ticks(axes, data.names)


def _name_ticks(axes: Axes, names: Sequence[str]) -> None:
    ticks, texts = [index + 0.5 for index in range(len(names))], [short(name, 10) for name in names]
    turned: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(ticks, texts, **(turned if max(map(len, texts)) > 2 else {}))
    axes.set_yticks(ticks, texts)
    axes.tick_params(length=0)
