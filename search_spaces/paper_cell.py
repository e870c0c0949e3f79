"""The cell as in the code of the EdgeNES papers: two inputs, factorised reduction, drop path, any number of cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from nni.mutable import label_scope
from nni.nas.nn.pytorch import ModelSpace
from torch import nn
from torch.nn import functional as F

from nni_hypens.errors import InputError
from nni_hypens.utils.checks import is_whole
from search_spaces.one_cell import OPERATIONS, Node

NODES, STEM = 4, 3
"""Nodes of a cell, and how many times as many channels the stem has."""


def _norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, affine=False)


class FactorizedReduce(nn.Module):
    """Half the size without a pooling: two 1x1 convolutions, one of them a pixel further down and to the right.

    ``B x channels x H x W`` -> ``B x out x H/2 x W/2``, rounded up.
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.even = nn.Conv2d(channels, out - out // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(channels, out // 2, 1, stride=2, bias=False)
        self.norm = _norm(out)

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        state = torch.relu(state)
        height, width = state.shape[-2:]
        shifted = F.pad(state[:, :, 1:, 1:], (0, width % 2, 0, height % 2))  # as many places as the other has
        joined: torch.Tensor = self.norm(torch.cat([self.even(state), self.odd(shifted)], dim=1))
        return joined


class DropPath(nn.Module):
    """Drops the operation for some images of a batch in training (Larsson et al. 2017), and scales up the others.

    Args:
        probability: Of dropping an image, 0..1; the space sets it.
    """

    def __init__(self, probability: float = 0.0) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        if not self.training or self.probability == 0:
            return state
        kept = state.new_empty(len(state), 1, 1, 1).bernoulli_(1 - self.probability)
        return state * kept / (1 - self.probability)


def _depthwise(channels: int, kernel: int, stride: int, dilation: int) -> nn.Module:
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        _norm(channels),
    )


def _operation(name: str, channels: int, stride: int) -> nn.Module:
    """An operation of `OPERATIONS` at a stride, with normalisation without weights."""
    kernel = int(name[-1]) if name[-1].isdecimal() else 0
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)
    if name.startswith("max_pool"):
        return nn.Sequential(nn.MaxPool2d(kernel, stride, 1), _norm(channels))
    if name.startswith("avg_pool"):
        return nn.Sequential(nn.AvgPool2d(kernel, stride, 1, count_include_pad=False), _norm(channels))
    if name.startswith("dil_conv"):
        return _depthwise(channels, kernel, stride, 2)
    return nn.Sequential(_depthwise(channels, kernel, stride, 1), _depthwise(channels, kernel, 1, 1))


def _operations(stride: int) -> dict[str, Callable[[int], nn.Module]]:
    def maker(name: str) -> Callable[[int], nn.Module]:
        return lambda channels: nn.Sequential(_operation(name, channels, stride), DropPath())

    return {name: maker(name) for name in OPERATIONS}


class Cell(nn.Module):
    """Nodes over the outputs of the two cells before.

    Args:
        before: Channels of the cell before the last, then of the last one.
        channels: Channels of each node.
        n_chosen: Inputs of each node.
        reduction: Whether operations on the two inputs halve the size.
        after_reduction: Whether the last cell halved the size, so that the one before it does not fit.
    """

    def __init__(
        self, before: tuple[int, int], channels: int, n_chosen: int, reduction: bool, after_reduction: bool
    ) -> None:
        super().__init__()
        first, second = before
        self.first = FactorizedReduce(first, channels) if after_reduction else _fitted(first, channels)
        self.second = _fitted(second, channels)
        plain, strided = _operations(1), _operations(2 if reduction else 1)
        self.nodes = nn.ModuleList()
        with label_scope("reduce" if reduction else "normal"):
            for index in range(NODES):
                known = [strided, strided, *[plain] * index]
                self.nodes.append(Node(index, channels, n_chosen, list(OPERATIONS), known))

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        states = [self.first(first), self.second(second)]
        for node in self.nodes:
            states.append(node(states))
        return torch.cat(states[2:], dim=1)


