"""Synaptic flow: what the untrained network of an architecture says about how deep it acts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from nni.nas.nn.pytorch import ModelSpace
from torch import nn

from nni_hypens.space.architecture import Sample
from nni_hypens.space.build import fixed_network
from nni_hypens.space.cost import NetworkSize


class SynapticFlow:
    """Synaptic flow of the networks of a model space, each with the same seed.

    Args:
        space: The model space.
        input_shape: Shape of one example.

    Examples:
        >>> from search_spaces import OneCell
        >>> space = OneCell(channels=2, nodes=1, in_channels=1)
        >>> flow = SynapticFlow(space, (1, 8, 8))
        >>> deep, shallow = ({"node_0/input": [0], "node_0/op_0": name} for name in ("sep_conv_3x3", "skip_connect"))
        >>> flow(deep) > flow(shallow)
        True
    """

    def __init__(self, space: ModelSpace, input_shape: Sequence[int]) -> None:
        self.space, self.input_shape = space, tuple(input_shape)

    def __call__(self, sample: Sample) -> float:
        """The flow; not a number if the network of a user's space refuses an input of ones in double precision."""
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.manual_seed(0)
            try:
                return synaptic_flow(fixed_network(self.space, sample), self.input_shape)
            except Exception:  # a user's code may raise anything, and a run goes on without this number
                return math.nan


def flow_of(size: NetworkSize) -> SynapticFlow | None:
    """Measures the synaptic flow of the networks whose size is measured; None where the shape of an example is not
    known."""
    return None if size.input_shape is None else SynapticFlow(size.space, size.input_shape)


def synaptic_flow(network: nn.Module, input_shape: Sequence[int]) -> float:
    """SynFlow (Tanaka et al. 2020): log of the sum over weights of `|w dR/dw|`, where all weights are replaced by their
    absolute values, and R is the sum of the outputs for an example of ones.

    Layers in series multiply what flows, operations without weights hardly change it, so it grows with depth more than
    size does.

    Args:
        network: An untrained network; its weights are changed.
        input_shape: Shape of one example.
    """
    positive = network.double().eval()
    with torch.no_grad():
        for value in positive.state_dict().values():
            if value.is_floating_point():
                value.abs_()
    positive.zero_grad()
    positive(torch.ones(1, *input_shape, dtype=torch.float64)).sum().backward()
    flows = [(p.detach() * p.grad).abs().sum() for p in positive.parameters() if p.grad is not None]
    return float(torch.stack(flows).sum().log())
