"""Which device the batches of a data module are needed on, and data that stay there."""

from __future__ import annotations

import warnings

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerStatus

from nni_hypens.errors import InputWarning

LARGEST = 4 * 2**30
"""Bytes of training and validation images together that stay on a GPU: each process of a GPU holds a copy."""
CPU = torch.device("cpu")


def place_of(trainer: pl.Trainer | None) -> tuple[torch.device, int]:
    """Device of the trainer that asks for batches, and how many processes share each batch; the host if none asks.

    Args:
        trainer: The last trainer that got the data module, which may be done; None before the first.
    """
    if trainer is None or trainer.state.status != TrainerStatus.RUNNING:
        return CPU, 1
    return trainer.strategy.root_device, trainer.world_size


class Resident:
    """The splits that are on a device, each sent once."""

    def __init__(self) -> None:
        self._splits: dict[tuple[str, torch.device], tuple[torch.Tensor, torch.Tensor]] = {}
        self._told = False

    def fits(self, size: int, device: torch.device) -> bool:
        """Whether images of so many bytes stay on a device. A warning says so once if they do not."""
        if device.type == "cpu":
            return False
        if size > LARGEST and not self._told:
            self._told = True
            text = (
                f"data: {size:,} bytes of images, more than the {LARGEST:,} that stay on {device}; each batch is sent"
            )
            warnings.warn(text, InputWarning, stacklevel=2)
        return size <= LARGEST

    def put(
        self, name: str, images: torch.Tensor, labels: torch.Tensor, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and labels of a split on a device."""
        key = (name, device)
        if key not in self._splits:
            self._splits[key] = (images.to(device), labels.to(device))
        return self._splits[key]
