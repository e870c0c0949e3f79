"""Cost of one search step: EdgeNES against NNI's DARTS and RandomOneShot, as ratios from one run.

    python tests/benchmarks/search_step.py [--steps 6] [--out FILE.json]

CPU seconds of one thread, the median over steps after a first one; extra memory is the peak of the process during the
search above what it held before. Each search runs in a process of its own, one after the other, so absolute times say
little.
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
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
SPACES = {"OneCell, C=10, 32x32, batch 64": "one_cell", "hub DARTS, width 8, 3 cells, 32x32, batch 64": "darts"}
STRATEGIES = ("edgenes", "random", "darts")
LIMITS = {"one_cell": 0.15, "darts": 0.10}


def measure(space_name: str, strategy_name: str, steps: int) -> dict[str, Any]:
    """One search of ``steps`` steps in this process."""
    from nni_hypens._compat import quiet_logging, quiet_training

    quiet_training()
    import psutil
    import pytorch_lightning as pl
    import torch
    from nni.nas.evaluator.pytorch import Classification, DataLoader
    from nni.nas.experiment import NasExperiment
    from nni.nas.strategy import DARTS, RandomOneShot

    from nni_hypens import EdgeNES
    from search_spaces import OneCell, darts

    torch.set_num_threads(1)
    torch.manual_seed(0)

    class Timer(pl.Callback):
        seconds: list[float] = []

        def on_train_batch_start(self, *args: Any) -> None:
            self.begin = time.process_time()

        def on_train_batch_end(self, *args: Any) -> None:
            self.seconds.append(time.process_time() - self.begin)

    space = OneCell(channels=10) if space_name == "one_cell" else darts("tiny")
    # one epoch of base search, then one of the hypernetwork: only the second is what is measured
    strategy: Any
    if strategy_name == "edgenes":
        strategy, epochs = EdgeNES(warmup_epochs=0, base_epochs=1, base_draws=1), 2
    else:
        strategy, epochs = (DARTS() if strategy_name == "darts" else RandomOneShot()), 1
    images = torch.randn(64 * steps, 3, 32, 32)
    loader = DataLoader(torch.utils.data.TensorDataset(images, torch.randint(10, (64 * steps,))), 64, shuffle=True)
    timer = Timer()
    evaluator = Classification(
        num_classes=10,
        train_dataloaders=loader,
        val_dataloaders=loader,
        max_epochs=epochs,
        callbacks=[timer],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0 if strategy_name == "random" else None,
    )
    quiet_logging(logging.ERROR)
    before = psutil.Process().memory_info().rss
    NasExperiment(space, evaluator, strategy).run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"step_s": statistics.median(timer.seconds[-steps:][1:]), "extra_mb": max(peak - before, 0) / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--out")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one, arguments.steps)))
        return
    results: dict[str, Any] = {}
    for title, space in SPACES.items():
        rows = {}
        for strategy in STRATEGIES:
            command = [sys.executable, __file__, "--steps", str(arguments.steps), "--one", space, strategy]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            rows[strategy] = json.loads(output.strip().splitlines()[-1])
        time_ratio = rows["edgenes"]["step_s"] / rows["darts"]["step_s"]
        memory_ratio = rows["edgenes"]["extra_mb"] / rows["darts"]["extra_mb"]
        results[title] = {
            **rows,
            "time_vs_darts": time_ratio,
            "memory_vs_darts": memory_ratio,
            "time_vs_random": rows["edgenes"]["step_s"] / rows["random"]["step_s"],
        }
        ours, mixture, path = (rows[strategy] for strategy in ("edgenes", "darts", "random"))
        print(f"{title}")
        print(f"  CPU s of a step: EdgeNES {ours['step_s']:.3f}, DARTS {mixture['step_s']:.3f}, ", end="")
        print(f"RandomOneShot (weights only) {path['step_s']:.3f}")
        print(f"  time / DARTS   {time_ratio:.3f} (bar {LIMITS[space]:.2f}), ", end="")
        print(f"time / RandomOneShot {results[title]['time_vs_random']:.2f}")
        print(f"  memory / DARTS {memory_ratio:.3f} (bar 0.25); extra MB: EdgeNES {ours['extra_mb']:.0f}, ", end="")
        print(f"DARTS {mixture['extra_mb']:.0f}, RandomOneShot {path['extra_mb']:.0f}", flush=True)
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
