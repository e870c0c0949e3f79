"""Compare methods at equal cost: every method on every data set and seed, kept in a folder.

A cell is one data set and one seed. In each cell the reference, by default a deep ensemble of NNI's DARTS, sets the
budget of the other methods: the seconds it spent on search and training together. A method whose cost does not depend
on the budget is run anyway, and the table shows its cost.
"""

from __future__ import annotations

import hashlib
import math
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from nni.nas.evaluator.pytorch import Lightning

from nni_hypens._manager import check_home
from nni_hypens._nni import quiet_logging, quiet_training
from nni_hypens.compare.bench import Workbench
from nni_hypens.compare.method import AT_LEAST
from nni_hypens.compare.methods import METHODS, method_of, method_order
from nni_hypens.compare.outcomes import add_supernet_truth, outcome
from nni_hypens.compare.searches import check_installed
from nni_hypens.errors import InputError, raised
from nni_hypens.run.plan import candidate_evaluator, make_plan, search_evaluator
from nni_hypens.run.settings import Settings
from nni_hypens.selection.names import EVERY
from nni_hypens.utils.files import read_object, write_json, write_text
from nni_hypens.utils.locks import LOCK, held_folder
from nni_hypens.utils.paths import safe_children
from nni_hypens.utils.processes import ProcessName, begin_worker
from nni_hypens.utils.progress import Progress
from nni_hypens.utils.runtime import versions
from nni_hypens.utils.seeds import SEED_SCHEME

IGNORED_SETTINGS = ("data", "seed", "ranking", "adaptive")
"""Settings that do not affect whether results can share a folder. `data` and `seed` are lists in a comparison; how
candidates are chosen is part of the methods."""
COLUMNS = (
    "data", "seed", "members", "method", "nll", "accuracy", "ece", "brier", "nll_uncalibrated", "validation_nll",
    "temperature", "networks", "architectures", "member_architectures", "search_s", "training_s", "total_s", "budget_s",
    "supernet_spearman", "ranked_architectures",
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """What to compare.

    Args:
        settings: Data, space, search and training, as for a run; `data` and `seed` are replaced by each of `data_sets`
            and `seeds`.
        data_sets: Sources of data.
        seeds: Seeds. Each also seeds the split into training and validation images, so methods are paired by split.
        methods: Names, see `nni_hypens.compare.methods.method_of`.
        sizes: Numbers of members; `nni_hypens.selection.names.EVERY` for all networks.
        reference: The method that sets the budget.
        budget: Seconds for each method; None for the cost of the reference.
        nni_epochs: Epochs of the searches by NNI's own strategies; None for those of `settings`. An epoch of NNI's
            DARTS takes ten times as long as one of a search by sampled paths, so at equal cost they need other lengths.

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
        if any(size < 2 and size != EVERY for size in self.sizes):
            raise InputError("sizes", min(self.sizes), "ensembles of 2 members or more, or all")
        if self.budget is None and method_of(self.reference).fills:
            fixed = [name for name, method in METHODS.items() if not method.fills]
            raise InputError(
                "reference", self.reference, f"a method whose cost does not depend on the budget: {', '.join(fixed)}"
            )
        if self.budget is not None and not 0 < self.budget < math.inf:
            raise InputError("budget", self.budget, "a number of seconds above 0")
        if self.nni_epochs is not None and self.nni_epochs < 1:
            raise InputError("nni_epochs", self.nni_epochs, "a whole number of at least 1")

    @property
    def cells(self) -> list[tuple[str, int]]:
        """Data sets and seeds, seed by seed."""
        return [(data, seed) for seed in self.seeds for data in self.data_sets]

    def identity(self) -> dict[str, Any]:
        """What two comparisons must have in common to share a folder; methods, seeds and data may differ."""
        settings = {name: value for name, value in self.settings.to_mapping().items() if name not in IGNORED_SETTINGS}
        budget = {"reference": self.reference, "seconds": self.budget, "nni_epochs": self.nni_epochs}
        return {**settings, "sizes": list(self.sizes), **budget}


def run_cell(comparison: Comparison, data: str, seed: int, folder: Path) -> list[dict[str, Any]]:
    """Run every method on one data set and seed; outcomes that exist are read.

    Args:
        comparison: What to compare.
        data: The data set.
        seed: The seed.
        folder: Folder of the comparison.

    Returns:
        One row, with `COLUMNS` and more, for each method and size.
    """
    quiet_training()
    quiet_logging()
    settings = replace(comparison.settings, data=data, seed=seed)
    plan = make_plan(settings, split_seed=seed)

    def trains(factor: int) -> Lightning:
        return candidate_evaluator(settings, plan.data, factor * settings.epochs_each)

    epochs = comparison.nni_epochs
    nni_evaluator = None if epochs is None else search_evaluator(settings, plan.data, epochs)
    bench = Workbench(plan, folder / cell_name(data, seed), nni_evaluator, trains)
    outcomes = []
    for size in comparison.sizes:
        members, budget = size or AT_LEAST, comparison.budget
        if budget is None:
            reference = method_of(comparison.reference).recipe(bench, members, math.inf)
            budget = reference.search_s + sum(network.cost for network in reference.networks)
        for name in comparison.methods:
            path = bench.folder / "outcomes" / f"{name}-{size}.json"
            if not path.exists():
                trained = method_of(name).recipe(bench, members, budget)
                about = {"data": data, "seed": seed, "members": size, "method": name, "budget_s": budget}
                write_json(path, {**about, **outcome(bench, trained, size)})
            outcomes.append(path)
    add_supernet_truth(bench)
    return [read_object(path) for path in outcomes]


def cell_name(data: str, seed: int) -> str:
    """Name of a cell's folder, different for two files of the same name."""
    stem = Path(data.rsplit(":", 1)[-1]).stem
    return f"{stem}-{seed}" if stem == data else f"{stem}-{hashlib.sha256(data.encode()).hexdigest()[:6]}-{seed}"


def run_comparison(
    comparison: Comparison,
    folder: Path,
    jobs: int = 1,
    progress: Progress | None = None,
    command: str = "",
) -> pd.DataFrame:
    """Run what is missing, and write `results.csv` with all outcomes in the folder.

    Args:
        comparison: What to compare.
        folder: Where everything is kept.
        jobs: How many cells to run at once, each in its own process.
        progress: Where progress is shown.
        command: How to repeat the comparison; recorded in `comparison.json`, with the versions.

    Returns:
        One row per data set, seed, size and method, including those of earlier comparisons in this folder.

    Raises:
        RuntimeError: Some cells failed; the others are done and kept.
    """
    progress = progress or Progress()
    check_home()
    checksums = {}
    for data in comparison.data_sets:  # find errors of data and space before any work
        checksums[data] = make_plan(replace(comparison.settings, data=data)).fingerprint["data_checksum"]
    check_folder(comparison, folder, command)
    check_same_data(checksums, folder)
    progress.start("compare", len(comparison.cells), "cell")
    with held_folder(folder):
        check_folder(comparison, folder, command)  # another comparison may have begun it meanwhile
        failed = run_cells(comparison, folder, jobs, progress)
    progress.stop()
    if failed:
        cell, reason = next(iter(failed.items()))
        raise RuntimeError(f"{len(failed)} of {len(comparison.cells)} cells failed; {cell}: {reason}")
    return write_results(folder)


def run_cells(comparison: Comparison, folder: Path, jobs: int, progress: Progress) -> dict[str, str]:
    """Run all cells in worker processes, which end with this process.

    Returns:
        Name of each cell that failed -> why.
    """
    failed: dict[str, str] = {}
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), initializer=begin_worker, initargs=(str(ProcessName.own()),)
    )
    try:
        with safe_children():  # they start here
            waiting = {
                pool.submit(run_cell, comparison, data, seed, folder): cell_name(data, seed)
                for data, seed in comparison.cells
            }
        for done in as_completed(waiting):
            try:
                done.result()
            except InputError:
                raise
            except Exception as error:  # run the other cells anyway
                failed[waiting[done]] = raised(error)
            progress.step()
            write_results(folder)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in set(multiprocessing.active_children()) - others:  # or each would first end its cell
            worker.kill()
        raise
    pool.shutdown()
    return failed


