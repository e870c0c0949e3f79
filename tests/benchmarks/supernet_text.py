"""The section on supernets of the pool's page, from the rows of `tests.benchmarks.supernet_recipes`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.map_trained_text import table

RESULTS = Path(__file__).parent / "results" / "supernet_recipes.json"
REGIMES, DATA = ("data", "capacity"), ("fashion", "cifar")
RECIPES = {
    "short": "short (one training)",
    "long": "long (three trainings)",
    "fair": "fair (three trainings)",
    "dynamic": "dynamic (three trainings)",
}
SCORES = {
    "nll": "plain NLL",
    "accuracy": "accuracy",
    "calibrated_nll_and_parameters": "the ranks by calibrated NLL and by parameters together",
}
TARGET = 0.5
"""The mean correlation, in one regime on both data sets, from which a supernet would rank candidates."""


def correlations(found: Mapping[str, Any], cell: str, recipe: str) -> np.ndarray:
    """By calibrated NLL, of each seed; none where nothing was measured."""
    rows = [row for row in found["rows"] if row["cell"] == cell and row["recipe"] == recipe]
    return np.array([row["calibrated_nll"] for row in sorted(rows, key=lambda row: row["seed"])])


def cells_of(found: Mapping[str, Any]) -> list[str]:
    """The cells that were measured, in the order of the page's other tables."""
    measured = {row["cell"] for row in found["rows"]}
    return [f"{data}_{regime}" for regime in REGIMES for data in DATA if f"{data}_{regime}" in measured]


def alone(found: Mapping[str, Any], cell: str, score: str) -> float:
    """Correlation of a score that does not depend on the supernet."""
    return float(next(row[score] for row in found["rows"] if row["cell"] == cell))


def supernet_table(found: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """A line for each recipe: mean over seeds of the rank correlation by calibrated NLL, lowest and highest."""
    cells = cells_of(found)
    lines = []
    for recipe, title in RECIPES.items():
        texts = []
        for cell in cells:
            values = correlations(found, cell, recipe)
            texts.append(f"{values.mean():.2f} ({values.min():.2f} to {values.max():.2f})" if len(values) else "-")
        lines.append([title, *texts])
    lines.append(["parameters alone", *(f"{alone(found, cell, 'parameters'):.2f}" for cell in cells)])
    return table(["", *(titles[cell] for cell in cells)], lines)


def reached(found: Mapping[str, Any]) -> list[str]:
    """Recipe and regime of each case that reaches the target on both data sets, and is above parameters on both."""
    cases = []
    for recipe in RECIPES:
        for regime in REGIMES:
            cells = [f"{data}_{regime}" for data in DATA]
            values = [correlations(found, cell, recipe) for cell in cells]
            if all(
                len(value) and value.mean() >= TARGET and value.mean() > alone(found, cell, "parameters")
                for cell, value in zip(cells, values, strict=True)
            ):
                cases.append(f"{RECIPES[recipe]}, {regime}")
    return cases


def say_supernet(found: Mapping[str, Any]) -> str:
    """Whether a recipe reaches the target, how other scores rank, and what it costs."""
    rows, cells = found["rows"], cells_of(found)
    means = {recipe: float(np.mean([correlations(found, cell, recipe).mean() for cell in cells])) for recipe in RECIPES}
    parameters = float(np.mean([alone(found, cell, "parameters") for cell in cells]))
    cases = reached(found)
    texts = [
        f"- The target, set before: a mean of at least {TARGET} in one regime on both data sets, and more than "
        f"parameters alone say there. Reached by: {'; '.join(cases) if cases else 'no recipe'}.",
        "- Mean over the columns: "
        + ", ".join(f"{title} {means[recipe]:.2f}" for recipe, title in RECIPES.items())
        + f"; parameters alone {parameters:.2f}.",
        "- Other scores, mean over recipes and columns: calibrated NLL "
        f"{np.mean([row['calibrated_nll'] for row in rows]):.2f}, "
        + ", ".join(f"{title} {np.mean([row[score] for row in rows]):.2f}" for score, title in SCORES.items())
        + ".",
    ]
    share = np.mean([row["ranking_cpu_s"] / row["training_cpu_s"] for row in rows if row["recipe"] == "short"])
    seeds, counts = len({row["seed"] for row in rows}), {row["architectures"] for row in rows}
    return "\n".join(texts) + (
        f"\n\n{seeds} seeds of each supernet; {min(counts)} architectures a column. To rank them takes "
        f"{100 * share:.0f}% of the time in which the short recipe trains a supernet."
    )
