"""Short searches on digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from nni.nas.experiment import NasExperiment, NasExperimentConfig

from nni_hypens import EdgeNES, ImageData, image_evaluator
from search_spaces import OneCell


def tiny() -> OneCell:
    torch.manual_seed(0)
    return OneCell(channels=2, in_channels=1)


def config(folder: Path) -> NasExperimentConfig:
    result = NasExperimentConfig("sequential", "raw", "local")
    result.experiment_working_directory = str(folder / "nni")
    return result


def run_search(folder: Path, strategy: EdgeNES, data: ImageData, space: Any = None, epochs: int = 3) -> EdgeNES:
    experiment = NasExperiment(space or tiny(), image_evaluator(data, 10, epochs), strategy, config(folder))
    experiment.start()
    experiment.stop()
    return strategy


def losses(strategy: EdgeNES) -> list[float]:
    return [row["loss"] for row in strategy.history]
