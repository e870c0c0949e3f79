"""The papers' own setting: a search with one small cell, then the networks with two wider cells.

    python -m tests.benchmarks.paper_wide --out runs/paper_wide

The space is `PaperCell`, with one and with two inputs per node. Each architecture is trained twice: as it was searched,
and with two cells, twice as many channels, drop path, cutout and an auxiliary head.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nni_hypens.compare.bench import Network, Workbench
from nni_hypens.compare.searches import hypernetwork_search
from nni_hypens.run.settings import Settings
from nni_hypens.space.architecture import Sample
from tests.benchmarks.paper_runs import Row, Study, accuracy, bench_of, best_of, main

CHOSEN = (1, 2)
"""Inputs per node."""
WIDE = {"layers": 2, "drop_path_prob": 0.1}
AUXILIARY_WEIGHT, AUGMENT = 0.4, "crop_flip,cutout"


def wide(settings: Settings) -> Settings:
    """Settings under which the same architectures are trained with two cells, each of twice as many channels."""
    channels = 2 * settings.space_args["channels"]
    return replace(
        settings,
        train_space_args={**WIDE, "channels": channels},
        auxiliary_weight=AUXILIARY_WEIGHT,
        augment=AUGMENT,
    )


def rows_of(settings: Settings, folder: Path, options: Row) -> dict[str, list[Row]]:
    """Ensembles by inputs per node and by how networks are trained."""
    rows = []
    for n_chosen in CHOSEN:
        own = replace(settings, space_args={**settings.space_args, "n_chosen": n_chosen})
        bench = bench_of(own, folder / f"chosen-{n_chosen}")
        search = hypernetwork_search(bench)
        edges = bench.structure.n_edges
        lams = [edges * share / 4 for share in (1, 2, 3)]
        far = [found.architecture for lam in lams for found in search.sampler.sample(lam, 1, seed=bench.seed)]
        trainers = {"small": bench, "wide": bench_of(wide(own), folder / f"chosen-{n_chosen}" / "wide")}
        for size, trainer in trainers.items():
            row = {"n_chosen": n_chosen, "edges": edges, "trained": size, "search_s": search.clock.seconds}
            rows.append(row | ensembles(trainer, search.sampler.base, far, own.ensemble_size))
    return {"wide": rows}


def ensembles(trainer: Workbench, base: Sample, far: list[Sample], members: int) -> Row:
    """The base alone, seeds of it, and the best ensemble of it and of architectures of the hypernetwork."""
    seeds = [trainer.network(base, replica) for replica in range(members)]
    pool = [seeds[0], *(trainer.network(sample) for sample in far)]

    def cost(networks: list[Network]) -> float:
        return sum(network.cost for network in networks)

    return {
        "parameters": int(trainer.traits()(base)[0]) - 1,
        "base": accuracy(trainer, seeds[:1]),
        "base_ensemble": accuracy(trainer, seeds),
        "edgenes": accuracy(trainer, best_of(trainer, pool, members)),
        "network_s": cost(pool) / len(pool),
    }


SETTINGS: Row = {"space": "paper_cell"}
STUDY = Study(
    "paper_wide",
    "Search with one small cell of the papers' code, train with two wider ones.",
    SETTINGS
    | {
        "data": "examples.small_data:fashion_mnist_14",
        "train_size": 500,
        "validation_size": 500,
        "test_size": 2000,
        "batch_size": 32,
        "space_args": {"channels": 4},
        "search_epochs": 16,
        "epochs": 40,
    },
    SETTINGS | {"search_epochs": 4},
    rows_of,
)

if __name__ == "__main__":
    main(STUDY)
