"""What it gives to train a network further, alone and to adaptive training, on the networks of a pool that went on.

The same schedule again, from the weights that the network has (`tests.benchmarks.pool_further`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nni_hypens.compare.bench import Network
from nni_hypens.compare.methods import pool_recipe
from nni_hypens.compare.outcomes import outcome
from nni_hypens.compare.pool import Pool
from nni_hypens.compare.pool_bench import PoolBench, PooledNetworks
from nni_hypens.compare.pool_comparison import NETWORKS
from nni_hypens.compare.results import compared
from nni_hypens.proposals.outlook import pair_gains
from tests.benchmarks.pool_cells import mean_and_error

MEMBERS, SEEDS = 5, 24
WITH, WITHOUT = "adaptive_random", "adaptive_new_weights"


def going_on_rows(name: str, pool: Pool, seeds: Sequence[int] = range(SEEDS)) -> dict[str, Any]:
    """Both tables of a cell; empty if the pool has no network that was trained further.

    Returns:
        `networks`, their number; `schedules`, a row for each from the second on; and `adaptive`: adaptive training that
        may go on, relative to one that may not.
    """
    pooled = PooledNetworks(pool, name)
    if not pooled.further:
        return {}
    chains = [_chain(pooled, of_one[0]) for of_one in pooled.networks if id(of_one[0]) in pooled.further]
    return {"networks": len(chains), "schedules": _schedules(pool, chains), "adaptive": _adaptive(pooled, seeds)}


def _chain(pooled: PooledNetworks, network: Network) -> list[Network]:
    found = [network]
    while id(found[-1]) in pooled.further:
        found.append(pooled.further[id(found[-1])])
    return found


def _schedules(pool: Pool, chains: Sequence[Sequence[Network]]) -> list[dict[str, Any]]:
    """Change of the calibrated test NLL by each schedule, temperature before it, and what the network and the one that
    it went on from gain by being averaged, relative to two first networks of different architectures."""
    rows = np.array([[int(network.place) for network in chain] for chain in chains])
    nll, temperature = (pool.columns[name][rows][..., -1] for name in ("calibrated_nll", "temperature"))
    firsts = pair_gains(_alone([chain[0] for chain in chains]))
    different = firsts[np.triu_indices(len(chains), 1)].mean()
    found = []
    for place in range(1, rows.shape[1]):
        kin = [pair_gains(_alone([chain[place - 1], chain[place]]))[0, 1] / different for chain in chains]
        found.append(
            {
                "schedule": place + 1,
                "change": mean_and_error(nll[:, place, 1] / nll[:, place - 1, 1] - 1),
                "temperature": float(np.exp(np.log(temperature[:, place - 1]).mean())),
                "kin": mean_and_error(kin),
            }
        )
    return found


def _alone(networks: Sequence[Network]) -> np.ndarray:
    found = [network.alone for network in networks if network.alone is not None]
    assert len(found) == len(networks)  # none of them has diverged
    return np.stack(found)


def _adaptive(pooled: PooledNetworks, seeds: Sequence[int]) -> dict[str, Any]:
    """Test NLL of five members; networks that went on, on average."""
    nll: dict[str, list[float]] = {WITH: [], WITHOUT: []}
    gone_on = []
    after = {id(network) for network in pooled.further.values()}
    for seed in seeds:
        bench, budget = PoolBench(pooled, seed), NETWORKS * pooled.average_cost
        for method, found in nll.items():
            trained = pool_recipe(method)(bench, MEMBERS, budget)
            found.append(outcome(bench, trained, MEMBERS)["nll"])
            if method == WITH:
                gone_on.append(sum(id(network) in after for network in trained.networks))
    with_it, without = (np.array(found) for found in nll.values())
    against = compared(with_it, without, True, 0)
    return {
        "nll": float(with_it.mean()),
        "gone_on": float(np.mean(gone_on)),
        **{key: float(against[key]) for key in ("difference", "low", "high")},
    }
