"""Does it pay to stop candidates early? Successive halving on the pool, against adaptive training at equal cost.

Halving (Jamieson and Talwalkar 2016) trains 24 random architectures for a quarter of their schedule, 12 of them to the
half, and 6 to the end, which costs as much as 12 whole trainings. "Known end" is the bound for every early look: the
same, but who goes on is decided by the validation NLL at the end, which no look can know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nni_hypens.compare.bench import Network
from nni_hypens.compare.method import Trained
from nni_hypens.compare.methods import pool_recipe
from nni_hypens.compare.outcomes import outcome
from nni_hypens.compare.pool import Pool
from nni_hypens.compare.pool_bench import PoolBench, PooledNetworks
from nni_hypens.compare.pool_comparison import NETWORKS
from nni_hypens.compare.results import compared

MEMBERS, SEEDS = 5, 24
STARTED, HALF, LEFT = 2 * NETWORKS, NETWORKS, NETWORKS // 2
REFERENCE, RANDOM, HALVING, KNOWN_END = "adaptive_random", "random_pool", "halving", "known end"


def started(bench: PoolBench, pooled: PooledNetworks) -> list[Network]:
    """The first network of 24 architectures: those that the bench draws from, then others if these are too few."""
    samples = bench.random(STARTED, bench.seed)
    drawn = {pooled.index(sample) for sample in samples}
    others = [one for one in np.random.default_rng(bench.seed).permutation(len(pooled.samples)) if one not in drawn]
    samples += [pooled.samples[one] for one in others[: STARTED - len(samples)]]
    return [bench.network(sample) for sample in samples]


def halved(looks: np.ndarray, costs: np.ndarray) -> tuple[list[int], float]:
    """Which of the networks are trained to the end, and what all of it costs.

    Args:
        looks: `K x 2`, the score of each network after a quarter and after half of its schedule; lower goes on.
        costs: `K`, of whole trainings.

    Examples:
        >>> halved(np.arange(48.0).reshape(24, 2), np.ones(24))
        ([0, 1, 2, 3, 4, 5], 12.0)
    """
    half = np.argsort(looks[:, 0], kind="stable")[:HALF]
    left = half[np.argsort(looks[half, 1], kind="stable")[:LEFT]]
    return left.tolist(), float(costs.sum() / 4 + costs[half].sum() / 4 + costs[left].sum() / 2)


def halving_rows(name: str, pool: Pool, seeds: Sequence[int] = range(SEEDS)) -> list[dict[str, Any]]:
    """One row for each method: mean test NLL of five members, relative to adaptive training, and its cost."""
    pooled = PooledNetworks(pool, name)
    found: dict[str, list[tuple[float, float]]] = {one: [] for one in (REFERENCE, RANDOM, HALVING, KNOWN_END)}
    for seed in seeds:
        bench, budget = PoolBench(pooled, seed), NETWORKS * pooled.average_cost
        networks = started(bench, pooled)
        costs = np.array([network.cost for network in networks])
        rows = [int(one.place) for one in networks]
        looks = pool.columns["calibrated_nll"][rows, 0]  # at 25, 50, 70 and 100%
        for method in (HALVING, KNOWN_END):
            kept, spent = halved(looks[:, :2] if method == HALVING else looks[:, [-1, -1]], costs)
            trained = Trained([networks[index] for index in kept], 0.0)
            found[method].append((outcome(bench, trained, MEMBERS)["nll"], spent / budget))
        for method in (REFERENCE, RANDOM):
            row = outcome(bench, pool_recipe(method)(bench, MEMBERS, budget), MEMBERS)
            found[method].append((row["nll"], row["total_s"] / budget))
    return [_row(method, found) for method in found]


def _row(method: str, found: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    (nll, cost), (reference, _) = (np.array(found[one]).T for one in (method, REFERENCE))
    against = compared(nll, reference, True, 0) if method != REFERENCE else {}
    about = {"method": method, "nll": float(nll.mean()), "cost": float(cost.mean()), "seeds": len(nll)}
    return about | {key: float(against[key]) for key in ("difference", "low", "high") if key in against}
