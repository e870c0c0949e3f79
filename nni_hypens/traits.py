"""What is known of an architecture before it is trained: how large its network is.

In a short training large networks tend to be ahead, and parameters and FLOPs are known to rank architectures about as
well as many elaborate zero-cost proxies do (White et al. 2022, "A deeper look at zero-cost proxies for lightweight
NAS"). Adaptive training learns from its own results whether and how much that holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from nni.nas.nn.pytorch import ModelSpace

from nni_hypens.architecture import Sample
from nni_hypens.budget import count_flops
from nni_hypens.plan import fixed_network


class NetworkSize:
    """Parameters and FLOPs of an architecture's network, which is built without memory for its weights where it can be.

    Args:
        space: The model space.
        input_shape: Shape of one image, ``(channels, height, width)``.
    """

    def __init__(self, space: ModelSpace, input_shape: Sequence[int]) -> None:
        self.space, self.input_shape = space, tuple(input_shape)
        self._known: dict[str, tuple[float, float]] = {}

    def __call__(self, sample: Sample) -> tuple[float, float]:
        """Parameters, and FLOPs of one image (a multiply-add counted as two), each plus one; measured once."""
        key = repr(sorted(sample.items()))
        if key not in self._known:
            self._known[key] = self._measure(sample)
        return self._known[key]

    def volume(self, sample: Sample) -> float:
        """Parameters times FLOPs."""
        return math.prod(self(sample))

    def _measure(self, sample: Sample) -> tuple[float, float]:
        try:
            return self._count(sample, "meta")
        except Exception:  # a user's network may read its weights, which there are none; with memory it is slower
            return self._count(sample, "cpu")

    def _count(self, sample: Sample, device: str) -> tuple[float, float]:
        with torch.random.fork_rng(devices=[]), torch.device(device), torch.no_grad():
            network = fixed_network(self.space, sample).eval()
            flops = count_flops(network, torch.zeros(1, *self.input_shape))
        return 1.0 + sum(parameter.numel() for parameter in network.parameters()), 1.0 + flops
