"""The ablation that the EdgeNES paper calls warm-up: the regulariser's weight and temperature, annealed or constant.

    python -m tests.benchmarks.paper_annealing --out runs/paper_annealing

In the authors' code the temperature is that of the regulariser's Gumbel-softmax only, so here too: the temperature of
the sampled paths is the same in every variant.
"""

from __future__ import annotations

from pathlib import Path

from nni_hypens.compare.bench import Workbench
from nni_hypens.compare.searches import HypernetworkSearch, hypernetwork_search
from nni_hypens.run.settings import Settings
from nni_hypens.search import SharedEdges
from tests.benchmarks.paper_runs import Row, Study, accuracy, bench_of, main
from tests.benchmarks.paper_tables import SMALL, hypernetwork_pool

Value = float | tuple[float, float]
WEIGHT, TEMPERATURE = (0.3, 3.0), (1.0, 0.05)
"""Ends of both, as in the paper and by default."""
MEAN_WEIGHT, MEAN_TEMPERATURE = sum(WEIGHT) / 2, sum(TEMPERATURE) / 2
"""The constants: what the annealed values are on average. The authors' constants are not published."""
VARIANTS: dict[str, tuple[Value, Value]] = {
    "constant": (MEAN_WEIGHT, MEAN_TEMPERATURE),
    "weight": (WEIGHT, MEAN_TEMPERATURE),
    "temperature": (MEAN_WEIGHT, TEMPERATURE),
    "both": (WEIGHT, TEMPERATURE),
}
"""Weight and temperature of each variant, by what is annealed."""


def regulariser(variant: str) -> SharedEdges:
    """The regulariser of a variant."""
    weight, temperature = VARIANTS[variant]
    return SharedEdges(weight=weight, temperature=temperature)


def annealing_searches(bench: Workbench) -> dict[str, HypernetworkSearch]:
    """A search for each variant; that of `both` is the search by default."""
    return {
        variant: hypernetwork_search(bench)
        if variant == "both"
        else hypernetwork_search(bench, f"annealing-{variant}", diversity=regulariser(variant))
        for variant in VARIANTS
    }


def rows_of(settings: Settings, folder: Path, options: Row) -> dict[str, list[Row]]:
    """Networks drawn from each hypernetwork, by variant and shared edges."""
    bench = bench_of(settings, folder)
    inner = range(1, bench.structure.n_edges)
    return {
        "annealing": [
            {"variant": variant, "shared": shared, "accuracy": accuracy(bench, [network])}
            for variant, search in annealing_searches(bench).items()
            for shared, networks in hypernetwork_pool(bench, search, inner, options["per_lam"]).items()
            for network in networks
        ]
    }


STUDY = Study(
    "paper_annealing",
    "The paper's ablation of annealing: weight and temperature of the regulariser.",
    SMALL,
    {"search_epochs": 4},
    rows_of,
    options={"per_lam": 2},
)

if __name__ == "__main__":
    main(STUDY)
