"""Searches that are killed, and searches over several processes; each in a forked child, which has NNI loaded."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from nni.nas.evaluator.pytorch import Classification, DataLoader
from nni.nas.experiment import NasExperiment, NasExperimentConfig
from nni.nas.nn.pytorch import InputChoice, LayerChoice, ModelSpace
from torch import nn

from nni_hypens import EdgeNES, ImageData, image_evaluator
from search_spaces import OneCell
from tests.support.forked import ROOT, Forked
from tests.support.loaded import PATIENCE

EPOCHS = 10
KILLS = 10


def run(space: ModelSpace, evaluator: Any, strategy: EdgeNES, folder: Path) -> EdgeNES:
    config = NasExperimentConfig("sequential", "raw", "local")
    config.experiment_working_directory = str(folder / "nni")
    experiment = NasExperiment(space, evaluator, strategy, config)
    experiment.start()
    experiment.stop()
    return strategy


def search_cell(data: ImageData, folder: Path) -> EdgeNES:
    torch.manual_seed(0)
    strategy = EdgeNES(checkpoint_dir=folder / "checkpoint", seed=1)
    return run(OneCell(channels=2, in_channels=1), image_evaluator(data, 10, EPOCHS), strategy, folder)


def save(strategy: EdgeNES, folder: Path) -> None:
    strategy.sampler.save(folder)
    strategy.save_supernet(folder / "supernet.safetensors")


def search_and_save(folder: Path) -> None:
    """As a child does it; also writes the seconds it computed, which do not depend on what else the machine does."""
    save(search_cell(ImageData("digits", train_size=256, validation_size=128, batch_size=64), folder), folder)
    (folder / "seconds").write_text(str(time.process_time()))


def computed(child: Forked, seconds: float) -> Callable[[], bool]:
    """Whether a child has computed for so long, or is over."""
    process = psutil.Process(child.pid)

    def has() -> bool:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            return True
        return child.ended() or times.user + times.system >= seconds

    return has


@pytest.mark.end_to_end
def test_kill_at_ten_random_moments_changes_nothing(tmp_path: Path) -> None:
    """kill -9 while the search runs or writes a checkpoint; base, hypernetwork and weights are those of a whole run."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert Forked(partial(search_and_save, whole)).wait() == 0
    length = float((whole / "seconds").read_text())
    moments = torch.rand(KILLS, generator=torch.Generator().manual_seed(int(os.environ.get("KILL_SEED", "0"))))
    killed = 0
    for moment in moments.tolist():
        child = Forked(partial(search_and_save, cut))
        # most searches are cut early, so that one of them is left after ten kills
        reached = computed(child, 0.4 * length * moment + 0.1)
        while not reached():
            time.sleep(0.002)
        if not child.ended():
            child.kill()
            killed += 1
    assert Forked(partial(search_and_save, cut)).wait() == 0
    assert killed >= KILLS // 2
    for name in ("base.json", "hypernetwork.safetensors", "supernet.safetensors"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), name


class Small(ModelSpace):
    """Layers, and two of three inputs; no BatchNorm, whose statistics are each process's own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (LayerChoice(self.layers(), label=label) for label in ("first", "second"))
        self.pick = InputChoice(3, n_chosen=2, label="pick")
        self.head = nn.Linear(8, 3)

    @staticmethod
    def layers() -> dict[str, nn.Module]:
        return {"linear": nn.Linear(8, 8), "tanh": nn.Sequential(nn.Linear(8, 8), nn.Tanh()), "skip": nn.Identity()}

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        first = self.first(inputs)
        return self.head(self.pick([inputs, first, self.second(first)]))


class Slices(torch.utils.data.Sampler):
    """Batches of ``size`` in order, of which each process gets its part."""

    def __init__(self, total: int, size: int) -> None:
        self.total, self.size = total, size

    def place(self) -> tuple[int, int]:
        started = dist.is_available() and dist.is_initialized()
        return (dist.get_rank(), dist.get_world_size()) if started else (0, 1)

    def __iter__(self) -> Any:
        rank, ranks = self.place()
        part = self.size // ranks
        starts = range(rank * part, self.total, self.size)
        return iter([index for start in starts for index in range(start, start + part)])

    def __len__(self) -> int:
        return self.total // self.place()[1]


class Paths(pl.Callback):
    """Writes the paths and lams that a process sees."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: list[str] = []

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, index: int) -> None:
        if module.supernet.set_path.__name__ != "watched":
            set_path, draw_lam = module.supernet.set_path, module._draw_lam

            def watched(sample: dict[str, Any]) -> None:
                self.seen.append(repr(sample))
                set_path(sample)

            def lams(*args: Any) -> torch.Tensor:
                lam = draw_lam(*args)
                self.seen.append(repr(lam.tolist()))
                return lam

            module.supernet.set_path = watched
            module._draw_lam = lams

    def on_train_end(self, trainer: pl.Trainer, module: Any) -> None:
        (self.folder / f"seen-{trainer.global_rank}.txt").write_text("\n".join(self.seen), encoding="utf-8")


def search_small(folder: Path, devices: int) -> EdgeNES:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    inputs = torch.randn(128, 8, dtype=torch.float64)
    labels = (inputs @ torch.randn(8, 3, dtype=torch.float64)).argmax(1)
    loaders = [
        DataLoader(torch.utils.data.TensorDataset(inputs, labels), 32 // devices, sampler=Slices(128, 32))
        for _ in range(2)
    ]
    evaluator = Classification(
        num_classes=3,
        train_dataloaders=loaders[0],
        val_dataloaders=loaders[1],
        max_epochs=6,
        accelerator="cpu",
        devices=devices,
        strategy="ddp_fork_find_unused_parameters_true" if devices > 1 else "auto",
        use_distributed_sampler=False,
        precision="64-true",  # in 32 bits Adam makes much of the rounding of gradients that are nearly zero
        callbacks=[Paths(folder)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    return run(Small(), evaluator, EdgeNES(seed=3), folder)


def compare_one_and_two(folder: Path) -> None:
    """Search on one process and on two, and compare."""
    one, two = search_small(folder / "one", 1), search_small(folder / "two", 2)
    assert one.base_architecture == two.base_architecture and one.structure.table == two.structure.table
    values = [strategy.sampler.hypernetwork.values.double() for strategy in (one, two)]
    assert torch.allclose(*values, atol=1e-5)
    for row, other in zip(one.history, two.history, strict=True):
        for name in ("loss", "val_loss", "accuracy", "regularizer"):
            assert row[name] == other[name] or row[name] == pytest.approx(other[name], rel=1e-6), name
    assert [c.architecture for c in one.pool(6)] == [c.architecture for c in two.pool(6)]
    weights = [strategy.trained_supernet.model.state_dict() for strategy in (one, two)]
    for name, value in weights[0].items():
        assert torch.allclose(value.double(), weights[1][name].double(), atol=1e-5), name
    seen = [(folder / place).read_text() for place in ("one/seen-0.txt", "two/seen-0.txt", "two/seen-1.txt")]
    assert len(seen[0].splitlines()) > 40 and seen[0] == seen[1] == seen[2]


def test_two_processes_search_as_one(tmp_path: Path) -> None:
    """The same global batches on one process and on two (gloo): the same architectures, the same numbers up to rounding
    (sums are taken in another order)."""
    command = [sys.executable, "-W", "ignore", __file__, str(tmp_path)]  # Lightning forks no process that was forked
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ROOT}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


if __name__ == "__main__":
    compare_one_and_two(Path(sys.argv[1]))
