"""Choosing the base architecture: the lowest validation loss on the supernet among drawn architectures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
import torchmetrics

from nni_hypens.errors import InputError
from nni_hypens.search.supernet import Supernet, batch_statistics
from nni_hypens.space.architecture import Sample

BUDGET_DRAWS = 200
"""Random architectures that are tried for a base within the budget."""


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


LossFn = Callable[[Sample], float]


def best_by_loss(samples: list[Sample], loss: LossFn) -> tuple[Sample, float]:
    """The architecture with the lowest loss, the first of them on a tie, and its loss.

    Raises:
        InputError: Every loss is NaN.
    """
    losses = [loss(sample) for sample in samples]
    finite = [(value, index) for index, value in enumerate(losses) if value == value]
    if not finite:
        raise InputError(
            "loss", "NaN for every architecture of the supernet", "a finite validation loss; lower the learning rate"
        )
    value, index = min(finite)
    return samples[index], value
