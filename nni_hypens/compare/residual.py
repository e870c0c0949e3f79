"""A residual network designed by hand, as large as the networks of a space: what one would train without a search."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from nni_hypens.space.cost import Cost, count_flops

SHAPES = tuple(itertools.product((1, 2), (2, 3), (1, 2)))
"""Blocks in each stage, stages, and growth of the width from stage to stage that are tried to meet a size."""
FEW = (2, 4, 8)
"""Widths whose networks are counted."""


@dataclass(frozen=True)
class Residual:
    """Sizes of a residual network.

    Args:
        width: Channels of the first stage, at least 1.
        blocks: Basic blocks in each stage.
        stages: Stages; each but the first halves the image.
        growth: Factor of the channels from one stage to the next.

    Examples:
        >>> Residual(width=4, blocks=1, stages=2).network(in_channels=1, num_classes=10)(torch.zeros(3, 1, 8, 8)).shape
        torch.Size([3, 10])
    """

    width: int
    blocks: int = 1
    stages: int = 2
    growth: int = 1

    def network(self, in_channels: int, num_classes: int, layers: Layers | None = None) -> ResidualNetwork:
        """A network of these sizes with new weights."""
        return ResidualNetwork(self, in_channels, num_classes, layers)

    def cost(self, input_shape: Sequence[int], num_classes: int) -> Cost:
        """Parameters, and FLOPs of one image (a multiply-add counted as two)."""
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            network = self.network(input_shape[0], num_classes).eval()
            flops = count_flops(network, torch.zeros(1, *input_shape))
        return Cost(sum(parameter.numel() for parameter in network.parameters()), flops)


class Layers:
    """The layers that a residual network is made of."""

    def convolution(self, channels: int, out: int, stride: int, first: bool = False) -> tuple[nn.Module, nn.Module]:
        """A 3x3 convolution and its batch normalisation; `first` if its input is the image."""
        return nn.Conv2d(channels, out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out)

    def head(self, channels: int, num_classes: int) -> nn.Module:
        """From the means of the last channels to logits."""
        return nn.Linear(channels, num_classes)

    def widened(self, state: torch.Tensor, channels: int, out: int) -> torch.Tensor:
        """A state with channels of zeros added, from `channels` to `out`."""
        return F.pad(state, (0, 0, 0, 0, 0, out - channels))


class ResidualNetwork(nn.Module):
    """The residual network for small images of He et al. 2016 (CIFAR), with free sizes.

    A convolution, stages of basic blocks, the mean over all places, and a linear layer. A block is two 3x3
    convolutions, each with batch normalisation, and a shortcut without parameters (their option A). With `growth=1`
    the width is constant, unlike theirs.

    Args:
        sizes: The sizes.
        in_channels: Channels of the images.
        num_classes: Classes.
        layers: Its layers; None for plain ones.

    Input ``B x in_channels x H x W``; output logits ``B x num_classes``.
    """

    def __init__(self, sizes: Residual, in_channels: int, num_classes: int, layers: Layers | None = None) -> None:
        super().__init__()
        kit = layers or Layers()
        width = sizes.width
        parts: list[nn.Module] = [*kit.convolution(in_channels, width, 1, first=True), nn.ReLU()]
        for stage in range(sizes.stages):
            for block in range(sizes.blocks):
                first = stage > 0 and block == 0
                out = width * sizes.growth if first else width
                parts.append(BasicBlock(width, out, 2 if first else 1, kit))
                width = out
        self.features = nn.Sequential(*parts)
        self.head = kit.head(width, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.features(images).mean(dim=(2, 3)))
        return logits


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut, ``B x channels x H x W`` -> ``B x out x H/stride x W/stride`` (rounded up)."""

    def __init__(self, channels: int, out: int, stride: int, kit: Layers) -> None:
        super().__init__()
        self.stride, self.channels, self.out, self.kit = stride, channels, out, kit
        self.residual = nn.Sequential(*kit.convolution(channels, out, stride), nn.ReLU(), *kit.convolution(out, out, 1))

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        shortcut = state[:, :, :: self.stride, :: self.stride]
        return F.relu(self.residual(state) + self.kit.widened(shortcut, self.channels, self.out))


@cache
def residual_of_size(params: float, flops: float, input_shape: tuple[int, ...], num_classes: int) -> Residual:
    """Sizes with which a residual network comes closest to so many parameters and FLOPs.

    Closest is the smallest of the largest factor between the two numbers and those asked for.

    Args:
        params: Parameters asked for.
        flops: FLOPs of one image asked for, a multiply-add counted as two.
        input_shape: Channels, height and width.
        num_classes: Classes.

    Examples:
        >>> residual_of_size(6_778, 1_564_576, (1, 14, 14), 10)
        Residual(width=13, blocks=1, stages=2, growth=1)
    """

    found: list[tuple[float, Residual]] = []
    widths = np.arange(1, 3 + math.isqrt(math.ceil(params)))
    for blocks, stages, growth in SHAPES:
        few = [Residual(width, blocks, stages, growth).cost(input_shape, num_classes) for width in FEW]
        # both numbers are polynomials of the second degree in the width
        counts = [np.polyval(np.polyfit(FEW, values, 2), widths) for values in zip(*few, strict=True)]
        factors = np.abs(np.log([counts[0] / params, counts[1] / flops])).max(axis=0)
        best = int(factors.argmin())
        found.append((float(factors[best]), Residual(int(widths[best]), blocks, stages, growth)))
    return min(found, key=lambda one: one[0])[1]
