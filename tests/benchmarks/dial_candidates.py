"""Are candidates of the dial better than random architectures, when all are trained to the end? On a large space.

    CIFAR10_NPZ=... python -m tests.benchmarks.dial_candidates --work DIR [--data NAME ...] [--seeds 0 1 2] [--out FILE]

NNI's hub DARTS space, preset "tiny", has 16 edges and many architectures without parameters, so that a search has more
to find than in the one cell of the pool (`tests.benchmarks.pool`). Each way to choose architectures gives six:

- random: drawn uniformly;
- dial: drawn from the hypernetwork, with lam over the range of a run, and not ranked; the base is the first;
- ranked: four times as many, ranked on the supernet within parts of the dial, as a run with `--ranking spread`;
- large: the largest of sixty random ones, for comparison with what needs no search.

All are trained for as many epochs as bring the training loss near zero, and calibrated each alone. Networks and
searches are kept below DIR, so the script can be killed and started again; what the results have is not trained again.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.stats import spearmanr

from nni_hypens import metrics
from nni_hypens._nni import quiet_logging, quiet_training
from nni_hypens.compare.bench import Workbench
from nni_hypens.compare.method import Trained, random_samples
from nni_hypens.compare.outcomes import outcome
from nni_hypens.compare.searches import HypernetworkSearch, hypernetwork_search
from nni_hypens.proposals.pool import OVERSAMPLE, draw_pool
from nni_hypens.proposals.ranking import rank_pool
from nni_hypens.run.plan import make_plan
from nni_hypens.run.settings import Settings
from nni_hypens.space.architecture import Sample
from nni_hypens.space.draws import by_size
from nni_hypens.utils.files import read_object, write_json
from nni_hypens.utils.runtime import versions
from nni_hypens.utils.seeds import Purpose, derive_seed
from tests.benchmarks.other_spaces import test_nll, trait_ranks

RESULTS = Path(__file__).parent / "results" / "dial_candidates.json"
COUNT, MEMBERS, MANY = 6, 3, 60
SETTINGS: dict[str, Any] = {
    "space": "search_spaces:darts",
    "space_args": {"preset": "tiny"},
    "train_size": 1_000,
    "validation_size": 1_000,
    "test_size": 2_000,
    "batch_size": 64,
    "search_epochs": 40,
    "epochs": 25,
}
DATA = ("examples.small_data:fashion_mnist_14", "examples.small_data:cifar10_16")


def ranked(bench: Workbench, search: HypernetworkSearch) -> list[Sample]:
    """As a run that ranks on the supernet draws and ranks its candidates."""
    size = bench.traits()
    pool = draw_pool(search.sampler, size, "spread", COUNT, search.plan.lam_range, bench.seed)
    found = rank_pool(pool, search.predict, bench.validation_labels, "spread", COUNT, size)
    return [candidate.architecture for candidate in found.candidates]


def dial(bench: Workbench, search: HypernetworkSearch) -> list[Sample]:
    """Along the dial, not ranked."""
    seed = derive_seed(bench.seed, Purpose.CANDIDATES, 0)
    pool = search.sampler.pool(OVERSAMPLE * COUNT, search.plan.lam_range, seed, at_least=COUNT)
    chosen = [0, *np.linspace(1, len(pool) - 1, COUNT - 1).round().astype(int).tolist()]
    return [pool[place].architecture for place in chosen]


WAYS: dict[str, Callable[[Workbench, HypernetworkSearch], list[Sample]]] = {
    "random": lambda bench, _: random_samples(bench, COUNT),
    "dial": dial,
    "ranked": ranked,
    "large": lambda bench, _: by_size(random_samples(bench, MANY), bench.traits())[:COUNT],
}


def row_of(bench: Workbench, search: HypernetworkSearch, way: str) -> dict[str, Any]:
    """Six networks of one way, each alone, and the best three together."""
    samples, size, flow = WAYS[way](bench, search), bench.traits(), bench.flow()
    networks = [bench.network(sample) for sample in samples]
    supernet = metrics.nll_of_each(search.predict(samples), bench.validation_labels)
    nll = [test_nll(network, bench) for network in networks]
    found = outcome(bench, Trained(networks), MEMBERS)
    return {
        "way": way,
        "nll": nll,
        "accuracy": [float((network.test.argmax(1) == bench.test_labels).mean()) for network in networks],
        "ensemble_nll": found["nll"],
        "params": [size(sample)[0] for sample in samples],
        "flops": [size(sample)[1] for sample in samples],
        "flow": [flow(sample) for sample in samples],
        "shared": [bench.structure.shared_edges(sample, search.sampler.base) for sample in samples],
        "supernet_nll": supernet.tolist(),
        "architectures": [str(bench.structure.key(sample)) for sample in samples],
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means of each way, its difference from random by seed, and what ranks the networks of all ways together."""
    found: dict[str, Any] = {}
    seeds = sorted({row["seed"] for row in rows})
    of = {(row["way"], row["seed"]): row for row in rows}
    for way in WAYS:
        means = np.array([np.mean(of[way, seed]["nll"]) for seed in seeds])
        best = np.array([min(of[way, seed]["nll"]) for seed in seeds])
        ensemble = np.array([of[way, seed]["ensemble_nll"] for seed in seeds])
        base = [np.mean(of["random", seed]["nll"]) for seed in seeds]
        against = [of["random", seed]["ensemble_nll"] for seed in seeds]
        found[way] = {
            "nll": float(means.mean()),
            "best_nll": float(best.mean()),
            "ensemble_nll": float(ensemble.mean()),
            "params": float(np.median([of[way, seed]["params"] for seed in seeds])),
            "against_random": [float(value) for value in means / base - 1],
            "ensemble_against_random": [float(value) for value in ensemble / against - 1],
        }
    found["spearman"] = [ranks([of[way, seed] for way in WAYS]) for seed in seeds]
    return found