class Identified(Protocol):
    """A comparison of either kind."""

    def identity(self) -> dict[str, Any]:
        """What two comparisons must have in common to share a folder."""


def check_folder(comparison: Identified, folder: Path, command: str = "") -> None:
    """Claim a folder for a comparison, or check that it holds this one.

    Args:
        comparison: What to compare.
        folder: The folder.
        command: How to repeat the comparison. The first command is kept; later ones may add methods, seeds or data.

    Raises:
        InputError: It holds another comparison, one whose seeds are derived otherwise, or other files.
    """
    path, identity = folder / "comparison.json", comparison.identity()
    if path.exists():
        recorded = read_object(path)
        if recorded.get("seed_scheme") != SEED_SCHEME:
            version = (recorded.get("versions") or {}).get("nni_hypens", "unknown")
            got = f"{folder}, begun with a version of nni_hypens ({version}) that seeds networks otherwise"
            raise InputError("out", got, "another folder; the results and the page of this one stay as they are")
        for name, value in identity.items():
            if recorded.get(name) != value:
                raise InputError(name, value, f"{recorded.get(name)}, as in {folder}, or another folder")
        return
    ours = (LOCK, f".{path.name}.*.tmp")  # kill -9 may leave a file that does not have its name yet
    if folder.exists() and not all(any(map(found.match, ours)) for found in folder.iterdir()):
        raise InputError("out", f"{folder}, which holds other files", "an empty or new folder")
    write_json(path, identity | {"seed_scheme": SEED_SCHEME, "versions": versions(), "command": command})


def check_same_data(checksums: dict[str, str], folder: Path) -> None:
    """Check that the data sets are those with which the folder was begun, and note new ones.

    Args:
        checksums: Data set -> checksum of its images and labels.
        folder: Folder of the comparison.

    Raises:
        InputError: Images or labels of a data set have changed: methods would be compared on different data.
    """
    path = folder / "data.json"
    known = read_object(path) if path.exists() else {}
    for data, value in checksums.items():
        if known.get(data, value) != value:
            got = f"{data} with other images or labels than when {folder} was begun"
            raise InputError("data", got, "the same data, or another folder")
    if known.keys() != known.keys() | checksums.keys():
        write_json(path, {**known, **checksums})


def write_results(folder: Path) -> pd.DataFrame:
    """Write `results.csv`: every outcome in the folder, sorted."""
    return write_table(folder, [read_object(path) for path in folder.glob("*/outcomes/*.json")])


def write_table(folder: Path, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Write rows as `results.csv`, sorted."""
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table = table.astype({"supernet_spearman": float, "ranked_architectures": float})  # None is NaN
    table = table.sort_values(
        ["data", "members", "method", "seed"],
        key=lambda column: column.map(method_order) if column.name == "method" else column,
    ).reset_index(drop=True)
    write_text(folder / "results.csv", table.to_csv(index=False))
    return table
