"""What several times the training would give on the pools: members of all networks that a simulated run can see.

    python -m tests.benchmarks.map_all_networks [--seeds N] [--out FILE]

A simulated run sees half of the architectures of a pool and pays for twelve networks. Here it has all networks of
these architectures, whatever they cost, and its members are chosen on validation images as everywhere (by beam search,
because there are too many choices for all of them). Compared is with Random-NES at the budget, on the same half. It is
no bound: with more networks to choose from, the choice fits the validation images more.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from nni_hypens.compare.method import Trained
from nni_hypens.compare.methods import pool_recipe
from nni_hypens.compare.outcomes import outcome
from nni_hypens.compare.pool import Pool
from nni_hypens.compare.pool_bench import PoolBench, PooledNetworks
from nni_hypens.compare.pool_comparison import NETWORKS
from nni_hypens.compare.results import compared
from nni_hypens.utils.files import write_json
from tests.benchmarks.pool import PACKED

RESULTS = Path(__file__).parent / "results" / "map" / "all_networks.json"
MEMBERS, SEEDS = 5, 50


def with_all_networks(pooled: PooledNetworks, seeds: int, members: int = MEMBERS) -> dict[str, Any]:
    """Members of all networks that a run can see, against those of Random-NES at the budget.

    Returns:
        Relative difference of the test NLL with its interval, how many networks a run sees, and their cost as a
        multiple of the budget; means over the seeds.
    """
    budget = NETWORKS * pooled.average_cost
    ours, random, counts, costs = [], [], [], []
    for seed in range(seeds):
        bench = PoolBench(pooled, seed)
        indices = [index for sample in bench.architectures if (index := pooled.index(sample)) is not None]
        seen = [network for index in indices for network in pooled.networks[index] if network.finite]
        ours.append(outcome(bench, Trained(seen, selection="beam"), members)["nll"])
        random.append(outcome(bench, pool_recipe("random_pool")(bench, members, budget), members)["nll"])
        counts.append(len(seen))
        costs.append(sum(network.cost for network in seen) / budget)
    found = compared(np.array(ours), np.array(random), relative=True, seed=0)
    difference = {name: found[name] for name in ("difference", "low", "high")}
    return {**difference, "networks": float(np.mean(counts)), "cost": float(np.mean(costs))}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    found = {}
    for path in sorted(PACKED.glob("*.npz")):
        found[path.stem] = with_all_networks(PooledNetworks(Pool.load(path), path.name), given.seeds)
        print(path.stem, found[path.stem], flush=True)
    write_json(given.out, {"members": MEMBERS, "seeds": given.seeds, "cells": found})


if __name__ == "__main__":
    main()
