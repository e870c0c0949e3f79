"""The user's Lightning module, as the search calls it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
import torchmetrics

from nni_hypens.space.architecture import Sample
from nni_hypens.supernet import Supernet, batch_statistics


@torch.no_grad()
def path_loss(module: pl.LightningModule, supernet: Supernet, sample: Sample, batches: Sequence[Any]) -> torch.Tensor:
    """Mean loss of one path with inherited weights, BatchNorm by batch, a scalar.

    Args:
        module: The user's module, whose model is the supernet; its ``training_step`` gives the loss.
        supernet: The supernet.
        sample: The architecture.
        batches: Batches on the module's device.
    """
    supernet.set_path(sample)
    with batch_statistics(module):
        return torch.stack([loss_of(module.training_step(batch, 0)) for batch in batches]).mean()


class Silenced:
    """While open, the user's module logs nothing; afterwards its metrics are as new."""

    def __init__(self, module: pl.LightningModule) -> None:
        self.module = module

    def __enter__(self) -> None:
        self.log = self.module.log
        self.module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]

    def __exit__(self, *error: Any) -> None:
        self.module.log = self.log  # type: ignore[method-assign]
        for metric in self.module.modules():
            if isinstance(metric, torchmetrics.Metric):
                metric.reset()


def loss_of(output: Any) -> torch.Tensor:
    """The loss in what ``training_step`` returned."""
    loss: torch.Tensor = output["loss"] if isinstance(output, dict) else output
    return loss