def ranks(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Rank correlation of what is known before training with the NLL of the networks of all ways together."""
    names = "nll", "supernet_nll", "params", "flops", "flow"
    networks = {
        key: values
        for row in rows
        for key, *values in zip(row["architectures"], *(row[name] for name in names), strict=True)
    }
    nll, supernet, params, flops, flow = np.array(list(networks.values()), dtype=float).T
    traits = trait_ranks(nll, np.column_stack([params, flops]), flow)
    return {"supernet": float(spearmanr(supernet, nll)[0]), **traits, "n": len(nll)}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", nargs="+", choices=DATA, default=DATA)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    quiet_training()
    quiet_logging()
    rows: dict[tuple[str, int, str], dict[str, Any]] = {}
    if given.out.exists():
        rows = {(row["data"], row["seed"], row["way"]): row for row in read_object(given.out)["rows"]}
    for seed in given.seeds:
        for data in given.data:
            name = data.partition(":")[2]
            missing = [way for way in WAYS if (name, seed, way) not in rows]
            if not missing:
                continue
            settings = Settings.from_mapping({**SETTINGS, "data": data, "seed": seed})
            bench = Workbench(make_plan(settings, split_seed=seed), given.work / name / str(seed))
            search = hypernetwork_search(bench)
            for way in missing:
                row = rows[name, seed, way] = {"data": name, "seed": seed, **row_of(bench, search, way)}
                print(name, seed, way, np.round(row["nll"], 3).tolist(), flush=True)
            write_json(given.out, results(list(rows.values())))


def results(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the file holds: how it was made, a summary of each data set, and all rows."""
    names = sorted({row["data"] for row in rows})
    summaries = {name: summary([row for row in rows if row["data"] == name]) for name in names}
    command = "CIFAR10_NPZ=FILE python -m tests.benchmarks.dial_candidates --work DIR"
    return {
        "command": command, "versions": versions(), "settings": SETTINGS, "summary": summaries, "rows": rows,
    }  # fmt: skip


if __name__ == "__main__":
    main()
