"""The outcome of a method: choose members, calibrate, measure."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np

from nni_hypens import metrics
from nni_hypens.compare.bench import Network, Workbench
from nni_hypens.compare.method import Bench, Trained
from nni_hypens.compare.searches import hypernetwork_search, supernet_truth
from nni_hypens.ensemble.calibration import calibrate, combine
from nni_hypens.ensemble.weighting import weigh_all
from nni_hypens.selection.dispatch import select
from nni_hypens.selection.names import EVERY, MAX_COMBINATIONS
from nni_hypens.utils.files import read_object, write_json

EXHAUSTIVE = min(MAX_COMBINATIONS, 200_000)
"""Most choices of members that are all scored; beam search if there are more."""


def outcome(bench: Bench, trained: Trained, size: int) -> dict[str, Any]:
    """Choose members and calibrate on validation images, then measure on test images.

    Args:
        bench: Where it was trained.
        trained: What the method has trained.
        size: Members of the ensemble; `EVERY` for all networks, with fitted weights.

    Returns:
        A row of `results.csv`, without what identifies it.

    Raises:
        RuntimeError: Too few networks did not diverge.
    """
    networks = [network for network in trained.networks if network.finite]
    if not networks or (trained.choose and len(networks) < size):
        raise RuntimeError(f"{len(networks)} networks did not diverge, too few for {size} members")
    labels = bench.validation_labels
    chosen, weights = networks, [1 / len(networks)] * len(networks)
    if size == EVERY:
        kept, fitted = weigh_all(np.stack([network.validation for network in networks]), labels)
        chosen, weights = [networks[index] for index in kept], fitted.tolist()
    elif trained.choose:
        chosen, weights = choose_members(networks, labels, size, trained.selection)
    validation = np.stack([network.validation for network in chosen])
    combination = calibrate("ensemble", validation, weights, labels)
    plain = combination._replace(temperature=1.0)
    test = np.stack([network.test for network in chosen])
    summary = metrics.summary(combine(test, weights, combination), bench.test_labels)
    training = sum(network.cost for network in trained.networks)

    def key(network: Network) -> object:
        return network.peer or bench.structure.key(network.sample)

    return {
        **{name: summary[name] for name in ("accuracy", "nll", "ece", "brier")},
        "nll_uncalibrated": metrics.nll(combine(test, weights, plain), bench.test_labels),
        "validation_nll": metrics.nll(combine(validation, weights, combination), labels),
        "temperature": combination.temperature,
        "networks": len(trained.networks),
        "architectures": len({key(network) for network in trained.networks}),
        "member_architectures": len({key(network) for network in chosen}),
        "search_s": trained.search_s,
        "training_s": training,
        "total_s": trained.search_s + training,
        "supernet": trained.supernet,
        "supernet_spearman": None,  # added by `add_supernet_truth` after all methods
        "ranked_architectures": 0,
        "chosen": [network.peer or bench.structure.describe(network.sample) for network in chosen],
    }


def choose_members(
    networks: list[Network], labels: np.ndarray, size: int, method: str | None = None
) -> tuple[list[Network], list[float]]:
    """Choose members by validation NLL, each network with its own temperature.

    Args:
        networks: Networks that did not diverge.
        labels: `N` labels of the validation images.
        size: How many members.
        method: A method of `nni_hypens.selection.select`; None for the best of all choices, or of those that beam
            search scores if there are more than `EXHAUSTIVE`.

    Returns:
        The members and their weights.
    """
    probs = np.stack([cast(np.ndarray, network.alone) for network in networks])
    if method is None:
        method = "exhaustive" if math.comb(len(networks), size) <= EXHAUSTIVE else "beam"
    selection = select(method, probs, labels, size=size)
    return [networks[index] for index in selection.members], selection.weights.tolist()


def add_supernet_truth(bench: Workbench) -> None:
    """Add the rank correlation of the supernet to all outcomes of methods with a supernet, after all are trained."""
    for path in sorted((bench.folder / "outcomes").glob("*.json")):
        row = read_object(path)
        if row["supernet"] is None:
            continue
        if not (bench.folder / "searches" / row["supernet"] / "cost.json").exists():
            continue  # the search was removed; a new one would be another
        factor = int(row["method"].partition("@")[2] or 1)
        trainer = bench if factor == 1 else bench.longer(factor)
        spearman, ranked = supernet_truth(trainer, hypernetwork_search(trainer, row["supernet"]))
        truth = {"supernet_spearman": spearman, "ranked_architectures": ranked}
        if row != row | truth:
            write_json(path, row | truth)
