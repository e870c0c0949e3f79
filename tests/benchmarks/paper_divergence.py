"""The figures of the first EdgeNES paper (2023), whose regulariser is the Jensen-Shannon divergence from the base.

    CIFAR10_NPZ=... python -m tests.benchmarks.paper_divergence --out runs/paper_divergence

On Fashion-MNIST and CIFAR-10, both at half their size: accuracy of a network against the weight of the divergence,
its edges in common with the base, and accuracy of an ensemble of three against the largest weight that is allowed.
Architectures come from a hypernetwork, from a search at one fixed weight each, and from random deviations that share as
many edges with the base as the hypernetwork's. CIFAR-10 is left out, and that is said, if its file is not there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nni_hypens.compare.bench import Network, Workbench
from nni_hypens.compare.searches import HypernetworkSearch, fixed_lam_search, hypernetwork_search
from nni_hypens.run.settings import Settings
from nni_hypens.search import JensenShannon
from nni_hypens.space.architecture import EdgeStructure, Sample
from tests.benchmarks.paper_runs import CIFAR, Row, Study, accuracy, bench_of, main
from tests.benchmarks.paper_tables import deviations

LARGEST = 40.0
"""The paper's largest weight; 0 is the base."""


def linear() -> JensenShannon:
    """The paper's form: ``- weight * D``, with the weight from 0 at the base to `LARGEST` at lam 0."""
    return JensenShannon(weight=LARGEST, target=False)


def weights(steps: int) -> list[float]:
    """The paper's weights above 0, in equal steps."""
    return [LARGEST * step / steps for step in range(1, steps + 1)]


def lam_of(weight: float, n_edges: int) -> float:
    """Our dial at a weight of theirs: `n_edges` asks for the base, 0 for the largest weight."""
    return n_edges * (1 - weight / LARGEST)


def matching(structure: EdgeStructure, base: Sample, other: Sample) -> float:
    """Share of all choices that are the same, whether or not they are on an input that is chosen: the paper's count."""
    one, two = structure.table.validate(base), structure.table.validate(other)
    return float(np.mean([one[label] == two[label] for label in structure.table.labels]))


def samples_of(bench: Workbench, search: HypernetworkSearch, steps: int) -> dict[str, dict[float, Sample]]:
    """Source -> weight -> architecture."""
    edges, base = bench.structure.n_edges, search.sampler.base
    at = {weight: lam_of(weight, edges) for weight in weights(steps)}
    ours = {weight: search.sampler.mode(lam).architecture for weight, lam in at.items()}
    fixed = {weight: fixed_lam_search(bench, search, lam)[0] for weight, lam in at.items()}
    shared = {weight: bench.structure.shared_edges(base, sample) for weight, sample in ours.items()}
    wanted = {count: sum(found == count for found in shared.values()) for count in set(shared.values())}
    drawn = {count: deviations(bench.structure, base, count, n, bench.seed) for count, n in wanted.items()}
    apart = {weight: (drawn[count].pop(0) if drawn[count] else base) for weight, count in shared.items()}
    return {"hypernetwork": ours, "fixed": fixed, "random": apart}


def rows_of(settings: Settings, folder: Path, options: Row) -> dict[str, list[Row]]:
    """Networks by weight, and ensembles by the largest weight, for both forms of the regulariser."""
    bench = bench_of(settings, folder)
    rows: list[Row] = []
    limits: list[Row] = []
    for form, diversity in (("linear", linear()), ("target", JensenShannon())):
        search = hypernetwork_search(bench, f"divergence-{form}", diversity=diversity)
        base = search.sampler.base
        found = samples_of(bench, search, options["steps"])
        for source, samples in found.items():
            networks = {0.0: bench.network(base), **{weight: bench.network(one) for weight, one in samples.items()}}
            for weight, network in networks.items():
                row = {"form": form, "source": source, "weight": weight, "accuracy": accuracy(bench, [network])}
                shared = bench.structure.shared_edges(base, network.sample)
                rows.append({**row, "shared": shared, "matching": matching(bench.structure, base, network.sample)})
            limits += [
                {"form": form, "source": source, **row}
                for row in by_limit(bench, networks, settings.ensemble_size, options["ensembles"])
            ]
    return {"divergence": rows, "divergence_limits": limits}


def by_limit(bench: Workbench, networks: dict[float, Network], size: int, draws: int) -> list[Row]:
    """Mean accuracy of ensembles of different networks drawn at random among those up to a weight, as in the paper."""
    generator = np.random.default_rng(bench.seed)
    rows = []
    for limit in sorted(networks):
        pool = [network for weight, network in networks.items() if weight <= limit]
        if len(pool) >= size:
            chosen = [generator.choice(len(pool), size, replace=False) for _ in range(draws)]
            found = [accuracy(bench, [pool[index] for index in one]) for one in chosen]
            rows.append({"limit": limit, "accuracy": float(np.mean(found))})
    return rows


STUDY = Study(
    "paper_divergence",
    "The figures of the first EdgeNES paper, with the Jensen-Shannon divergence.",
    {
        "space": "paper_cell",
        "data": "examples.small_data:fashion_mnist_14",
        "train_size": 300,
        "validation_size": 300,
        "test_size": 2000,
        "batch_size": 32,
        "space_args": {"channels": 3, "n_chosen": 2},
        "search_epochs": 12,
        "epochs": 40,
    },
    {"space": "paper_cell", "space_args": {"channels": 1, "n_chosen": 2}, "search_epochs": 4},
    rows_of,
    options={"steps": 4, "ensembles": 50},
    data_sets=("examples.small_data:fashion_mnist_14", CIFAR),
)

if __name__ == "__main__":
    main(STUDY)
