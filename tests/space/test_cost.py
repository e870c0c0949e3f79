from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from nni.nas.nn.pytorch import ModelSpace
from nni.nas.profiler.pytorch.flops import NumParamsProfiler
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nni_hypens.errors import InputError
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.build import fixed_network
from nni_hypens.space.choices import ChoiceTable
from nni_hypens.space.cost import Budget, NetworkSize, count_flops, measure_latency
from nni_hypens.space.draws import random_architectures
from search_spaces import DartsSpace, OneCell, darts
from tests.support.space_checks import HUB

SHAPE = (3, 16, 16)


def draw(space: ModelSpace, seed: int) -> Sample:
    table = ChoiceTable.from_space(space)
    order = torch.Generator().manual_seed(seed)
    rows = [torch.randperm(len(values), generator=order).tolist() for values in table.options.values()]
    return table.to_sample(rows)


@pytest.mark.parametrize("space", [lambda: OneCell(4, n_chosen=2), lambda: DartsSpace(4, 3), HUB["MobileNetV3Space"]])
def test_cost_is_that_of_the_network(space: Any) -> None:
    """Against counts on the frozen network itself, with weights."""
    fresh = space()
    budget = Budget(fresh, max_params=1, input_shape=SHAPE)
    weights = [parameter.clone() for parameter in fresh.parameters()]
    for seed in range(3):
        architecture = draw(fresh, seed)
        network = space().freeze(architecture).eval()
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            network(torch.zeros(1, *SHAPE))
        wanted = (sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops())
        assert tuple(budget.cost(architecture)) == wanted
    assert all(torch.equal(a, b) for a, b in zip(weights, fresh.parameters(), strict=True))  # nothing happened to it


def test_params_agree_with_nni_where_its_profiler_is_exact() -> None:
    space = HUB["MobileNetV3Space"]()
    profiler = NumParamsProfiler(space, torch.zeros(1, 3, 64, 64))
    for seed in range(3):
        assert Budget(space).cost(draw(space, seed)).params == profiler.profile(draw(space, seed))


def test_limits() -> None:
    space = OneCell(4)
    architecture = draw(space, 0)
    params, flops = Budget(space, input_shape=SHAPE).cost(architecture)
    assert flops is not None
    assert Budget(space, params, flops, SHAPE)(architecture)
    assert Budget(space, params - 1).excess(architecture) == ("max_params", params, params - 1)
    assert Budget(space, None, flops - 1, SHAPE).excess(architecture) == ("max_flops", flops, flops - 1)
    assert not Budget(space, params - 1)(architecture)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"max_params": 0}, "max_params"),
        ({"max_params": True}, "max_params"),
        ({"max_params": "1M"}, "max_params"),
        ({"max_flops": float("inf"), "input_shape": SHAPE}, "max_flops"),
        ({"max_flops": 1e6}, "input_shape"),
        ({"input_shape": ()}, "input_shape"),
        ({"input_shape": (0,)}, "input_shape"),
        ({"input_shape": "3x16x16"}, "input_shape"),
    ],
)
def test_bad_limits(arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError, match=f"^{field}"):
        Budget(OneCell(2), **arguments)


class Sleeps(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.threads: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.threads.append(torch.get_num_threads())
        assert not torch.is_grad_enabled()
        time.sleep(0.02 if len(self.threads) % 3 else 0.002)  # something else disturbs two of three passes
        return images


def test_latency_is_that_of_an_undisturbed_pass_by_one_thread() -> None:
    before, network = torch.get_num_threads(), Sleeps()
    torch.set_num_threads(2)
    try:
        assert 2 <= measure_latency(network, torch.zeros(1, 1, 8, 8)) < 20
        assert torch.get_num_threads() == 2 and set(network.threads) == {1} and len(network.threads) == 35
    finally:
        torch.set_num_threads(before)


def test_flops_of_a_layer() -> None:
    """Two for each multiply-add: 64 places, 3 x 3 x 2 weights, 5 channels."""
    layer = torch.nn.Conv2d(2, 5, 3, padding=1, bias=False)
    assert count_flops(layer, torch.zeros(1, 2, 8, 8)) == 2 * 64 * 9 * 2 * 5


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
