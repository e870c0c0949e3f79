"""Synaptic flow, against its definition by finite differences, and of networks that refuse it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from nni.nas.nn.pytorch import LayerChoice, ModelSpace
from torch import nn

from nni_hypens.space.flow import SynapticFlow, synaptic_flow
from search_spaces import OneCell

SHAPE = (1, 8, 8)


def test_the_flow_is_the_sum_of_weights_times_their_effects() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 36, 3))
    weights = [p.detach().abs().double().numpy().copy() for p in network.parameters()]

    def output() -> float:
        with torch.no_grad():
            return float(network(torch.ones(1, *SHAPE, dtype=torch.float64)).sum())

    flow = synaptic_flow(network, SHAPE)
    total, step = 0.0, 1e-6
    for parameter, weight in zip(network.parameters(), weights, strict=True):
        np.testing.assert_array_equal(parameter.detach().numpy(), weight)
        with torch.no_grad():  # all weights of a layer together: the sum of w dR/dw is the derivative by their scale
            before = output()
            parameter.mul_(1 + step)
            total += (output() - before) / step
            parameter.div_(1 + step)
    assert flow == pytest.approx(math.log(total), rel=1e-4)


def test_it_is_the_same_each_time_and_leaves_random_numbers_alone() -> None:
    space = OneCell(channels=2, nodes=1, in_channels=1)
    sample = {"node_0/input": [0], "node_0/op_0": "sep_conv_3x3"}
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert SynapticFlow(space, SHAPE)(sample) == SynapticFlow(space, SHAPE)(sample)
    assert torch.equal(state, torch.get_rng_state())


class Fussy(ModelSpace):
    """A space whose networks take whole numbers only."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(4, 3)
        self.choice = LayerChoice({"a": nn.Linear(3, 2), "b": nn.Linear(3, 2)}, label="choice")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.choice(self.embed(x).mean(1))


def test_a_network_that_refuses_ones_has_no_flow() -> None:
    assert math.isnan(SynapticFlow(Fussy(), (5,))({"choice": "a"}))
