"""What size and synaptic flow say of networks of another space than the pool's: NNI's hub NasBench201, built small.

    CIFAR10_NPZ=... python -m tests.benchmarks.other_spaces --work DIR [--out FILE]

The forecast's prior and the start of adaptive training were tuned on the pool, whose space has one cell. In
NasBench201 an operation can be `none`, so there are architectures that compute hardly anything, and these have little
flow. Forty random architectures are trained on 1,000 images of CIFAR-10, 16 x 16 pixels, and calibrated each alone.
The question is how the traits of the untrained networks rank them, and which of them a run would train first.
Networks are kept below DIR, so the script can be killed and started again.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.stats import spearmanr

from nni_hypens import metrics
from nni_hypens._nni import quiet_logging, quiet_training
from nni_hypens.compare.bench import Network, Workbench
from nni_hypens.compare.method import random_samples
from nni_hypens.ensemble.calibration import calibrate, combine
from nni_hypens.proposals.start import expected_by_traits, first_by_traits, known_flows
from nni_hypens.run.plan import make_plan
from nni_hypens.run.settings import Settings
from nni_hypens.utils.files import write_json
from nni_hypens.utils.runtime import versions

RESULTS = Path(__file__).parent / "results" / "other_spaces.json"
COUNT = 40
SETTINGS: dict[str, Any] = {
    "space": "nni.nas.hub.pytorch:NasBench201",
    "space_args": {"stem_out_channels": 8, "num_modules_per_stack": 1},
    "data": "examples.small_data:cifar10_16",
    "train_size": 1_000,
    "validation_size": 1_000,
    "test_size": 2_000,
    "batch_size": 64,
    "epochs": 25,
}


def test_nll(network: Network, bench: Workbench) -> float:
    """NLL of the test images with the network's own temperature; infinite if its training diverged."""
    if not network.finite:
        return float("inf")
    combination = calibrate("ensemble", network.validation[None], [1.0], bench.validation_labels)
    return metrics.nll(combine(network.test[None], [1.0], combination), bench.test_labels)


def trait_ranks(nll: np.ndarray, sizes: np.ndarray, flow: np.ndarray) -> dict[str, float]:
    """Spearman's correlation of traits with the NLL; 1 is best.

    Args:
        nll: `K` values.
        sizes: `K x 2`, parameters and FLOPs.
        flow: `K` values; one that is not finite counts as the most.
    """
    known = known_flows(flow)
    scores = {"params": -sizes[:, 0], "flow": known, "size and flow": expected_by_traits(sizes, known)}
    return {name: float(spearmanr(score, nll)[0]) for name, score in scores.items()}


def measure(work: Path) -> dict[str, Any]:
    """Train what is missing; ranks, and the place of each first one in the order of the NLL (0 is the best)."""
    bench = Workbench(make_plan(Settings.from_mapping(SETTINGS), split_seed=0), work)
    samples, size, measured = random_samples(bench, COUNT), bench.traits(), bench.flow()
    rows = []
    for sample in samples:
        nll = test_nll(bench.network(sample), bench)
        params, flops = size(sample)
        row = {"architecture": str(sample), "nll": nll, "params": params, "flops": flops, "flow": measured(sample)}
        rows.append(row)
        print({name: value for name, value in row.items() if name != "architecture"}, flush=True)
    nll, params, flops, flow = (np.array([row[name] for row in rows]) for name in ("nll", "params", "flops", "flow"))
    order = nll.argsort().argsort()
    first = [int(order[index]) for index in first_by_traits(samples, size, measured)]
    return {
        "spearman": trait_ranks(nll, np.column_stack([params, flops]), flow),
        "place_of_first": first,
        "median_nll": float(np.median(nll)),
        "best_nll": float(nll.min()),
        "rows": [{**row, "flow": row["flow"] if np.isfinite(row["flow"]) else None} for row in rows],
    }


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    quiet_training()
    quiet_logging()
    command = "CIFAR10_NPZ=FILE python -m tests.benchmarks.other_spaces --work DIR"
    write_json(given.out, {"command": command, "versions": versions(), "settings": SETTINGS, **measure(given.work)})


if __name__ == "__main__":
    main()
