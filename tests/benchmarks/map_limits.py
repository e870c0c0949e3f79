"""How much lower the NLL on the pools would be with more training, or with a perfect forecast.

    python -m tests.benchmarks.map_limits [--seeds N] [--out FILE]

A simulated run sees half of the architectures of a pool and pays for twelve networks. Two runs that nobody can have:

- *all*: it has all networks of the architectures that it sees, whatever they cost. Its members are chosen on validation
  images as everywhere, by beam search, because there are too many choices for all of them.
- *known*: it knows before training how good each architecture is on validation images, the mean over its networks. It
  trains the best ones once each, until the budget is spent.

Each is compared with Random-NES and with seeds of our best, on the same half. Neither is a bound: with more networks to
choose from, the choice fits the validation images more, and the best networks are not always the best together.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from nni_hypens.compare.bench import Network
from nni_hypens.compare.method import Trained
from nni_hypens.compare.methods import pool_recipe
from nni_hypens.compare.outcomes import outcome
from nni_hypens.compare.pool import Pool
from nni_hypens.compare.pool_bench import PoolBench, PooledNetworks
from nni_hypens.compare.pool_comparison import NETWORKS
from nni_hypens.compare.results import compared
from nni_hypens.utils.files import write_json
from tests.benchmarks.map_targets import ORACLE, RANDOM
from tests.benchmarks.pool import PACKED

RESULTS = Path(__file__).parent / "results" / "map" / "limits.json"
MEMBERS, SEEDS = 5, 50


def seen_networks(bench: PoolBench) -> list[list[Network]]:
    """The networks of each architecture that a run can see, without those that diverged."""
    pooled = bench.pooled
    indices = [index for sample in bench.architectures if (index := pooled.index(sample)) is not None]
    groups = [[network for network in pooled.networks[index] if network.finite] for index in indices]
    return [group for group in groups if group]


def known_best(groups: Sequence[Sequence[Network]], budget: float, members: int) -> list[Network]:
    """One network of each architecture, the best on validation images first, until the budget is spent."""
    found: list[Network] = []
    spent = 0.0
    for group in sorted(groups, key=lambda group: float(np.mean([network.nll for network in group]))):
        spent += group[0].cost
        if spent > budget and len(found) >= members:
            break
        found.append(group[0])
    return found


def limits(pooled: PooledNetworks, seeds: int, members: int = MEMBERS) -> dict[str, Any]:
    """Both runs against Random-NES and against seeds of our best.

    Returns:
        For each run, by method the relative difference of the test NLL with its interval; how many networks it has,
        and their cost as a share of the budget: means over the seeds.
    """
    budget = NETWORKS * pooled.average_cost
    nll: dict[str, list[float]] = {name: [] for name in ("all", "known", RANDOM, ORACLE)}
    counts: dict[str, list[tuple[int, float]]] = {"all": [], "known": []}
    for seed in range(seeds):
        bench = PoolBench(pooled, seed)
        groups = seen_networks(bench)
        runs = {
            "all": Trained([network for group in groups for network in group], selection="beam"),
            "known": Trained(known_best(groups, budget, members)),
        }
        for name, trained in runs.items():
            nll[name].append(outcome(bench, trained, members)["nll"])
            cost = sum(network.cost for network in trained.networks) / budget
            counts[name].append((len(trained.networks), cost))
        for method in (RANDOM, ORACLE):
            nll[method].append(outcome(bench, pool_recipe(method)(bench, members, budget), members)["nll"])
    found: dict[str, Any] = {}
    for name, pairs in counts.items():
        networks, costs = np.mean(pairs, axis=0)
        found[name] = {"networks": float(networks), "cost": float(costs)}
        for method in (RANDOM, ORACLE):
            one = compared(np.array(nll[name]), np.array(nll[method]), relative=True, seed=0)
            found[name][method] = {key: one[key] for key in ("difference", "low", "high")}
    return found


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    found = {}
    for path in sorted(PACKED.glob("*.npz")):
        found[path.stem] = limits(PooledNetworks(Pool.load(path), path.name), given.seeds)
        print(path.stem, found[path.stem], flush=True)
    write_json(given.out, {"members": MEMBERS, "seeds": given.seeds, "cells": found})


if __name__ == "__main__":
    main()
