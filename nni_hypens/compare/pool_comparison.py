"""Compare methods on pools of trained networks: seconds instead of days, and no network is trained.

The budget of each method is the cost of a number of networks of the pool's average cost. Every seed draws another order
of the pool's architectures and of the networks of each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits

from nni_hypens.compare.comparison import check_folder, write_table
from nni_hypens.compare.method import AT_LEAST
from nni_hypens.compare.methods import method_of, pool_recipe
from nni_hypens.compare.outcomes import outcome
from nni_hypens.compare.pool import Pool
from nni_hypens.compare.pool_bench import PoolBench, PooledNetworks
from nni_hypens.compare.pool_peers import Peer
from nni_hypens.errors import InputError
from nni_hypens.selection.names import EVERY
from nni_hypens.utils.checks import check_range
from nni_hypens.utils.files import open_file, write_json
from nni_hypens.utils.locks import held_folder
from nni_hypens.utils.progress import Progress

NETWORKS = 12
"""Networks of average cost that a method may train unless told otherwise."""
POOLS_FILE = "pools.json"
"""What is in each pool of a comparison, for its page."""


@dataclass(frozen=True)
class PoolComparison:
    """What to compare on pools.

    Args:
        files: Files of pools, see `nni_hypens.compare.Pool`; the name of a file, without its ending, is the `data` of
            its rows.
        seeds: Seeds of the simulated comparisons, 0 or more.
        methods: Names of methods that run on a pool, see `nni_hypens.compare.methods.pool_methods`.
        sizes: Numbers of members; `nni_hypens.selection.names.EVERY` for all networks.
        networks: The budget of each method is the cost of so many networks of the pool's average cost.

    Raises:
        InputError: Naming the field.
    """

    files: Sequence[Path]
    seeds: Sequence[int]
    methods: Sequence[str]
    sizes: Sequence[int] = (3, 5)
    networks: int = NETWORKS

    def __post_init__(self) -> None:
        fields: list[tuple[str, Sequence[Any]]]
        fields = [("pool", [file.stem for file in self.files]), ("seeds", self.seeds), ("sizes", self.sizes)]
        for name, values in [*fields, ("methods", self.methods)]:
            if not values or len(set(values)) < len(values):
                raise InputError(name, str(list(values)), "one or more, all different")
        for method in self.methods:
            pool_recipe(method)
        if min(self.seeds) < 0:
            raise InputError("seeds", min(self.seeds), "whole numbers of at least 0")
        if any(size < 2 and size != EVERY for size in self.sizes):
            raise InputError("sizes", min(self.sizes), "ensembles of 2 members or more, or all")
        check_range("networks", self.networks, at_least=max(self.sizes), whole=True)

    def identity(self) -> dict[str, Any]:
        """What two comparisons must have in common to share a folder: everything, because it is all computed again."""
        pools = {}
        for path in self.files:
            with open_file(path, links=True) as file:
                pools[path.stem] = hashlib.sha256(file.read()).hexdigest()
        listed = {name: list(getattr(self, name)) for name in ("seeds", "methods", "sizes")}
        return {"pools": pools, "networks": self.networks, **listed}


def run_pool_comparison(
    comparison: PoolComparison, folder: Path, progress: Progress | None = None, command: str = ""
) -> pd.DataFrame:
    """Run every method on every pool and seed, and write `results.csv` in the folder.

    Args:
        comparison: What to compare.
        folder: New, empty, or that of the same comparison, which is then computed again.
        progress: Where progress is shown.
        command: How to repeat the comparison; recorded in `comparison.json`, with the versions.

    Returns:
        One row per pool, seed, size and method, as from `nni_hypens.compare.run_comparison`.

    Raises:
        InputError: A pool that is damaged or too small, or a folder of something else.
    """
    progress = progress or Progress()
    pools = {file.stem: _pooled(comparison, file) for file in comparison.files}
    check_folder(comparison, folder, command)
    progress.start("compare", len(pools) * len(comparison.seeds), "cell")
    rows = []
    # its matrices are so small that a second thread makes it slower
    with held_folder(folder), threadpool_limits(1, "blas"):
        check_folder(comparison, folder, command)  # another comparison may have begun it meanwhile
        for name, pooled in pools.items():
            for seed in comparison.seeds:
                rows += pool_rows(comparison, pooled, name, seed)
                progress.step()
        progress.stop()
        budgets = {name: comparison.networks * pooled.average_cost for name, pooled in pools.items()}
        write_json(folder / POOLS_FILE, {name: about(pooled, budgets[name]) for name, pooled in pools.items()})
        return write_table(folder, rows)


def pool_rows(comparison: PoolComparison, pooled: PooledNetworks, name: str, seed: int) -> list[dict[str, Any]]:
    """One row, with the columns of `results.csv` and more, for each method and size on one pool and seed."""
    bench, budget = PoolBench(pooled, seed), comparison.networks * pooled.average_cost
    rows = []
    for size in comparison.sizes:
        for method in comparison.methods:
            trained = pool_recipe(method)(bench, size or AT_LEAST, budget)
            about = {"data": name, "seed": seed, "members": size, "method": method, "budget_s": budget}
            rows.append({**about, **outcome(bench, trained, size)})
    return rows


def about(pooled: PooledNetworks, budget: float) -> dict[str, Any]:
    """What the page says about a pool: what is in it, the budget, and how its networks were trained."""
    counts = [len(networks) for networks in pooled.networks]
    return {
        "file": pooled.name,
        "architectures": len(counts),
        "architectures with several seeds": sum(count > 1 for count in counts),
        "networks": sum(counts),
        "average cost of a network, CPU s": round(pooled.average_cost, 3),
        "budget of a method, CPU s": round(budget, 3),
        **{f"{name}, networks": _counts(peers) for name, peers in pooled.peers.items()},
        **{f"settings: {name}": value for name, value in pooled.pool.settings.items()},
    }


def _pooled(comparison: PoolComparison, file: Path) -> PooledNetworks:
    pooled = PooledNetworks(Pool.load(file), str(file))
    finite = sum(any(network.finite for network in networks) for networks in pooled.networks)
    most = max(size or AT_LEAST for size in comparison.sizes)
    if finite < most:
        got = f"{file} with {finite} architectures whose training did not diverge"
        raise InputError("pool", got, f"{most} or more, as many as members")
    for peer in filter(None, (method_of(method).peer for method in comparison.methods)):
        pooled.usable_peers(peer, most)
    return pooled


def _counts(peers: list[Peer]) -> str:
    """Networks of each training or search of a peer."""
    return ", ".join(str(len(peer.networks)) for peer in peers)
