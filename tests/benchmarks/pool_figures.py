"""What the pool of trained networks says about pooling, selection, weights, forecasts and pairs, in one file.

    python -m tests.benchmarks.pool_figures [--cells CELL ...] [--packed DIR] [--out FILE]
    python -m tests.benchmarks.pool_figures --proxies --cifar FILE

The first command needs the packed files of the pool only (`python -m tests.benchmarks.pool pack`), no images; minutes
on one core. It computes the named cells, or all, and keeps the others of the file as they are. The second builds the
untrained networks and keeps their scores in the same file; run it once, first. Then `python -m
tests.benchmarks.pool_guide` writes the page.

Tables, a list of rows for each cell: `pooling` (A), `selection` (B), `sizes` (C), `known` and `forecast` (D), `gains`
(E), `about` (F), `halving` (G) and `going_on` (H). All draws have seeds that depend on the cell and the table alone.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from nni_hypens.compare.pool import Pool
from nni_hypens.utils.files import read_object, write_json
from nni_hypens.utils.runtime import versions
from tests.benchmarks import pool_cells, pool_forecasts, pool_selection
from tests.benchmarks.pool_cells import FEWEST, Networks, rounded
from tests.benchmarks.pool_forecasts import forecast_rows, known_rows
from tests.benchmarks.pool_gains import gain_rows
from tests.benchmarks.pool_going_on import going_on_rows
from tests.benchmarks.pool_halving import SEEDS, halving_rows
from tests.benchmarks.pool_pooling import pooling_rows
from tests.benchmarks.pool_proxies import proxy_scores
from tests.benchmarks.pool_selection import selection_rows
from tests.benchmarks.pool_training import CELLS, CIFAR_FILE

RESULTS = Path(__file__).parent / "results"
PACKED, OUT = RESULTS / "pool", RESULTS / "pool_figures.json"
DRAWS = pool_cells.DRAWS


def about(first: Networks, every: Networks) -> dict[str, Any]:
    """What was trained in a cell, and how good it is."""
    settings, nll = first.pool.settings, first.final("test")
    kept = ("channels", "train_images", "epochs", "shift", "flip")
    return {
        **{name: settings[name] for name in kept},
        "architectures": len(first),
        "networks": len(every),
        "diverged": sum(len(first.pool.rows(int(one))) for one in np.unique(first.pool.columns["replica"]))
        - len(every),
        "train_loss": float(np.median(first.column("train_loss")[:, -1])),
        "temperature": float(np.median(first.column("temperature")[:, -1])),
        "best_nll": float(nll.min()),
        "median_nll": float(np.median(nll)),
        "median_accuracy": float(np.median(first.column("accuracy")[:, 1, -1])),
        "cpu_seconds": float(every.column("cpu_seconds")[:, -1].sum()),
    }


def figures_of(
    name: str, pool: Pool, proxies: dict[str, list[float | None]] | None, draws: int = DRAWS
) -> dict[str, Any]:
    """All tables of one cell.

    Raises:
        ValueError: It has too few architectures.
    """
    first, every = Networks.of(name, pool), Networks.of(name, pool, replica=None)
    if len(first) < FEWEST:
        raise ValueError(f"{name} has {len(first)} trained architectures; {FEWEST} or more are needed")
    selection, sizes = selection_rows(first, draws)
    return {
        "about": about(first, every),
        "pooling": pooling_rows(first, draws),
        "selection": selection,
        "sizes": sizes,
        "known": known_rows(first, proxies),
        "forecast": forecast_rows(first),
        "gains": gain_rows(first, every),
        "halving": halving_rows(name, pool, range(min(draws, SEEDS))),
        "going_on": going_on_rows(name, pool, range(min(draws, SEEDS))),
    }


def settings(draws: int) -> dict[str, Any]:
    """What the numbers depend on besides the pool."""
    return {
        "seed": pool_cells.SEED, "draws": draws, "resamples": pool_cells.RESAMPLES,
        "candidates": pool_selection.CANDIDATES, "bags": pool_selection.BAGS,
        "forecast_draws": pool_forecasts.DRAWS, "commands": [
            "python -m tests.benchmarks.pool_figures --proxies --cifar FILE", "python -m tests.benchmarks.pool_figures",
        ],
    }  # fmt: skip


def compute(packed: Path, out: Path, names: list[str], draws: int = DRAWS) -> None:
    """Compute the tables of cells and write them; other cells of the file are kept."""
    content: dict[str, Any] = read_object(out) if out.exists() else {}
    cells = content.get("cells", {})
    for cell in CELLS:
        file = packed / f"{cell.name}.npz"
        if (names and cell.name not in names) or not file.exists():
            continue
        proxies = content.get("proxies", {}).get(cell.name)
        found = figures_of(cell.name, Pool.load(file), proxies, draws)
        cells[cell.name] = rounded(found) | {"pool_sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        ordered = {one.name: cells[one.name] for one in CELLS if one.name in cells}
        content = {"settings": settings(draws), "versions": versions(), "cells": ordered, **_proxies(content)}
        write_json(out, content)
        print(cell.name, cells[cell.name]["about"], flush=True)


def compute_proxies(out: Path, cifar_file: Path, names: list[str]) -> None:
    """Score the untrained networks of cells, and keep the scores in the file."""
    content: dict[str, Any] = read_object(out) if out.exists() else {}
    for cell in CELLS:
        if not names or cell.name in names:
            content.setdefault("proxies", {})[cell.name] = rounded(proxy_scores(cell, cifar_file))
            write_json(out, content)
            print(cell.name, flush=True)


def _proxies(content: dict[str, Any]) -> dict[str, Any]:
    return {"proxies": content["proxies"]} if "proxies" in content else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proxies", action="store_true", help="score untrained networks, which needs images")
    parser.add_argument("--cells", nargs="+", default=[], choices=[cell.name for cell in CELLS], metavar="CELL")
    parser.add_argument("--packed", type=Path, default=PACKED)
    parser.add_argument("--cifar", type=Path, default=CIFAR_FILE)
    parser.add_argument("--draws", type=int, default=DRAWS, help="fewer for a trial")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    if arguments.proxies:
        compute_proxies(arguments.out, arguments.cifar, arguments.cells)
    else:
        compute(arguments.packed, arguments.out, arguments.cells, arguments.draws)


if __name__ == "__main__":
    main()
