"""Numbers and values from a run's files as text; all of them may be missing or of another type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nni_hypens.errors import printable
from nni_hypens.utils.checks import is_number

METRICS = ("accuracy", "nll", "ece", "brier", "aurc")
METRIC_COLUMNS = ("accuracy", "NLL", "ECE", "Brier", "AURC")
MISSING = "–"


def number(value: Any) -> float | None:
    """Return a finite number as a float, and None for anything else."""
    return float(value) if is_number(value) else None


def fixed(value: Any, digits: int = 4, sign: str = "") -> str:
    """Write a number with a fixed count of decimals, or a dash if it is missing; `sign` "+" writes a plus, too."""
    known = number(value)
    return MISSING if known is None else f"{known:{sign}.{digits}f}"


def percent(value: Any, digits: int = 2) -> str:
    """Write a share (0..1) in percent, or a dash if it is missing."""
    known = number(value)
    return MISSING if known is None else f"{known:.{digits}%}"


def metric_cells(metrics: Mapping[str, Any] | None) -> list[str]:
    """Write the five metrics of `METRICS` in the order of `METRIC_COLUMNS`."""
    values = metrics or {}
    return [percent(values.get("accuracy")), *(fixed(values.get(key)) for key in METRICS[1:])]


def plain(value: Any) -> str:
    """Write a value from a settings or data mapping in one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value[:12]) + (" …" if len(value) > 12 else "")
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else str(value)


def plural(count: int, noun: str) -> str:
    """Write a count with its noun: "1 seed", "3 seeds"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def short(value: object, width: int = 14) -> str:
    """Cut printable text to `width` characters; the last is then an ellipsis."""
    text = printable(value)
    return text if len(text) <= width else text[: width - 1] + "…"
