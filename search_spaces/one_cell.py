"""The one-cell space of the EdgeNES papers: nodes that choose their inputs, and an operation on each chosen input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from nni.mutable import label_scope
from nni.nas.nn.pytorch import InputChoice, LayerChoice, ModelSpace, MutableModule
from nni.nas.nn.pytorch.choice import ChosenInputs
from torch import nn

from nni_hypens.errors import InputError
from nni_hypens.space.architecture import EdgeGroup
from nni_hypens.utils.checks import is_whole

OPERATIONS: dict[str, Callable[[int], nn.Module]] = {
    "max_pool_3x3": lambda channels: _pool(nn.MaxPool2d(3, stride=1, padding=1), channels),
    "avg_pool_3x3": lambda channels: _pool(nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False), channels),
    "skip_connect": lambda channels: nn.Identity(),
    "sep_conv_3x3": lambda channels: nn.Sequential(_depthwise(channels, 3, 1), _depthwise(channels, 3, 1)),
    "sep_conv_5x5": lambda channels: nn.Sequential(_depthwise(channels, 5, 1), _depthwise(channels, 5, 1)),
    "dil_conv_3x3": lambda channels: _depthwise(channels, 3, 2),
    "dil_conv_5x5": lambda channels: _depthwise(channels, 5, 2),
}
"""The seven operations of DARTS (Liu et al. 2019), each keeping channels and size."""


def _pool(pool: nn.Module, channels: int) -> nn.Module:
    return nn.Sequential(pool, nn.BatchNorm2d(channels))


def _depthwise(channels: int, kernel: int, dilation: int) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(
            channels, channels, kernel, padding=dilation * (kernel // 2), dilation=dilation, groups=channels, bias=False
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
    )


class _LazyOutputs(Sequence[torch.Tensor]):
    """Outputs of the operations, computed on access: an input that is not chosen then costs nothing."""

    def __init__(self, ops: nn.ModuleList, states: Sequence[torch.Tensor]) -> None:
        self.ops = ops
        self.states = states

    def __len__(self) -> int:
        return len(self.ops)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):  # NNI's mixtures take items[1:]
            return [self[position] for position in range(*index.indices(len(self.ops)))]
        if not -len(self.ops) <= index < len(self.ops):
            raise IndexError(index)
        return self.ops[index](self.states[index])

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (self[index] for index in range(len(self.ops)))


class Node(MutableModule):  # type: ignore[misc]
    """Sum of ``n_chosen`` inputs, each passed through its own operation.

    Args:
        index: Number of the node; it may choose among inputs 0..index (0 is the input of the cell).
        channels: Channels of every state.
        n_chosen: Number of chosen inputs, at most as many as there are.
        operations: Names in `known`.
        known: Name -> function that makes an operation for so many channels; or one such mapping for each input, which
            may then be others than 0..index.
    """

    def __init__(
        self,
        index: int,
        channels: int,
        n_chosen: int,
        operations: Sequence[str],
        known: Mapping[str, Callable[[int], nn.Module]]
        | Sequence[Mapping[str, Callable[[int], nn.Module]]] = OPERATIONS,
    ) -> None:
        super().__init__()
        self.index = index
        of_inputs = [known] * (index + 1) if isinstance(known, Mapping) else list(known)
        n_inputs = len(of_inputs)
        self.ops = nn.ModuleList()
        with label_scope(f"node_{index}") as scope:
            self.name = str(scope.absolute_scope)
            self.inputs = InputChoice(n_inputs, n_chosen=min(n_chosen, n_inputs), reduction="sum", label="input")
            chosen = self.inputs.chosen if isinstance(self.inputs, ChosenInputs) else range(n_inputs)
            for source in range(n_inputs):
                if source not in chosen:  # a fixed architecture has no unused weights
                    self.ops.append(nn.Identity())
                    continue
                candidates = {name: of_inputs[source][name](channels) for name in operations}
                self.ops.append(LayerChoice(candidates, label=f"op_{source}"))

    def edge_groups(self) -> list[EdgeGroup]:
        """(node, input, operation on that input); operations on inputs that are not chosen do not count."""
        return [EdgeGroup(self.name, ((self.inputs.label, tuple(cast(str, op.label) for op in self.ops)),))]

    def freeze(self, sample: dict[str, Any]) -> nn.Module:
        """Fix the choices, keep the weights of the chosen operations, drop the others."""
        frozen = super().freeze(sample)
        for source in range(len(frozen.ops)):
            if source not in frozen.inputs.chosen:
                frozen.ops[source] = nn.Identity()
        network: nn.Module = frozen
        return network

    def forward(self, states: list[torch.Tensor]) -> torch.Tensor:
        total: torch.Tensor = self.inputs(_LazyOutputs(self.ops, states))
        return total


class OneCell(ModelSpace):  # type: ignore[misc]
    """A stem, ``layers`` copies of one searched cell, and a linear head.

    The cell has ``nodes`` nodes; each sums ``n_chosen`` of the states before it (the cell's input and earlier nodes),
    each through one of seven operations. The cell's output is the concatenation of all nodes. Copies share their
    choices, not their weights, and the image is halved between them. An architecture has ``nodes * n_chosen`` edges
    (fewer if an early node has fewer inputs); with the defaults, 4 edges and 57,624 architectures.

    Args:
        channels: Channels inside the cell, at least 1.
        nodes: Nodes of the cell, at least 1.
        layers: Copies of the cell, at least 1.
        n_chosen: Inputs per node, at least 1.
        in_channels: Channels of the images.
        num_classes: Classes, at least 2.
        operations: Names in `OPERATIONS`; None for all seven.

    Input ``B x in_channels x H x W`` with H, W >= 8; output logits ``B x num_classes``.
    """

    def __init__(
        self,
        channels: int = 8,
        nodes: int = 4,
        layers: int = 1,
        n_chosen: int = 1,
        in_channels: int = 3,
        num_classes: int = 10,
        operations: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        names = list(OPERATIONS) if operations is None else list(operations)
        _check_arguments(channels, nodes, layers, n_chosen, in_channels, num_classes, names)
        self.stem = nn.Sequential(nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
        self.cells = nn.ModuleList(
            nn.ModuleList(Node(index, channels, n_chosen, names) for index in range(nodes)) for _ in range(layers)
        )
        self.reduce = nn.ModuleList(_reduction(nodes * channels, channels) for _ in range(layers - 1))
        self.head = nn.Linear(nodes * channels, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.dim() != 4 or min(images.shape[-2:]) < 8:
            raise InputError("images", f"shape {tuple(images.shape)}", "B x channels x H x W with H and W at least 8")
        state = self.stem(images)
        cell: Any  # a list of nodes
        for layer, cell in enumerate(self.cells):
            states = [state]
            for node in cell:
                states.append(node(states))
            state = torch.cat(states[1:], dim=1)  # B x nodes*channels x H x W
            if layer < len(self.reduce):
                state = self.reduce[layer](state)
        logits: torch.Tensor = self.head(torch.relu(state).mean(dim=(2, 3)))
        return logits


def _reduction(in_channels: int, channels: int) -> nn.Module:
    """Back to the cell's width, at half the size (sizes round up, so 8x8 images survive any number of layers)."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(in_channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.AvgPool2d(2, ceil_mode=True),
    )


def _check_arguments(
    channels: int, nodes: int, layers: int, n_chosen: int, in_channels: int, num_classes: int, names: list[str]
) -> None:
    numbers = {"channels": channels, "nodes": nodes, "layers": layers, "n_chosen": n_chosen, "in_channels": in_channels}
    for name, value in numbers.items():
        if not is_whole(value, 1):
            raise InputError(name, repr(value), "a whole number of at least 1")
    if not is_whole(num_classes, 2):
        raise InputError("num_classes", repr(num_classes), "a whole number of at least 2")
    unknown = [name for name in names if name not in OPERATIONS]
    if unknown or len(set(names)) != len(names) or not names:
        raise InputError("operations", repr(names), f"different names out of {list(OPERATIONS)}")
