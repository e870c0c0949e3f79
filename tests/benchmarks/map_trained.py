"""Methods of the map, really trained: five seeds, each with images of its own, clean and corrupted test images.

    python -m tests.benchmarks.map_trained run --work DIR [--cells CELL ...] [--seeds N] [--cifar FILE]
    python -m tests.benchmarks.map_trained collect --work DIR [--cifar FILE]

`run` can be started several times at once, one process per core; each takes the next cell and seed that nobody is at.
It can be killed at any time and goes on where it stopped; what the committed table has is not trained again. `collect`
adds what is finished to that table, `tests/benchmarks/results/map/trained.csv`: a row for each cell, seed, number of
members, method and set of test images.
The bench is `tests.benchmarks.trained_bench`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd
import torch

from nni_hypens.compare.method import AT_LEAST, Trained, replicas, train_within_budget
from nni_hypens.compare.methods import pool_recipe
from nni_hypens.compare.outcomes import outcome
from nni_hypens.compare.pool import Pool
from nni_hypens.compare.pool_comparison import NETWORKS
from nni_hypens.selection.names import EVERY
from nni_hypens.utils.files import read_json, write_json, write_text
from tests.benchmarks.pool import PACKED, claimed
from tests.benchmarks.pool_training import CELLS, CIFAR_FILE, Cell
from tests.benchmarks.trained_bench import CLEAN, TrainedBench, test_parts

RESULTS = Path(__file__).parent / "results" / "map" / "trained.csv"
METHODS = (
    "adaptive_random", "random_pool", "best_architecture", "residual_ensemble", "snapshots", "darts_deep_ensemble",
)  # fmt: skip
FIRST = 3
"""So many of the methods are trained for all cells and seeds before the others."""
SHORT = ("adaptive_new_weights", "best_architecture@2")
"""More methods for short trainings: does ours lead because its networks may go on, and is a longer schedule better?"""
HEADLINE = ("fashion_data", "cifar_data", "fashion_capacity", "cifar_capacity")
SIZES, CORRUPTED_SIZE, SEEDS = (AT_LEAST, EVERY), AT_LEAST, 5
"""Both sizes choose among the same networks; three members would need other ones, for half as much time again."""
KEPT = (
    "accuracy",
    "nll",
    "ece",
    "brier",
    "temperature",
    "networks",
    "architectures",
    "member_architectures",
    "total_s",
)


def rows_of(bench: TrainedBench, method: str) -> list[dict[str, Any]]:
    """Rows of one method: every size on clean test images, and one size on each set of corrupted ones."""
    rows, budget = [], NETWORKS * bench.costs.average
    for size in SIZES:
        trained = train(bench, method, size or AT_LEAST, budget)
        for part in bench.parts if size == CORRUPTED_SIZE else [CLEAN]:
            bench.part = part
            found = outcome(bench, replace(trained, networks=bench.at_part(trained.networks)), size)
            about = {"data": bench.cell.name, "seed": bench.seed, "members": size, "method": method, "part": part}
            rows.append({**about, **{name: found[name] for name in KEPT}})
        bench.part = CLEAN
    return rows


def train(bench: TrainedBench, method: str, members: int, budget: float) -> Trained:
    """Run a method. `NAME@N` takes the architecture that NAME trains, and trains each seed for N times the epochs."""
    plain, _, factor = method.partition("@")
    found: Trained = pool_recipe(plain)(bench, members, budget)  # type: ignore[arg-type]
    if not factor:
        return found
    networks = train_within_budget(
        bench.longer(int(factor)),
        members,
        budget,
        replicas(found.networks[0].sample),  # type: ignore[arg-type]
    )
    return Trained(networks, 0.0, choose=len(networks) >= members)


def methods_of(cell: Cell) -> tuple[tuple[str, ...], ...]:
    """Methods of a cell, those first that are trained before all others."""
    return METHODS[:FIRST], SHORT if cell.regime == "short" else (), METHODS[FIRST:]


def run(cells: Sequence[Cell], seeds: int, work: Path, cifar_file: Path) -> None:
    """Train what is missing: each cell and seed in turn, first with the methods of the headline."""
    known = known_rows()
    done = set(zip(known["data"], known["seed"], known["method"], strict=True))
    for turn in zip(*map(methods_of, cells), strict=True):
        for seed in range(seeds):
            for cell, methods in zip(cells, turn, strict=True):
                folder = work / cell.name / str(seed)
                missing = [method for method in methods if (cell.name, seed, method) not in done]
                with claimed(folder / "cell") as mine:
                    for method in missing if mine else []:
                        path = folder / f"{method}.json"
                        if not path.exists():
                            pool = Pool.load(PACKED / f"{cell.name}.npz")
                            bench = TrainedBench(cell, pool, folder, seed, cifar_file)
                            write_json(path, rows_of(bench, method))
                            print(f"{time.strftime('%H:%M:%S')} {cell.name}, seed {seed}: {method}", flush=True)


def known_rows() -> pd.DataFrame:
    """The table as it is; without rows if there is none."""
    return pd.read_csv(RESULTS) if RESULTS.exists() else pd.DataFrame(columns=["data", "seed", "method"])


def collect(work: Path) -> None:
    """Add all finished methods to the table."""
    rows: list[dict[str, Any]] = []
    for path in sorted(work.glob("*/*/*.json")):
        if path.stem in (*METHODS, *SHORT):
            rows += read_json(path)
    order = ["data", "seed", "members", "method", "part"]
    table = pd.concat([known_rows(), pd.DataFrame(rows)]).drop_duplicates(order, keep="last")
    parts = list(test_parts(0))
    table = table.sort_values(order, kind="stable", key=lambda one: one.map(parts.index) if one.name == "part" else one)
    RESULTS.parent.mkdir(exist_ok=True)
    write_text(RESULTS, table.to_csv(index=False, float_format="%.5g"))
    print(f"{len(table)} rows")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "collect"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--cells", nargs="+", choices=[cell.name for cell in CELLS], default=HEADLINE)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--cifar", type=Path, default=CIFAR_FILE)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    if given.command == "collect":
        collect(given.work)
        return
    cells = [cell for name in given.cells for cell in CELLS if cell.name == name]
    for _ in range(2):  # the second time for what another process was at
        run(cells, given.seeds, given.work, given.cifar)


if __name__ == "__main__":
    main()
