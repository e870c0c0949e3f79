"""Tables of the pool's page: a line for each title, a column for each cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tests.benchmarks import map_trained_text
from tests.benchmarks.pool_text import TITLES

Results = dict[str, Any]
Row = dict[str, Any]


def signed(value: float, digits: int = 1) -> str:
    """`+1.2`, and `0.0` without a sign."""
    text = f"{value:+.{digits}f}"
    return text if float(text) else f"{0:.{digits}f}"


def with_error(found: Mapping[str, float] | None, scale: float = 1.0, digits: int = 1, sign: bool = False) -> str:
    """`1.2 ± 0.3`; `-` where there is nothing."""
    if found is None:
        return "-"
    value = scale * found["mean"]
    return f"{signed(value, digits) if sign else f'{value:.{digits}f}'} ± {scale * found['se']:.{digits}f}"


def percent(row: Row) -> str:
    """A relative difference and its standard error, in %."""
    return with_error({"mean": row["difference"], "se": row["se"]}, 100, sign=True)


def by_cell(results: Results, head: str, lines: Iterable[tuple[str, Callable[[Results], str]]]) -> str:
    """A table with a line for each (title, text of a cell) and a column for each cell."""
    cells = results["cells"]
    rows = [[title, *(text(cell) for cell in cells.values())] for title, text in lines]
    return map_trained_text.table([head, *(TITLES[name] for name in cells)], rows)


def one(rows: Sequence[Row], **wanted: Any) -> Row | None:
    """The row with these values, None if there is none."""
    return next((row for row in rows if all(row[key] == value for key, value in wanted.items())), None)


def found_or_none(row: Row | None, text: Callable[[Row], str]) -> str:
    """The text of a row; `-` where there is none."""
    return "-" if row is None else text(row)


def table(
    results: Results, part: str, key: str, titles: Mapping[str, str], text: Callable[[Row], str] = percent,
    **where: Any,
) -> str:  # fmt: skip
    """A line for each title: the rows of a part with these values."""

    def line(name: str) -> Callable[[Results], str]:
        return lambda cell: found_or_none(one(cell[part], **{key: name}, **where), text)

    return by_cell(results, "", [(title, line(name)) for name, title in titles.items()])
