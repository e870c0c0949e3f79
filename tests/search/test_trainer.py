from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from nni.nas.evaluator.pytorch import Classification, DataLoader
from nni.nas.experiment import NasExperiment
from pytorch_lightning.callbacks import EarlyStopping

from nni_hypens import EdgeNES, InputError
from nni_hypens.search.trainer import check_trainer
from tests.support.searches import config, tiny


def test_bfloat16(tmp_path: Path) -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(64, 1, 8, 8), torch.randint(10, (64,))
    loader = DataLoader(torch.utils.data.TensorDataset(images, labels), 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = Classification(
            num_classes=10,
            train_dataloaders=loader,
            val_dataloaders=loader,
            max_epochs=3,
            precision="bf16-mixed",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
        )
        strategy = EdgeNES()
        experiment = NasExperiment(tiny(), evaluator, strategy, config(tmp_path))
        experiment.start()
        experiment.stop()
    assert strategy.sampler.hypernetwork.values.dtype == torch.float32
    assert len(strategy.history) == 3 and len(strategy.sample(2.0, 3)) == 3


def trainer(**settings: Any) -> pl.Trainer:
    return pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"precision": "bf16-mixed"},
        {"precision": 64},
        {"devices": 2, "strategy": "ddp_find_unused_parameters_true"},
        {"devices": 2, "strategy": "ddp_fork_find_unused_parameters_true"},
    ],
)
def test_trainers_that_work(settings: dict[str, Any]) -> None:
    check_trainer(trainer(**settings))


@pytest.mark.parametrize(
    ("settings", "field", "way_out"),
    [
        ({"accumulate_grad_batches": 2}, "accumulate_grad_batches", "larger batch"),
        ({"gradient_clip_val": 1.0}, "gradient_clip_val", r"EdgeNES\(gradient_clip_val"),
        ({"precision": "bf16-true"}, "precision", "bf16-mixed"),
        ({"max_steps": 100}, "max_steps: got 100", "max_epochs"),
        ({"max_time": {"minutes": 1}}, "max_time", "max_epochs"),
        ({"callbacks": [EarlyStopping("val_loss")]}, "callbacks in the trainer: got EarlyStopping", "hypernetwork"),
        ({"devices": 2, "strategy": "ddp"}, "strategy", "ddp_find_unused_parameters_true"),
    ],
)
def test_trainers_that_cannot_work(settings: dict[str, Any], field: str, way_out: str) -> None:
    with pytest.raises(InputError, match=f"^{field}.*{way_out}"):
        check_trainer(trainer(**settings))
