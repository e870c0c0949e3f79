"""A space of multilayer perceptrons, for rows of tables and other tensors that are flattened."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from nni.nas.nn.pytorch import ModelSpace
from torch import nn

from nni_hypens.errors import InputError
from nni_hypens.utils.checks import is_whole
from search_spaces.one_cell import Node

BLOCKS: dict[str, Callable[[int], nn.Module]] = {
    "skip_connect": lambda width: nn.Identity(),
    "relu": lambda width: _block(width, width, nn.ReLU()),
    "tanh": lambda width: _block(width, width, nn.Tanh()),
    "gelu": lambda width: _block(width, width, nn.GELU()),
    "narrow_relu": lambda width: _block(width, max(1, width // 2), nn.ReLU()),
    "wide_relu": lambda width: _block(width, 2 * width, nn.ReLU()),
}
"""What a layer does: nothing, which makes the network less deep, or an activation at the width, half or twice of it."""


def _block(width: int, inner: int, activation: nn.Module) -> nn.Module:
    """A layer that keeps the width: in between, it has ``inner`` units."""
    return nn.Sequential(
        nn.Linear(width, inner, bias=False),
        nn.BatchNorm1d(inner),
        activation,
        *([] if inner == width else [nn.Linear(inner, width)]),
    )


class MLP(ModelSpace):  # type: ignore[misc]
    """A linear stem, ``layers`` searched layers, and a linear head.

    Each layer takes the output of one earlier layer or of the stem, and passes it through one of `BLOCKS`. So depth,
    width, activation and skips are searched. The head sees all layers. An architecture has ``layers`` edges, each a
    triple (layer, input, block); with the defaults there are 31,104 architectures.

    Args:
        in_features: Numbers in an example, at least 1.
        num_classes: Classes, at least 2.
        width: Units of each layer, at least 1.
        layers: Layers, at least 1.
        blocks: Names in `BLOCKS`; None for all six.

    Input ``B x in_features``, or tensors of as many numbers, which are flattened; output logits ``B x num_classes``.

    Examples:
        >>> from nni_hypens.space.architecture import EdgeStructure
        >>> space = MLP(in_features=13, num_classes=3, width=8, layers=2)
        >>> EdgeStructure.from_space(space).n_edges, space(torch.zeros(4, 13)).shape
        (2, torch.Size([4, 3]))
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        width: int = 64,
        layers: int = 4,
        blocks: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        names = list(BLOCKS) if blocks is None else list(blocks)
        for name, value in {"in_features": in_features, "width": width, "layers": layers}.items():
            if not is_whole(value, 1):
                raise InputError(name, repr(value), "a whole number of at least 1")
        if not is_whole(num_classes, 2):
            raise InputError("num_classes", repr(num_classes), "a whole number of at least 2")
        if [name for name in names if name not in BLOCKS] or len(set(names)) != len(names) or not names:
            raise InputError("blocks", repr(names), f"different names out of {list(BLOCKS)}")
        self.in_features = in_features
        self.stem = nn.Sequential(nn.Linear(in_features, width, bias=False), nn.BatchNorm1d(width))
        self.layers = nn.ModuleList(Node(index, width, 1, names, BLOCKS) for index in range(layers))
        self.head = nn.Linear(layers * width, num_classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        flat = inputs.flatten(1)
        if flat.shape[1] != self.in_features:
            expected = f"{self.in_features} numbers per example, in_features"
            raise InputError("inputs", f"shape {tuple(inputs.shape)}, {flat.shape[1]} numbers per example", expected)
        states = [self.stem(flat)]
        for layer in self.layers:
            states.append(layer(states))
        logits: torch.Tensor = self.head(torch.cat(states[1:], dim=1))
        return logits
