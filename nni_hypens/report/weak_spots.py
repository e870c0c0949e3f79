"""Where the ensemble is worse than its best member: an average on clean images can hide it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nni_hypens.report.content import RunContent
from nni_hypens.report.corruptions import BEST_BY_KEY
from nni_hypens.report.text import fixed, number, plural

_SHOWN = 3
"""Most corruptions that the sentence names with their numbers."""


class Comparison(NamedTuple):
    """Mean accuracy (0..1) or NLL (nats) of ensemble and best member over the severities of a corruption."""

    corruption: str
    ours: float
    best: float


def comparisons(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[Comparison, ...]:
    """Compare the ensemble with its best member under each corruption.

    Args:
        rows: One for each corruption, severity and model: `model`, `corruption`, `severity`, `accuracy`, `nll`.
        key: "accuracy", or "nll", for which the best member is calibrated.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        value = number(row.get(key))
        if value is not None and number(row.get("severity")):
            found.setdefault(str(row.get("corruption")), {}).setdefault(str(row.get("model")), []).append(value)
    return tuple(
        Comparison(name.replace("_", " "), *(sum(values) / len(values) for values in pair))
        for name, models in found.items()
        if all(pair := (models.get("ensemble", []), models.get(BEST_BY_KEY[key], [])))
    )


def weak_spots(run: RunContent) -> list[str]:
    """Sentences on the corruptions under which the best member is better; empty if nothing was measured."""
    accuracy, nll = (comparisons(run.rows("corruptions"), key) for key in ("accuracy", "nll"))
    if not accuracy:
        return []
    # Compared as printed, like the verdict.
    lost = [item for item in accuracy if round(item.ours, 3) < round(item.best, 3)]
    lost.sort(key=lambda item: item.ours - item.best)
    images = fixed(run.part("corruptions").get("images"), 0)
    if lost:
        named = [f"{item.corruption} ({item.ours:.1%} against {item.best:.1%})" for item in lost[:_SHOWN]]
        if len(lost) > _SHOWN:
            named.append(f"{len(lost) - _SHOWN} more")
        text = (
            f"Less accurate than its best member under {len(lost)} of {plural(len(accuracy), 'corruption')}: "
            f"{', '.join(named)}; means over all severities, {images} test images."
        )
    else:
        text = (
            f"Under each of {plural(len(accuracy), 'corruption')}, it is at least as accurate as its best member "
            f"(means over all severities, {images} test images)."
        )
    higher = [item.corruption for item in nll if round(item.ours, 4) > round(item.best, 4)]
    return [
        text
        + (f" Its NLL is higher than that of the calibrated best member under {', '.join(higher)}." if higher else "")
    ]
