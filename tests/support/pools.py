"""Pools of made-up networks, and of the networks of a workbench."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from nni_hypens.compare.bench import Network, Workbench
from nni_hypens.compare.pool import Pool, encode
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.draws import random_architectures
from search_spaces import OneCell

N_IMAGES, CLASSES = 60, 10


def packed(
    settings: dict[str, Any],
    architectures: list[Any],
    networks: Sequence[tuple[int, int]],
    probs: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    costs: Sequence[float],
    sizes: Sequence[tuple[int, int]],
    diverged: Collection[int] = (),
) -> Pool:
    """A pool of one epoch and one mark. `probs` are `K x images x C`; `diverged` are rows."""
    k = len(networks)
    params, flops = np.asarray(sizes, dtype=np.int64).T
    nll = np.asarray([[np.nan if row in diverged else 1.0] for row in range(k)], dtype=np.float32)
    return Pool(
        settings=settings,
        architectures=architectures,
        chosen=[],
        labels={part: np.asarray(true, dtype=np.uint8) for part, true in labels.items()},
        codes={part: encode(np.log(np.maximum(values, 1e-12))) for part, values in probs.items()},
        early={},
        early_rows=np.flatnonzero([replica == 0 for _, replica in networks]),
        columns={
            "architecture": np.asarray([number for number, _ in networks], dtype=np.int16),
            "replica": np.asarray([replica for _, replica in networks], dtype=np.int16),
            "params": params,
            "flops": flops,
            "cpu_seconds": np.asarray(costs, dtype=np.float32)[:, None],
            "validation_nll": nll,
            "train_loss": np.zeros((k, 1), dtype=np.float32),
            "temperature": np.ones((k, 1), dtype=np.float32),
            "calibrated_nll": np.zeros((k, 2, 1), dtype=np.float32),
            "accuracy": np.zeros((k, 2, 1), dtype=np.float32),
        },
    )


def peers_after(count: int) -> list[tuple[dict[str, Any], int]]:
    """Entries of peers after so many architectures, as `tests.benchmarks.pool` writes them, and their networks.

    Both finished searches found the same architecture, so its networks are those of the first.
    """
    structure = EdgeStructure.from_space(OneCell())
    found = {"sample": random_architectures(structure, 1, 7)[0], "epochs": 1, "networks": count + 3}
    return [
        ({"peer": "residual", "width": 4, "blocks": 1}, 7),
        *(({"peer": "snapshots", "run": run, "architecture": 0}, 5) for run in range(2)),
        ({"peer": "darts", "search": 0, "search_cpu_seconds": 2.5, **found}, 6),
        ({"peer": "darts", "search": 1, "search_cpu_seconds": 4, **found}, 0),
        ({"peer": "darts", "search": 2}, 0),  # not searched yet
    ]


def made_up(
    seeds: Sequence[int] = (1,) * 8,
    diverged: Collection[int] = (),
    peers: Sequence[tuple[dict[str, Any], int]] = (),
    **settings: Any,
) -> Pool:
    """A pool of noise around the true class. `seeds`: how many networks of each architecture; a cost of 1, 1.1, ...;
    `peers` follow, from `peers_after`."""
    rng = np.random.default_rng(0)
    structure = EdgeStructure.from_space(OneCell())
    counts = [*seeds, *(n for _, n in peers)]
    networks = [(number, replica) for number, n in enumerate(counts) for replica in range(n)]
    true = np.arange(N_IMAGES) % CLASSES
    probs = {}
    for part in ("validation", "test"):
        logits = rng.normal(size=(len(networks), N_IMAGES, CLASSES))
        logits[:, np.arange(N_IMAGES), true] += 1.5
        probs[part] = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return packed(
        {"space": "search_spaces:OneCell", "epochs": 1, **settings},
        [*random_architectures(structure, len(seeds), 0), *(entry for entry, _ in peers)],
        networks,
        probs,
        dict.fromkeys(probs, true),
        [1 + number / 10 for number, _ in networks],
        [(1_000 + 100 * number, 50_000 - 1_000 * number) for number, _ in networks],
        diverged,
    )


def of_workbench(bench: Workbench, trained: Sequence[Sequence[Network]], further: Sequence[Network] = ()) -> Pool:
    """A pool of the networks that a workbench has trained, those of each architecture together, and of the schedules of
    another network of the first architecture that was trained further."""
    numbered = [(number, replica) for number, networks in enumerate(trained) for replica in range(len(networks))]
    numbered += [(len(trained), 1 + place) for place in range(len(further))]
    rows = [*(network for networks in trained for network in networks), *further]
    entries = [{"peer": "further", "architecture": 0}] if further else []
    size = bench.traits()
    return packed(
        {"space": "search_spaces:OneCell", "space_args": bench.plan.settings.space_args},
        [*(networks[0].sample for networks in trained), *entries],
        numbered,
        {part: np.stack([getattr(network, part) for network in rows]) for part in ("validation", "test")},
        {"validation": bench.validation_labels, "test": bench.test_labels},
        [network.cost for network in rows],
        [tuple(size.cost(network.sample)) for network in rows],  # type: ignore[misc]
    )
