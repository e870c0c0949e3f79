"""A space whose networks normalise maps of one pixel, which takes two images."""

from __future__ import annotations

import torch
from nni.nas.nn.pytorch import LayerChoice, ModelSpace
from torch import nn


class OnePixel(ModelSpace):
    """Normalises maps of one pixel; its two heads have the same weights, and an option may not fit."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 8), nn.BatchNorm2d(4))
        self.op = LayerChoice({"same": nn.Conv2d(4, 4, 1), "other": nn.Conv2d(4, width, 1)}, label="op")
        self.more = LayerChoice([nn.Identity(), nn.ReLU()], label="more")
        self.head, self.again = nn.Linear(4, 4), nn.Linear(4, 4)
        self.again.weight = self.head.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.again(self.head(self.more(self.op(self.stem(x))).flatten(1)))
