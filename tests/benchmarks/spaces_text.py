"""The sections on other spaces of the pool's page: what a search proposes there, and what traits say of networks.

From the results of `tests.benchmarks.dial_candidates` and `tests.benchmarks.other_spaces`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.map_trained_text import table

CANDIDATES, NASBENCH = (
    Path(__file__).parent / "results" / f"{name}.json" for name in ("dial_candidates", "other_spaces")
)
WAYS = {
    "random": "random", "dial": "along the dial", "ranked": "along the dial, ranked on the supernet",
    "large": "the largest of 60 random ones",
}  # fmt: skip
NAMES = {"fashion_mnist_14": "Fashion-MNIST", "cifar10_16": "CIFAR-10"}
SCORES = {
    "supernet": "NLL on the supernet", "params": "parameters", "flow": "synaptic flow (low is good)",
    "size and flow": "size and flow together",
}  # fmt: skip


def candidates_table(found: Mapping[str, Any]) -> str:
    """A line for each data set and way: means over seeds."""
    lines = []
    for data, summary in found["summary"].items():
        for way, title in WAYS.items():
            one = summary[way]
            numbers = [f"{one[name]:.3f}" for name in ("nll", "best_nll", "ensemble_nll")]
            lines.append([NAMES[data], title, *numbers, f"{one['params']:,.0f}"])
    head = ["data", "six architectures", "NLL, mean", "NLL, best", "NLL of three", "parameters, median"]
    return table(head, lines)


def percents(values: list[float]) -> str:
    """`-2.6% and +1.0%`, one for each seed."""
    return " and ".join(f"{100 * value:+.1f}%" for value in values)


def say_candidates(found: Mapping[str, Any]) -> str:
    """Each way against random, seed by seed, and what ranks the networks."""
    lines = []
    for way in list(WAYS)[1:]:
        texts = [
            f"{NAMES[data]} {percents(summary[way]['against_random'])} (three together "
            f"{percents(summary[way]['ensemble_against_random'])})"
            for data, summary in found["summary"].items()
        ]
        lines.append(f"- {WAYS[way].capitalize()} against random, mean NLL of each seed: {'; '.join(texts)}.")
    ranks = [one for summary in found["summary"].values() for one in summary["spearman"]]
    means = ", ".join(f"{title} {np.mean([one[name] for one in ranks]):.2f}" for name, title in SCORES.items())
    sizes, together = [int(one["n"]) for one in ranks], [one["size and flow"] for one in ranks]
    return "\n".join(lines) + (
        f"\n- Spearman's correlation with the NLL, over the {min(sizes)} to {max(sizes)} networks of a data set and "
        f"seed, mean of {len(ranks)}: {means} ({min(together):.2f} to {max(together):.2f})."
    )


def say_nasbench(found: Mapping[str, Any]) -> str:
    """What traits say of random architectures of NasBench201, and where the first ones of a run are in their order."""
    count, ranks = len(found["rows"]), found["spearman"]
    error = 1 / np.sqrt(count - 1)
    means = ", ".join(f"{SCORES[name]} {ranks[name]:.2f}" for name in ("params", "flow", "size and flow"))
    places = [str(place + 1) for place in found["place_of_first"]]
    where = f"{'place' if len(places) == 1 else 'places'} {' and '.join(places)} of {count}"
    return (
        f"Spearman's correlation over {count} random architectures (standard error about {error:.2f}): {means}. By "
        f"final NLL, what size and flow put first in a run, before anything is trained, has {where}."
    )