def _fitted(channels: int, out: int) -> nn.Module:
    return nn.Sequential(nn.ReLU(), nn.Conv2d(channels, out, 1, bias=False), _norm(out))


class PaperCell(ModelSpace):  # type: ignore[misc]
    """The space of the EdgeNES papers' code: a stem, ``layers`` cells, and a linear head.

    A cell has four nodes and two inputs, the outputs of the two cells before it. Each node sums ``n_chosen`` of its
    two to five possible inputs, each through one of the seven operations of `OneCell`. Cells number ``layers // 3`` and
    ``2 * layers // 3``, counted from 0, halve the image and double the channels; they share their choices, and so do
    the other cells. With one or two layers every cell is a reduction, so an architecture found with one cell can be
    trained with two: 4 edges (8 with ``n_chosen=2``). With three or more there are normal cells, with as many edges
    again.

    Args:
        channels: Channels before the first reduction, at least 1.
        layers: Cells, at least 1.
        n_chosen: Inputs per node, 1 or 2.
        in_channels: Channels of the images.
        num_classes: Classes, at least 2.
        drop_path_prob: Drop-path probability in training, 0 or more and below 1.

    Input ``B x in_channels x H x W`` with H, W >= 8; output logits ``B x num_classes``.
    """

    def __init__(
        self,
        channels: int = 10,
        layers: int = 1,
        n_chosen: int = 1,
        in_channels: int = 3,
        num_classes: int = 10,
        drop_path_prob: float = 0.0,
    ) -> None:
        super().__init__()
        _check(channels, layers, n_chosen, in_channels, num_classes, drop_path_prob)
        stem = STEM * channels
        self.stem = nn.Sequential(nn.Conv2d(in_channels, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem))
        self.cells = nn.ModuleList()
        before, after_reduction = (stem, stem), False
        for layer in range(layers):
            reduction = layer in (layers // 3, 2 * layers // 3)
            channels *= 2 if reduction else 1
            self.cells.append(Cell(before, channels, n_chosen, reduction, after_reduction))
            before, after_reduction = (before[1], NODES * channels), reduction
        self.head = nn.Linear(before[1], num_classes)
        self.drop_path_prob = drop_path_prob
        self.set_drop_path_prob(drop_path_prob)

    def set_drop_path_prob(self, probability: float) -> None:
        """Set the drop-path probability; the evaluator of candidates raises it from zero over the epochs."""
        for module in self.modules():
            if isinstance(module, DropPath):
                module.probability = probability

    def auxiliary_source(self) -> tuple[nn.Module, int]:
        """Where the papers' code puts its auxiliary head in training: the second reduction, and its channels."""
        cell = cast(Cell, self.cells[2 * len(self.cells) // 3])
        return cell, NODES * cast(nn.Conv2d, cast(nn.Sequential, cell.second)[1]).out_channels

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.dim() != 4 or min(images.shape[-2:]) < 8:
            raise InputError("images", f"shape {tuple(images.shape)}", "B x channels x H x W with H and W at least 8")
        first = second = self.stem(images)
        for cell in self.cells:
            first, second = second, cell(first, second)
        logits: torch.Tensor = self.head(second.mean(dim=(2, 3)))
        return logits


def _check(
    channels: int, layers: int, n_chosen: int, in_channels: int, num_classes: int, drop_path_prob: float
) -> None:
    numbers = {"channels": (channels, 1), "layers": (layers, 1), "in_channels": (in_channels, 1)}
    for name, (value, least) in {**numbers, "num_classes": (num_classes, 2)}.items():
        if not is_whole(value, least):
            raise InputError(name, repr(value), f"a whole number of at least {least}")
    if not is_whole(n_chosen, 1) or n_chosen > 2:
        raise InputError("n_chosen", repr(n_chosen), "1 or 2")
    number = isinstance(drop_path_prob, int | float) and not isinstance(drop_path_prob, bool)
    if not number or not 0 <= drop_path_prob < 1:
        raise InputError("drop_path_prob", repr(drop_path_prob), "a number from 0 to below 1")
