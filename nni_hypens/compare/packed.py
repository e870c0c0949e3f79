"""Packed ensembles (Laurent et al. 2023): the members are groups of one network, trained together.

The layers are those of torch-uncertainty, from the extra `packed`.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from nni_hypens.compare.residual import Layers, Residual

ALPHA, GAMMA = 2, 1
"""Width factor and groups within a member, as in the authors' configuration for ResNet-18 on CIFAR-10."""
PROBES, NEAR = 6, 0.9
"""Widths tried at most, and the share of the budget that is close enough to it."""
RESERVED = 0.15
"""Share of the budget that is left for timing these widths."""


def has_torch_uncertainty() -> bool:
    """Whether the extra is installed; importing it takes seconds."""
    return all(importlib.util.find_spec(name) is not None for name in ("torch_uncertainty", "lightning"))


class PackedLayers(Layers):
    """Layers of `members` networks side by side, each with `ALPHA / members` of the channels.

    Args:
        members: Members; `ALPHA` times each number of channels must be a multiple of it.
    """

    def __init__(self, members: int) -> None:
        self.members = members

    def convolution(self, channels: int, out: int, stride: int, first: bool = False) -> tuple[nn.Module, nn.Module]:
        from torch_uncertainty.layers import PackedConv2d

        layer = PackedConv2d(
            channels,
            out,
            3,
            alpha=ALPHA,
            num_estimators=self.members,
            gamma=GAMMA,
            stride=stride,
            padding=1,
            bias=False,
            first=first,
        )
        return layer, nn.BatchNorm2d(ALPHA * out)

    def head(self, channels: int, num_classes: int) -> nn.Module:
        from torch_uncertainty.layers import PackedLinear

        head: nn.Module = PackedLinear(channels, num_classes, ALPHA, self.members, GAMMA, last=True)
        return head

    def widened(self, state: torch.Tensor, channels: int, out: int) -> torch.Tensor:
        """Each member gets its own zeros."""
        more = ALPHA * (out - channels) // self.members
        batch, _, height, width = state.shape
        apart = state.reshape(batch, self.members, -1, height, width)
        return F.pad(apart, (0, 0, 0, 0, 0, more)).flatten(1, 2)


class PackedNetwork(nn.Module):
    """A residual network as a packed ensemble.

    In training its output is ``MB x num_classes``, the logits of the first member for the whole batch, then those of
    the second, and so on. In evaluation it is ``B x num_classes``, the logarithm of the members' mean probabilities.

    Args:
        sizes: Of the residual network that is packed; its members have `ALPHA / members` of the channels.
        members: Members M.
        in_channels: Channels of the images.
        num_classes: Classes.
    """

    def __init__(self, sizes: Residual, members: int, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.members = members
        self.network = sizes.network(in_channels, num_classes, PackedLayers(members))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(images)
        if self.training:
            return logits
        return self.by_member(logits).log_softmax(-1).logsumexp(1) - math.log(self.members)

    def by_member(self, logits: torch.Tensor) -> torch.Tensor:
        """``MB x num_classes`` as ``B x M x num_classes``."""
        return logits.reshape(self.members, -1, logits.shape[-1]).transpose(0, 1)


class EveryMember(nn.Module):
    """The logits ``B x M x num_classes`` of every member of a `PackedNetwork`."""

    def __init__(self, packed: nn.Module) -> None:
        super().__init__()
        assert isinstance(packed, PackedNetwork)
        self.packed = packed

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.packed.by_member(self.packed.network(images))


def by_member(probabilities: np.ndarray) -> list[np.ndarray]:
    """``N x M x C`` as M times ``N x C``."""
    return [np.ascontiguousarray(probabilities[:, member]) for member in range(probabilities.shape[1])]


def width_step(members: int) -> int:
    """A residual network can be packed if its width is a multiple of this.

    Examples:
        >>> width_step(4), width_step(3)
        (2, 3)
    """
    return members // math.gcd(members, ALPHA)


def fitting_width(seconds: Callable[[int], float], budget: float, first: int, step: int) -> int:
    """The largest width that was tried and fits into a budget; `step` if none does.

    Seconds are taken to grow with the square of the width, and the guess is corrected by what is measured.

    Args:
        seconds: Width -> seconds of a training.
        budget: Seconds.
        first: The width to try first.
        step: Widths are multiples of it.

    Examples:
        >>> fitting_width(lambda width: 0.01 * width**2, budget=100.0, first=8, step=2)
        100
    """
    tried: dict[int, float] = {}
    width = max(step, first // step * step)
    for _ in range(PROBES):
        tried[width] = seconds(width)
        if NEAR * budget <= tried[width] <= budget:
            break
        guess = int(width * math.sqrt(max(budget, 0.0) / tried[width]))
        width = max(step, guess // step * step)
        if width in tried:
            break
    return max((width for width, found in tried.items() if found <= budget), default=step)
