"""Section: top-k accuracy, and sets of classes that hold the true one as often as was asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nni_hypens.report.content import RunContent, mappings
from nni_hypens.report.html import Row, Section, Table, make_section
from nni_hypens.report.intervals import interval
from nni_hypens.report.text import MISSING, fixed, number, percent, plural

TOP_K_PREFIX = "top_k_"


def section(run: RunContent) -> Section | None:
    """A table of top-k accuracy, and one of prediction sets."""
    return make_section("Sets of classes", _top_k(run), _sets(run))


def _top_k(run: RunContent) -> Table:
    rows = mappings(run.results.get("top_k"))
    keys = sorted({key for row in rows for key in row if key.startswith(TOP_K_PREFIX)})
    columns = ("model", *(f"top {key.removeprefix(TOP_K_PREFIX)}" for key in keys))
    caption = f"Top-k accuracy on test data: the share of {run.noun}s whose class is among the k most probable."
    shown = [Row(str(row.get("name", "unnamed")), [percent(row.get(key)) for key in keys]) for row in rows]
    return Table(caption, columns, shown if keys else [])


def _sets(run: RunContent) -> Table:
    rows, images = run.rows("prediction_sets"), number(run.part("prediction_sets").get("images"))
    fitted = "" if images is None else f" Fitted on {plural(int(images), f'validation {run.noun}')}."
    caption = (
        f"Prediction sets of the ensemble on test data.{fitted} Validation data also chose the members and fitted the "
        "temperature, so compare the coverage that was asked for with the one measured."
    )
    columns = ("coverage asked for", "measured", "95% interval", "mean size", "one class", "lowest class")
    return Table(caption, columns, [_set_row(run, row) for row in rows], text_columns=("lowest class",), look="results")


def _set_row(run: RunContent, row: Mapping[str, Any]) -> Row:
    ends = interval(row.get("interval"))
    cells = [
        percent(row.get("measured")),
        MISSING if ends is None else f"{ends[0]:.2%} to {ends[1]:.2%}",
        fixed(row.get("mean_size"), 2),
        percent(row.get("single")),
        _lowest(run, row.get("lowest_class")),
    ]
    return Row(percent(row.get("coverage"), 0), cells)


def _lowest(run: RunContent, lowest: Any) -> str:
    """The class whose sets hold it least often: its name, share and test images."""
    if not isinstance(lowest, Mapping):
        return MISSING
    names, position = run.part("data").get("class_names"), lowest.get("class")
    name = f"class {position}"
    if isinstance(names, list) and isinstance(position, int) and 0 <= position < len(names):
        name = names[position]
    return f"{name}: {percent(lowest.get('measured'))} of {plural(int(number(lowest.get('images')) or 0), run.noun)}"
