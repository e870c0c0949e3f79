"""Methods against one another: every method on every data set and seed, at equal cost, kept in a folder.

A cell is one data set and one seed. The reference of a cell, by default a deep ensemble of NNI's DARTS, sets the budget
of its other methods: what the reference spent on search and training together. A method that has a cost of its own is
run whatever that is, and the table shows it.
"""

from __future__ import annotations

import hashlib
import math
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nni.nas.evaluator.pytorch import Lightning

from nni_hypens import metrics
from nni_hypens._nni import quiet_logging, quiet_training
from nni_hypens.compare.bench import Network, Trained, Workbench
from nni_hypens.compare.methods import METHODS, method_of, method_order
from nni_hypens.compare.searches import check_installed, hypernetwork_search, supernet_truth
from nni_hypens.ensemble.calibration import calibrate, combine
from nni_hypens.errors import InputError
from nni_hypens.run.plan import evaluator_for, make_plan
from nni_hypens.run.settings import Settings
from nni_hypens.selection.dispatch import select
from nni_hypens.selection.names import MAX_COMBINATIONS
from nni_hypens.utils.files import read_json, write_json, write_text
from nni_hypens.utils.progress import Progress
from nni_hypens.utils.runtime import versions

UNREAD = ("data", "seed", "ranking", "adaptive")
"""Settings of a run that do not make it another comparison: what has a field of its own, and how a run chooses what it
trains."""
EXHAUSTIVE = min(MAX_COMBINATIONS, 200_000)
"""Choices of members that are all looked at; beam search above."""
COLUMNS = (
    "data", "seed", "members", "method", "nll", "accuracy", "ece", "brier", "nll_uncalibrated", "validation_nll",
    "temperature", "networks", "architectures", "member_architectures", "search_s", "training_s", "total_s", "budget_s",
    "supernet_spearman", "ranked_architectures",
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Args:
        settings: Data, space, search and training, as for a run; ``data`` and ``seed`` are those of ``data_sets`` and
            ``seeds``.
        data_sets: Sources of data.
        seeds: Seeds; each splits the data anew, so that methods are paired by split.
        methods: Names, see :func:`nni_hypens.compare.methods.method_of`.
        sizes: Numbers of members.
        reference: The method that sets the budget.
        budget: Seconds for each method in place of the reference's cost.
        nni_epochs: Epochs of the searches by NNI's own strategies; None for those of ``settings``. NNI's DARTS takes
            ten times as long for an epoch as a search by sampled paths, so at equal cost they have other lengths.

    Raises:
        InputError: Naming the field.
    """

    settings: Settings
    data_sets: Sequence[str]
    seeds: Sequence[int]
    methods: Sequence[str]
    sizes: Sequence[int] = (3, 5)
    reference: str = "darts_deep_ensemble"
    budget: float | None = None
    nni_epochs: int | None = None

    def __post_init__(self) -> None:
        for name, values in (("data", self.data_sets), ("seeds", self.seeds), ("sizes", self.sizes)):
            if not values or len(set(values)) < len(values):
                raise InputError(name, str(list(values)), "one or more, all different")
        for method in (*self.methods, self.reference):
            method_of(method)
            check_installed(method)
        if min(self.sizes) < 2:
            raise InputError("sizes", min(self.sizes), "ensembles of 2 members or more")
        if self.budget is None and method_of(self.reference).fills:
            fixed = [name for name, method in METHODS.items() if not method.fills]
            raise InputError("reference", self.reference, f"a method with a cost of its own: {', '.join(fixed)}")
        if self.budget is not None and not 0 < self.budget < math.inf:
            raise InputError("budget", self.budget, "a number of seconds above 0")
        if self.nni_epochs is not None and self.nni_epochs < 1:
            raise InputError("nni_epochs", self.nni_epochs, "a whole number of at least 1")

    @property
    def cells(self) -> list[tuple[str, int]]:
        """Data sets and seeds, seed by seed."""
        return [(data, seed) for seed in self.seeds for data in self.data_sets]

    def identity(self) -> dict[str, Any]:
        """What another run must share to go on in the same folder; methods, seeds and data may be added."""
        own = {name: value for name, value in self.settings.to_mapping().items() if name not in UNREAD}
        how = {"reference": self.reference, "seconds": self.budget, "nni_epochs": self.nni_epochs}
        return {**own, "sizes": list(self.sizes), **how}


def run_cell(comparison: Comparison, data: str, seed: int, folder: Path) -> list[dict[str, Any]]:
    """Every method on one data set and seed; what is done already is read.

    Args:
        comparison: What is compared.
        data: The data set.
        seed: The seed.
        folder: Of the comparison.

    Returns:
        One row of :data:`COLUMNS` for each method and size.
    """
    quiet_training()
    quiet_logging()
    settings = replace(comparison.settings, data=data, seed=seed)
    plan = make_plan(settings, split_seed=seed)

    def trains(factor: int) -> Lightning:
        return evaluator_for(settings, plan.data, factor * settings.epochs_each)

    epochs = comparison.nni_epochs
    nni_evaluator = None if epochs is None else evaluator_for(settings, plan.data, epochs)
    bench = Workbench(plan, folder / cell_name(data, seed), nni_evaluator, trains)
    outcomes = []
    for size in comparison.sizes:
        budget = comparison.budget
        if budget is None:
            reference = method_of(comparison.reference).recipe(bench, size, math.inf)
            budget = reference.search_s + sum(network.cost for network in reference.networks)
        for name in comparison.methods:
            path = bench.folder / "outcomes" / f"{name}-{size}.json"
            if not path.exists():
                trained = method_of(name).recipe(bench, max(size, 1), budget)
                about = {"data": data, "seed": seed, "members": size, "method": name, "budget_s": budget}
                write_json(path, {**about, **outcome(bench, trained, size)})
            outcomes.append(path)
    _add_supernet_truth(bench)
    return [read_json(path) for path in outcomes]


def cell_name(data: str, seed: int) -> str:
    """Name of a cell's folder; two files of the same name have different ones."""
    stem = Path(data.rsplit(":", 1)[-1]).stem
    return f"{stem}-{seed}" if stem == data else f"{stem}-{hashlib.sha256(data.encode()).hexdigest()[:6]}-{seed}"


def outcome(bench: Workbench, trained: Trained, size: int) -> dict[str, Any]:
    """Choose, calibrate and measure.

    Raises:
        RuntimeError: Too few of its networks are finite.
    """
    networks = [network for network in trained.networks if network.finite]
    if not networks or (trained.choose and len(networks) < size):
        raise RuntimeError(f"{len(networks)} networks did not diverge, too few for {size} members")
    labels = bench.validation_labels
    chosen, weights = networks, [1 / len(networks)] * len(networks)
    if trained.choose:
        chosen, weights = _choose(networks, labels, size, trained.selection)
    validation = np.stack([network.validation for network in chosen])
    temperatures = calibrate("ensemble", validation, weights, labels)
    test = np.stack([network.test for network in chosen])
    summary = metrics.summary(combine(test, weights, temperatures), bench.test_labels)
    training = sum(network.cost for network in trained.networks)
    key = bench.structure.key
    return {
        **{name: summary[name] for name in ("accuracy", "nll", "ece", "brier")},
        "nll_uncalibrated": metrics.nll(np.average(test, axis=0, weights=weights), bench.test_labels),
        "validation_nll": metrics.nll(np.average(validation, axis=0, weights=weights), labels),
        "temperature": temperatures.ensemble,
        "networks": len(trained.networks),
        "architectures": len({key(network.sample) for network in trained.networks}),
        "member_architectures": len({key(network.sample) for network in chosen}),
        "search_s": trained.search_s,
        "training_s": training,
        "total_s": trained.search_s + training,
        "supernet": trained.supernet,
        "supernet_spearman": None,  # known when all methods are through
        "ranked_architectures": 0,
        "chosen": [bench.structure.describe(network.sample) for network in chosen],
    }


def _choose(
    networks: list[Network], labels: np.ndarray, size: int, method: str | None = None
) -> tuple[list[Network], list[float]]:
    probs = np.stack([network.validation for network in networks])
    if method is None:
        method = "exhaustive" if math.comb(len(networks), size) <= EXHAUSTIVE else "beam"
    found = select(method, probs, labels, size=size)
    return [networks[index] for index in found.members], found.weights.tolist()


def _add_supernet_truth(bench: Workbench) -> None:
    """Add to all outcomes of methods with a supernet how true it was, now that all is trained."""
    for path in sorted((bench.folder / "outcomes").glob("*.json")):
        row = read_json(path)
        if row.get("supernet") is None:  # none, or from a version that did not say which
            continue
        if not (bench.folder / "searches" / row["supernet"] / "cost.json").exists():
            continue  # removed since; a new search would be another one
        factor = int(row["method"].partition("@")[2] or 1)
        where = bench if factor == 1 else bench.longer(factor)
        spearman, ranked = supernet_truth(where, hypernetwork_search(where, row["supernet"]))
        found = {"supernet_spearman": spearman, "ranked_architectures": ranked}
        if row != row | found:
            write_json(path, row | found)


def run_comparison(
    comparison: Comparison,
    folder: Path,
    jobs: int = 1,
    progress: Progress | None = None,
    command: str = "",
) -> pd.DataFrame:
    """Run what is missing and write ``results.csv``, with all that the folder holds.

    Args:
        comparison: What is compared.
        folder: Where everything is kept.
        jobs: Cells at once, each in a process of its own.
        progress: Where progress is shown.
        command: How to repeat it; ``comparison.json`` keeps it, with the versions.

    Returns:
        One row per data set, seed, size and method, those of earlier runs in this folder included.

    Raises:
        RuntimeError: Some cells failed; the others are done and kept.
    """
    progress = progress or Progress()
    for data in comparison.data_sets:  # what is wrong with data or space shows now
        make_plan(replace(comparison.settings, data=data))
    check_folder(comparison, folder, command)
    progress.start("compare", len(comparison.cells), "cell")
    failed: dict[str, str] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        waiting = {
            pool.submit(run_cell, comparison, data, seed, folder): cell_name(data, seed)
            for data, seed in comparison.cells
        }
        try:
            for done in as_completed(waiting):
                try:
                    done.result()
                except InputError:
                    raise
                except Exception as error:  # the other cells are worth having
                    failed[waiting[done]] = f"{type(error).__name__}: {error}"
                progress.step()
                write_results(folder)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    progress.stop()
    if failed:
        cell, reason = next(iter(failed.items()))
        raise RuntimeError(f"{len(failed)} of {len(comparison.cells)} cells failed; {cell}: {reason}")
    return write_results(folder)


def check_folder(comparison: Comparison, folder: Path, command: str = "") -> None:
    """Claim a folder for a comparison, or find that it holds this one.

    Args:
        comparison: What is compared.
        folder: Where.
        command: How to repeat it. More methods, seeds or data may follow with other commands; the first one is kept.

    Raises:
        InputError: It holds another one.
    """
    path, identity = folder / "comparison.json", comparison.identity()
    if path.exists():
        known = read_json(path)
        other = [name for name in identity if known.get(name) != identity[name]]
        if other:
            raise InputError(other[0], identity[other[0]], f"{known.get(other[0])}, as in {folder}, or another folder")
        return
    if folder.exists() and any(folder.iterdir()):
        raise InputError("out", f"{folder}, which holds other files", "an empty or new folder")
    write_json(path, identity | {"versions": versions(), "command": command})


def write_results(folder: Path) -> pd.DataFrame:
    """``results.csv``: every outcome in the folder, sorted."""
    rows = [read_json(path) for path in folder.glob("*/outcomes/*.json")]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table = table.astype({"supernet_spearman": float, "ranked_architectures": float})  # None is NaN
    table = table.sort_values(
        ["data", "members", "method", "seed"],
        key=lambda column: column.map(method_order) if column.name == "method" else column,
    ).reset_index(drop=True)
    write_text(folder / "results.csv", table.to_csv(index=False))
    return table
