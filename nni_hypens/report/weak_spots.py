"""Where the ensemble is not to be trusted: worse than its best member under a corruption, surer of unknown images than
of test images, or chosen by few validation images. An average on clean images can hide it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nni_hypens.report.content import RunContent
from nni_hypens.report.corruptions import BEST_BY_KEY
from nni_hypens.report.text import fixed, number, plural
from nni_hypens.report.uncertainty import set_name

_SHOWN = 3
"""Most corruptions that the sentence names with their numbers."""
FEW_VALIDATION = 200
"""Validation images below which the choice costs more than about 1% of the NLL (`tests.benchmarks.few_validation`)."""


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


def surer_of_unknown(run: RunContent) -> list[str]:
    """Name the out-of-distribution sets for which the ensemble is measurably more confident than for test images.

    Measurably: the AUROC of its confidence is two standard errors below 0.5 or more, by the variance of the
    Mann-Whitney statistic of equal distributions (Mann and Whitney 1947).
    """
    inside, found = number(run.part("ood").get("images")), []
    for item in run.rows("ood", "sets"):
        values = item.get("auroc")
        auroc = number(values.get("confidence")) if isinstance(values, Mapping) else None
        outside = number(item.get("images"))
        if auroc is None or inside is None or outside is None or min(inside, outside) < 1:
            continue
        if auroc < 0.5 - 2 * ((inside + outside + 1) / (12 * inside * outside)) ** 0.5:
            found.append(f"{set_name(item)} (AUROC {auroc:.3f})")
    if not found:
        return []
    return [
        f"It is surer of {', '.join(found)} than of test {run.noun}s: its confidence does not tell {run.noun}s unlike "
        "those that it was trained on."
    ]


def few_validation(examples: int, noun: str) -> str | None:
    """A sentence on how few validation images or rows a run has; None if there are enough.

    Examples:
        >>> few_validation(1000, "image") is None
        True
    """
    if examples >= FEW_VALIDATION:
        return None
    return (
        f"only {plural(examples, f'validation {noun}')} to choose the members and the "
        "temperatures, partly by chance: 100 instead of 1,000 cost 1 to 4% of the NLL in our tests, 30 cost 2 to 7%"
    )
