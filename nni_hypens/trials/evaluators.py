"""The command line's evaluator: image classification with AdamW and a cosine schedule, on NNI's Lightning evaluator."""

from __future__ import annotations

from typing import Any

import nni
import pytorch_lightning as pl
import torch
from nni.nas.evaluator.pytorch import ClassificationModule, Lightning, Trainer


@nni.trace
class ImageClassification(ClassificationModule):  # type: ignore[misc]
    """NNI's ``ClassificationModule`` (cross-entropy, accuracy) with AdamW and a cosine schedule over ``epochs``.

    Args:
        num_classes: Classes C, at least 2.
        learning_rate: Initial learning rate; the schedule ends at a hundredth of it.
        weight_decay: Decoupled weight decay.
        epochs: Length of the schedule, in epochs.
    """

    def __init__(self, num_classes: int, learning_rate: float, weight_decay: float, epochs: int) -> None:
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, num_classes=num_classes)
        self.epochs = epochs

    def configure_optimizers(self) -> Any:
        rate, decay = self.hparams["learning_rate"], self.hparams["weight_decay"]
        optimizer = torch.optim.AdamW(self.parameters(), lr=rate, weight_decay=decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs, eta_min=rate / 100)
        return [optimizer], [schedule]


def image_evaluator(
    data: pl.LightningDataModule,
    num_classes: int,
    epochs: int,
    learning_rate: float = 0.01,
    weight_decay: float = 1e-3,
) -> Lightning:
    """A quiet NNI evaluator that trains for ``epochs`` on a data module. It serialises to a few lines of JSON.

    Args:
        data: Data module wrapped by ``nni.trace``.
        num_classes: Classes C.
        epochs: Epochs, at least 1.
        learning_rate: Initial learning rate of AdamW.
        weight_decay: Decoupled weight decay.
    """
    return Lightning(
        ImageClassification(num_classes, learning_rate, weight_decay, epochs),
        Trainer(
            max_epochs=epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        ),
        datamodule=data,
    )
