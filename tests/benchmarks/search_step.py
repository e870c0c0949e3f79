"""Cost of one search step: EdgeNES against NNI's RandomOneShot and DARTS, as ratios from one run.

    python tests/benchmarks/search_step.py [--steps 40] [--out FILE.json]

RandomOneShot is the floor: one sampled path, forward, backward, step, on one batch. EdgeNES does the same on one batch
in its warm-up, and on two (architecture on validation data, weights on training data) in a search step; it is compared
with RandomOneShot on as many batches, and with a single step of it as well. Paths are drawn uniformly on both sides.

CPU seconds of one thread, the mean over steps after a first one (paths differ in cost); extra memory is the peak of the
process during the search above what it held before. Each search runs in a process of its own, one after the other, so
absolute times say little.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
SPACES = {
    "OneCell, C=10, 32x32, batch 64": "one_cell",
    "hub DARTS, width 8, 3 cells, 32x32, batch 64": "darts",
    "hub MobileNetV3Space, 64x64, batch 16": "mobilenet",
}
STRATEGIES = ("random", "warmup", "edgenes", "darts")
SHAPES = {"one_cell": (64, 32), "darts": (64, 32), "mobilenet": (16, 64)}
DARTS_STEPS = 5
"""The full mixture costs ten paths and more, and each step costs the same."""


def make_space(name: str) -> Any:
    """A fresh model space."""
    from nni.nas.hub.pytorch import MobileNetV3Space

    from search_spaces import OneCell, darts

    if name == "one_cell":
        return OneCell(channels=10)
    return darts("tiny") if name == "darts" else MobileNetV3Space(num_labels=10)


def step_seconds(
    start: Callable[[Any], Any], batch: int, size: int, classes: int, steps: int, epochs: int, validate: bool = True
) -> list[float]:
    """CPU seconds of each training step of what `start` does with an evaluator, on random images.

    Args:
        start: Searches or trains with the evaluator that it gets.
        batch: Images of a step.
        size: Height and width of an image, which has three channels.
        classes: Number of classes.
        steps: Steps in an epoch.
        epochs: How many epochs.
        validate: Whether there are batches of validation images.
    """
    import pytorch_lightning as pl
    import torch
    from nni.nas.evaluator.pytorch import Classification, DataLoader

    torch.set_num_threads(1)
    torch.manual_seed(0)

    class Timer(pl.Callback):
        seconds: list[float] = []

        def on_train_batch_start(self, *args: Any) -> None:
            self.begin = time.process_time()

        def on_train_batch_end(self, *args: Any) -> None:
            self.seconds.append(time.process_time() - self.begin)

    images = torch.randn(batch * steps, 3, size, size)
    loader = DataLoader(
        torch.utils.data.TensorDataset(images, torch.randint(classes, (batch * steps,))), batch, shuffle=True
    )
    timer = Timer()
    evaluator = Classification(
        num_classes=classes,
        train_dataloaders=loader,
        val_dataloaders=loader,
        max_epochs=epochs,
        callbacks=[timer],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=None if validate else 0,
    )
    start(evaluator)
    return timer.seconds


def measure(space_name: str, strategy_name: str, steps: int) -> dict[str, Any]:
    """One search of ``steps`` steps in this process."""
    from nni_hypens._nni import quiet_logging, quiet_training

    quiet_training()
    import psutil
    from nni.nas.experiment import NasExperiment
    from nni.nas.strategy import DARTS, RandomOneShot

    from nni_hypens import EdgeNES

    batch, size = SHAPES[space_name]
    epochs = 1 if strategy_name == "darts" else 2  # the memory of the optimiser grows with the paths it has seen
    strategy: Any = DARTS() if strategy_name == "darts" else RandomOneShot()
    if strategy_name == "edgenes":  # an epoch of one step chooses the base; a tiny rate keeps the paths uniform
        strategy = EdgeNES(warmup_epochs=0, base_epochs=1, base_draws=1, architecture_lr=1e-9)
    elif strategy_name == "warmup":
        strategy = EdgeNES(warmup_epochs=1, base_epochs=0, base_draws=1)
    before = 0

    def start(evaluator: Any) -> None:
        nonlocal before
        quiet_logging(logging.ERROR)
        before = psutil.Process().memory_info().rss
        NasExperiment(make_space(space_name), evaluator, strategy).run()

    seconds = step_seconds(start, batch, size, 10, steps, epochs, strategy_name != "random")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    kept = seconds[:steps] if strategy_name == "warmup" else seconds[-steps:]
    return {"step_s": statistics.fmean(kept[1:]), "extra_mb": max(peak - before, 0) / 2**20, "steps": len(kept) - 1}


def compare(rows: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Ratios of what was measured on one space."""
    ours, path = rows["edgenes"], rows["random"]
    ratios = {
        "warmup_vs_random": rows["warmup"]["step_s"] / path["step_s"],
        "search_vs_random_same_batches": ours["step_s"] / (2 * path["step_s"]),
        "search_vs_random_one_step": ours["step_s"] / path["step_s"],
        "memory_vs_random": ours["extra_mb"] / path["extra_mb"],
    }
    if "darts" in rows:
        ratios["time_vs_darts"] = ours["step_s"] / rows["darts"]["step_s"]
        ratios["memory_vs_darts"] = ours["extra_mb"] / rows["darts"]["extra_mb"]
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--spaces", nargs="*", default=list(SPACES.values()), help="; ".join(SPACES.values()))
    parser.add_argument("--out")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one, arguments.steps)))
        return
    results: dict[str, Any] = {}
    for title, space in SPACES.items():
        if space not in arguments.spaces:
            continue
        rows = {}
        for strategy in STRATEGIES:
            if (space, strategy) == ("mobilenet", "darts"):
                continue  # its channels and kernels are a mixture of their own, which costs what a path does
            steps = DARTS_STEPS if strategy == "darts" else arguments.steps
            command = [sys.executable, __file__, "--steps", str(steps), "--one", space, strategy]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            rows[strategy] = json.loads(output.strip().splitlines()[-1])
        results[title] = {**rows, **compare(rows)}
        print(title)
        for strategy, row in rows.items():
            print(f"  {strategy:8} {row['step_s']:.3f} CPU s a step, {row['extra_mb']:.0f} MB above the start")
        for name, value in compare(rows).items():
            print(f"  {name:32} {value:.3f}", flush=True)
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
