"""Made-up results of a comparison; no number here was measured."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nni_hypens.compare.comparison import COLUMNS
from nni_hypens.compare.methods import METHODS

LEVELS = {
    "adaptive": 0.40, "best_architecture": 0.405, "edgenes": 0.43, "darts": 0.52, "enas": 0.55, "random": 0.6,
    "darts_deep_ensemble": 0.45, "darts_ensemble": 0.46, "random_deep_ensemble": 0.44, "random_pool": 0.47,
    "random_deviations": 0.48, "evolution": 0.445, "fixed_lam": 0.435,
}  # fmt: skip


def results(
    seeds: int = 5, methods: tuple[str, ...] = tuple(LEVELS), data: tuple[str, ...] = ("digits", "a/<set>.npz")
) -> pd.DataFrame:
    """A table as ``run_comparison`` gives it."""
    generator, rows = np.random.default_rng(0), []
    for source in data:
        for members in (3, 5):
            for seed in range(seeds):
                shift = generator.normal(0, 0.02)
                for method in methods:
                    row = dict.fromkeys(COLUMNS, 1.0)
                    nll = LEVELS[method] - 0.01 * members + shift + generator.normal(0, 0.008)
                    single = method in ("darts", "enas", "random")
                    search = 0.0 if "random" in method or method == "evolution" else generator.uniform(30, 60)
                    training = 8.0 if single else 120 - search
                    row |= {"data": source, "seed": seed, "members": members, "method": method, "nll": nll}
                    row |= {"accuracy": 1 - nll / 3, "ece": 0.02, "search_s": search, "training_s": training}
                    row |= {"total_s": search + training, "budget_s": 120.0, "networks": 1 if single else 12}
                    row |= {"supernet_spearman": generator.uniform(-0.5, 0.9) if "edgenes" in method else None}
                    row |= {"ranked_architectures": {"edgenes": 12, "fixed_lam": 3}.get(method, 0)}
                    rows.append(row)
    order = {name: place for place, name in enumerate(METHODS)}
    table = pd.DataFrame(rows).astype({"supernet_spearman": float})
    columns = ["data", "members", "method", "seed"]
    return table.sort_values(columns, key=lambda column: column.map(order) if column.name == "method" else column)
