"""Accuracy of the ensemble against the epochs of search, for EdgeNES and for an ensemble of DARTS searches.

    python -m tests.benchmarks.paper_iterations --out runs/paper_iterations

As in the authors' code, architectures are saved after each epoch of a search (`--save-each-epoch`), and networks are
trained from those of some epochs. Epochs of DartsEns are those of its searches added up: each has a third of
the epochs of EdgeNES. The areas under both curves are compared by Student's t-test, as the authors do.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from nni_hypens.compare.bench import Clock, Network, Workbench
from nni_hypens.compare.searches import STRATEGIES, run_strategy
from nni_hypens.run.plan import search_evaluator
from nni_hypens.run.search_stage import search_stage
from nni_hypens.run.settings import Settings
from nni_hypens.search.schedule import Schedule
from nni_hypens.space.architecture import Sample
from nni_hypens.utils.files import read_json, write_json
from nni_hypens.utils.progress import Progress
from nni_hypens.utils.run_files import RunFiles
from nni_hypens.utils.seeds import Purpose, derive_seed
from tests.benchmarks.paper_runs import Row, Study, accuracy, bench_of, best_of, main


class EpochArchitectures(Callback):
    """Notes what a one-shot strategy of NNI would export after each epoch."""

    def __init__(self) -> None:
        self.found: list[Sample] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module: Any = pl_module
        self.found.append(dict(module.export()))


def darts_by_epoch(bench: Workbench, settings: Settings, epochs: int, index: int) -> tuple[list[Sample], float]:
    """The architecture of a DARTS search after each of its epochs, and the seconds of the search."""
    searcher = Workbench(bench.plan, bench.folder / "darts", search_evaluator(settings, bench.plan.data, epochs))
    notes = EpochArchitectures()

    def prepare() -> Callable[[Any, Any], list[Sample]]:
        strategy = STRATEGIES["darts"]()

        def search(space: Any, evaluator: Any) -> list[Sample]:
            evaluator.trainer.callbacks.append(notes)
            last = run_strategy(strategy, space, evaluator, searcher.folder / "nni")
            assert notes.found[-1] == last
            return notes.found

        return search

    seed = derive_seed(bench.seed, Purpose.NNI_SEARCH, "darts", index)
    found, seconds = searcher.search(f"darts-{index}", seed, prepare)
    return [bench.structure.table.validate(sample, "darts") for sample in found], seconds


def edgenes_by_epoch(bench: Workbench) -> tuple[dict[int, list[Sample]], float]:
    """Epochs of search -> the pool of architectures after them, and the seconds of the search."""
    folder, clock = bench.folder / "searches" / "epochs", Clock()
    files, path = RunFiles(folder).search, folder / "cost.json"
    if not path.exists():
        shutil.rmtree(folder, ignore_errors=True)  # continuing an interrupted search would hide part of its cost
        with clock.running():
            search_stage(bench.plan, folder, Progress(quiet=True), save_each_epoch=True)
        write_json(path, clock.seconds)
    pools = [read_json(file) for file in sorted((files.folder / "epochs").glob("epoch-*.json"))]
    return {pool["epochs"]: [one["architecture"] for one in pool["pool"]] for pool in pools}, read_json(path)


def distinct(bench: Workbench, samples: list[Sample]) -> list[Network]:
    """A network of each; an architecture that occurs again gets another network."""
    seen: dict[object, int] = {}
    networks = []
    for sample in samples:
        key = bench.structure.key(sample)
        networks.append(bench.network(sample, seen.get(key, 0)))
        seen[key] = seen.get(key, 0) + 1
    return networks


def epochs_of(settings: Settings) -> list[int]:
    """Epochs of EdgeNES after which both have an ensemble: whole epochs of DartsEns, in the hypernetwork's phase."""
    schedule = Schedule.plan(settings.search_epochs, settings.warmup_epochs, settings.base_epochs, False)
    members = settings.ensemble_size
    return [epoch for epoch in range(schedule.hypernetwork + 1, settings.search_epochs + 1) if epoch % members == 0]


def rows_of(settings: Settings, folder: Path, options: Row) -> dict[str, list[Row]]:
    """Accuracy of both ensembles after each of these epochs."""
    bench, members = bench_of(settings, folder), settings.ensemble_size
    pools, ours_s = edgenes_by_epoch(bench)
    darts = [darts_by_epoch(bench, settings, settings.search_epochs // members, index) for index in range(members)]
    theirs_s = sum(seconds for _, seconds in darts)
    rows = []
    for epoch in epochs_of(settings):
        chosen = best_of(bench, distinct(bench, pools[epoch]), members)
        ensemble = distinct(bench, [found[epoch // members - 1] for found, _ in darts])
        share = epoch / settings.search_epochs
        for method, networks, seconds in (("edgenes", chosen, ours_s), ("darts_ensemble", ensemble, theirs_s)):
            row = {"method": method, "epochs": epoch, "accuracy": accuracy(bench, networks)}
            rows.append({**row, "search_s": share * seconds})
    return {"iterations": rows}


STUDY = Study(
    "paper_iterations",
    "Accuracy of ensembles against epochs of search, for EdgeNES and DartsEns.",
    {
        "data": "examples.small_data:fashion_mnist_14",
        "train_size": 300,
        "validation_size": 300,
        "test_size": 2000,
        "batch_size": 32,
        "space_args": {"channels": 4},
        "candidates": 4,
        "search_epochs": 18,
        "warmup_epochs": 3,
        "base_epochs": 3,
        "epochs": 40,
    },
    {"candidates": 3, "search_epochs": 6, "warmup_epochs": 1, "base_epochs": 1},
    rows_of,
)

if __name__ == "__main__":
    main(STUDY)
