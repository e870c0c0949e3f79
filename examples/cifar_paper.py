"""CIFAR-10 or CIFAR-100 with the settings of the EdgeNES paper.

    python -m examples.cifar_paper --data cifar100

As in the paper: one cell, K = 5 pivots, lam from U[-0.2, n_edges + 0.2], 150 epochs of search, Adam with betas (0.5,
0.999) for the architecture, a regulariser weight from 0.3 to 3 with a temperature from 1 to 0.05, ensembles of 3.
Different: one sampled path per step instead of every operation (`--paths all` runs every operation), a warm-up,
validation data separate from test data, and a squared error divided by the number of edges, so the same weight acts a
quarter as strongly. Width and training of candidates are ours.

Lightning uses the GPU if there is one (`accelerator="auto"`). Tested on a CPU only; `--quick` takes a few steps on
generated images.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from nni.nas.evaluator.pytorch import Lightning, Trainer

from nni_hypens import ImageData, SharedEdges, search_ensemble
from nni_hypens.trials.evaluators import ImageClassification
from search_spaces import OneCell

SEARCH = {
    "pivots": 5,
    "epsilon": 0.2,
    "architecture_lr": 0.03,  # 0.02 to 0.3 in the paper
    "diversity": SharedEdges(weight=(0.3, 3.0), temperature=(1.0, 0.05)),
}


def made_up() -> dict[str, np.ndarray]:
    """Noise in the format of CIFAR-10; each class is slightly brighter than the previous one."""
    generator, arrays = np.random.default_rng(0), {}
    for part, count in (("train", 200), ("test", 50)):
        labels = np.arange(count) % 10
        noise = generator.integers(0, 156, (count, 32, 32, 3))
        arrays[f"x_{part}"] = (noise + 10 * labels[:, None, None, None]).astype(np.uint8)
        arrays[f"y_{part}"] = labels
    return arrays


def evaluator(data: ImageData, epochs: int, **options: Any) -> Lightning:
    """Cross-entropy, AdamW and a cosine schedule, on the accelerator that Lightning chooses."""
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(accelerator="auto", devices=1, max_epochs=epochs, num_sanity_val_steps=0, **quiet, **options)
    return Lightning(ImageClassification(data.num_classes, 0.01, 1e-3, epochs), trainer, datamodule=data)


def main() -> None:
    parser = argparse.ArgumentParser(description="CIFAR with the settings of the EdgeNES paper.")
    parser.add_argument("--data", choices=("cifar10", "cifar100"), default="cifar10")
    parser.add_argument("--root", help="folder with the files (default: download them)")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--paths", default="1", help="sampled paths per step, or all")
    parser.add_argument("--train-epochs", type=int, default=100, help="epochs of each candidate (default: 100)")
    parser.add_argument("--candidates", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few steps on generated images")
    parser.add_argument("--out", type=Path, help="run folder (default: runs/DATA-paper-SEED)")
    arguments = parser.parse_args()
    quick = arguments.quick

    source = "examples.cifar_paper:made_up" if quick else arguments.data
    data = ImageData(source, root=arguments.root, augment="crop_flip", batch_size=32 if quick else 64)
    few = {"limit_train_batches": 2} if quick else {}
    result = search_ensemble(
        OneCell(channels=2 if quick else arguments.channels, in_channels=3, num_classes=data.num_classes),
        evaluator(data, 1 if quick else arguments.train_epochs, **few),
        data,
        arguments.out or Path(f"runs/{arguments.data}-paper-{arguments.seed}{'-quick' * quick}"),
        search_evaluator=evaluator(data, 3 if quick else 150, **few),
        members=2 if quick else 3,
        candidates=2 if quick else arguments.candidates,
        adaptive=0,  # the paper draws all candidates from the hypernetwork
        per_trial=2 if quick else 1,
        stress_images=0 if quick else 256,
        seed=arguments.seed,
        quiet=quick,
        paths=arguments.paths if arguments.paths == "all" else int(arguments.paths),
        **SEARCH,
    )
    print(result.metrics.round(4).to_string())
    print(f"report: {result.out / 'report.html'}")


if __name__ == "__main__":
    main()
