"""The ablation that the EdgeNES paper calls warm-up: the regulariser's weight and temperature, annealed or constant.

`python -m tests.benchmarks.paper_tables --annealing` runs it. In the authors' code the temperature is that of the
regulariser's Gumbel-softmax only, so here too: the temperature of the sampled paths is the same in every variant.
"""

from __future__ import annotations

from nni_hypens.compare.bench import Workbench
from nni_hypens.compare.searches import HypernetworkSearch, hypernetwork_search
from nni_hypens.search import SharedEdges

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


def annealing_searches(bench: Workbench, search: HypernetworkSearch) -> dict[str, HypernetworkSearch]:
    """A search for each variant.

    Args:
        bench: The workbench.
        search: The search by default, which is that of the variant ``both``.
    """
    return {
        variant: search
        if variant == "both"
        else hypernetwork_search(bench, f"annealing-{variant}", diversity=regulariser(variant))
        for variant in VARIANTS
    }
