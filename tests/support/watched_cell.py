"""A space that notes the batches and paths of each process of its search, in the folder that the environment says."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from search_spaces import OneCell


class WatchedCell(OneCell):
    """The one-cell space; ``WATCHED`` is a folder, in which each process gets a file."""

    def __init__(self, channels: int = 2, nodes: int = 1, in_channels: int = 1, num_classes: int = 10) -> None:
        super().__init__(channels=channels, nodes=nodes, in_channels=in_channels, num_classes=num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if "WATCHED" in os.environ and self.training and torch.is_grad_enabled():
            path = [module._sampled for module in self.modules() if hasattr(module, "_sampled")]
            with (Path(os.environ["WATCHED"]) / os.environ.get("LOCAL_RANK", "0")).open("a") as noted:
                noted.write(f"{len(images)};{images.double().sum():.6f};{path}\n")
        return super().forward(images)
