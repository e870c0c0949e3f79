"""What few validation images cost: members chosen and calibrated by 30 to all of a pool's validation images.

    python -m tests.benchmarks.few_validation [POOL.npz ...] [--seeds N]

For each seed, ten networks of different architectures are drawn. Each number of validation images chooses five of them
among all combinations, and one temperature for their average, as a run does by default. Printed are the means of the
test NLL against that of all validation images, for the chosen five; for five at random and all ten with a temperature
fitted on the same images. About a minute for two pools.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from nni_hypens.compare.pool import Pool
from nni_hypens.ensemble.calibration import calibrate, calibrated_alone, combine
from nni_hypens.metrics import nll
from nni_hypens.selection import exhaustive
from tests.benchmarks.pool import PACKED

POOLS = [PACKED / f"{name}.npz" for name in ("fashion_data", "cifar_capacity")]
CANDIDATES, MEMBERS = 10, 5
IMAGES = (30, 60, 100, 200, 500)


def losses(pool: Pool, seed: int) -> np.ndarray:
    """Test NLL `len(IMAGES) + 1 x 3`, all validation images in the last row: chosen, at random, all ten."""
    random = np.random.default_rng(seed)
    networks = random.choice(pool.rows(), CANDIDATES, replace=False)
    validation, test = (pool.probabilities(part, networks) for part in ("validation", "test"))
    labels, true = pool.labels["validation"], pool.labels["test"]
    anyone = random.choice(CANDIDATES, MEMBERS, replace=False)

    def loss(members: np.ndarray, rows: np.ndarray) -> float:
        weights = np.full(len(members), 1 / len(members))
        found = calibrate("ensemble", validation[members][:, rows], weights, labels[rows])
        return nll(combine(test[members], weights, found), true)

    found = []
    for count in (*IMAGES, len(labels)):
        rows = random.choice(len(labels), count, replace=False)
        compared = calibrated_alone(validation[:, rows], labels[rows])
        chosen = exhaustive(compared, labels[rows], MEMBERS)
        found.append([loss(who, rows) for who in (np.array(chosen.members), anyone, np.arange(CANDIDATES))])
    return np.array(found)


def main() -> None:
    """Print a table for each pool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pools", nargs="*", type=Path, default=POOLS)
    parser.add_argument("--seeds", type=int, default=30)
    given = parser.parse_args()
    for path in given.pools:
        pool = Pool.load(path)
        every = np.array([losses(pool, seed) for seed in range(given.seeds)])
        change = 100 * (every / every[:, -1:, :1] - 1).mean(axis=0)
        print(f"{path.stem}: chosen five, five at random, all ten (% of the test NLL of the five chosen by all images)")
        for count, row in zip((*IMAGES, len(pool.labels["validation"])), change, strict=True):
            print(f"{count:5}  " + "  ".join(f"{value:+6.2f}" for value in row), flush=True)


if __name__ == "__main__":
    main()
