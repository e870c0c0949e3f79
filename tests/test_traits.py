"""Sizes of networks, against networks that are really built."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nni_hypens.adaptive import random_architectures
from nni_hypens.architecture import EdgeStructure
from nni_hypens.plan import fixed_network
from nni_hypens.traits import NetworkSize
from search_spaces import OneCell, darts


@pytest.mark.parametrize(
    ("space", "shape"), [(OneCell(channels=3, in_channels=1), (1, 14, 14)), (darts("tiny"), (3, 32, 32))]
)
def test_parameters_and_flops_are_those_of_the_network(space, shape: tuple[int, int, int]) -> None:
    size, state = NetworkSize(space, shape), torch.get_rng_state()
    found = set()
    for sample in random_architectures(EdgeStructure.from_space(space), 3, seed=0):
        parameters, flops = size(sample)
        network = fixed_network(space, sample).eval()
        assert parameters == 1 + sum(parameter.numel() for parameter in network.parameters())
        assert flops == 1 + 2 * multiply_adds(network, shape)
        found.add((parameters, flops))
    assert len(found) > 1
    torch.set_rng_state(state)
    size(sample)
    assert torch.equal(torch.get_rng_state(), state)  # nothing that is drawn later depends on it


class LooksAtItsWeights(OneCell):
    """As a user's space may do: it reads a weight where a network without memory has none."""

    def __init__(self, channels: int = 2) -> None:
        super().__init__(channels=channels, in_channels=1)
        self.first = next(self.parameters()).flatten()[0].item()


def test_a_network_that_needs_memory_is_measured_all_the_same() -> None:
    plain, looking = OneCell(channels=2, in_channels=1), LooksAtItsWeights(channels=2)
    sample = random_architectures(EdgeStructure.from_space(plain), 1, seed=0)[0]
    assert NetworkSize(looking, (1, 8, 8))(sample) == NetworkSize(plain, (1, 8, 8))(sample)


def multiply_adds(network: nn.Module, shape: tuple[int, int, int]) -> int:
    """Counted by hooks on the layers, while an image passes."""
    total = 0

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            kernel = layer.kernel_size[0] * layer.kernel_size[1]
            total += output.numel() * kernel * layer.in_channels // layer.groups
        elif isinstance(layer, nn.Linear):
            total += output.numel() * layer.in_features

    hooks = [layer.register_forward_hook(count) for layer in network.modules()]
    with torch.no_grad():
        network(torch.zeros(1, *shape))
    for hook in hooks:
        hook.remove()
    return total
