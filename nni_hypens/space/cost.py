"""What an architecture costs, counted on the network itself, and the limits that sampled architectures keep."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from nni.nas.nn.pytorch import ModelSpace
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nni_hypens.errors import InputError
from nni_hypens.space.architecture import Sample
from nni_hypens.space.build import fixed_network
from nni_hypens.utils.checks import is_count

LATENCY_WARM_UP, LATENCY_PASSES = 5, 30


class Cost(NamedTuple):
    """Parameters of a stand-alone network, and FLOPs of one image (None where no image shape is known)."""

    params: int
    flops: int | None


class Budget:
    """Upper limits on the networks that are sampled.

    NNI's profilers give expressions, which a penalty needs; but they count operations on inputs that are not chosen and
    fail on cells. Here the network is built, without memory for its weights, and counted: exact for every space.

    Args:
        space: The model space, before it becomes a supernet. A copy without weights is kept.
        max_params: Most parameters of a network; None for no limit.
        max_flops: Most FLOPs for one image, a multiply-add counted as two (``torch.utils.flop_counter``); None for no
            limit.
        input_shape: Shape of one image, ``(channels, height, width)``; needed for ``max_flops``.

    Raises:
        InputError: A limit that is no number above 0, or ``max_flops`` without ``input_shape``.
    """

    def __init__(
        self,
        space: ModelSpace,
        max_params: float | None = None,
        max_flops: float | None = None,
        input_shape: Sequence[int] | None = None,
    ) -> None:
        check_limits(max_params, max_flops, input_shape)
        self.max_params, self.max_flops = max_params, max_flops
        self.input_shape = None if input_shape is None else tuple(input_shape)
        self._space = copy.deepcopy(space).to("meta")
        self._costs: dict[str, Cost] = {}

    def cost(self, architecture: Sample) -> Cost:
        """Parameters, and FLOPs where ``input_shape`` is known, of one architecture; a tenth of a second or so."""
        key = repr(sorted(architecture.items()))
        if key not in self._costs:
            with torch.random.fork_rng(devices=[]):  # some spaces build the network anew, with random weights
                network = self._space.freeze(architecture).to("meta").eval()
            params = sum(parameter.numel() for parameter in network.parameters())
            self._costs[key] = Cost(params, None if self.input_shape is None else self._flops(network))
        return self._costs[key]

    def _flops(self, network: nn.Module) -> int:
        assert self.input_shape is not None
        with torch.device("meta"):
            return count_flops(network, torch.empty(1, *self.input_shape))

    def __call__(self, architecture: Sample) -> bool:
        """Whether the architecture keeps every limit."""
        return self.excess(architecture) is None

    def excess(self, architecture: Sample) -> tuple[str, float, float] | None:
        """The first limit that is not kept: its name, what the architecture has, and the limit; None when all are."""
        cost = self.cost(architecture)
        if self.max_params is not None and cost.params > self.max_params:
            return "max_params", cost.params, self.max_params
        if self.max_flops is not None and cost.flops is not None and cost.flops > self.max_flops:
            return "max_flops", cost.flops, self.max_flops
        return None


@torch.no_grad()
def count_flops(network: nn.Module, image: torch.Tensor) -> int:
    """FLOPs of one forward pass on ``1 x C x H x W``, a multiply-add counted as two."""
    counter = FlopCounterMode(display=False)
    with counter:
        network(image)
    return counter.get_total_flops()


@torch.no_grad()
def measure_latency(network: nn.Module, image: torch.Tensor) -> float:
    """Milliseconds that a network in evaluation mode takes for ``1 x C x H x W`` by one thread: the median of 30 passes
    after 5 more; on a GPU each pass is waited for."""
    threads, seconds = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        for _ in range(LATENCY_WARM_UP + LATENCY_PASSES):
            start = time.perf_counter()
            network(image)
            if image.is_cuda:
                torch.cuda.synchronize(image.device)
            seconds.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return 1000 * statistics.median(seconds[LATENCY_WARM_UP:])


def budget_for(
    space: ModelSpace,
    max_params: float | None = None,
    max_flops: float | None = None,
    input_shape: Sequence[int] | None = None,
) -> Budget | None:
    """A :class:`Budget` with these limits, or None where there is none."""
    limited = max_params is not None or max_flops is not None
    return Budget(space, max_params, max_flops, input_shape) if limited else None


def check_limits(max_params: object, max_flops: object, input_shape: object) -> None:
    """Check the limits as they come from a user.

    Raises:
        InputError: Names the one at fault.
    """
    for name, value in (("max_params", max_params), ("max_flops", max_flops)):
        if value is not None and not is_count(value):
            raise InputError(name, repr(value), "a number above 0, or None")
    if max_flops is not None and input_shape is None:
        raise InputError("input_shape", "None with max_flops", "the shape of one image, (channels, height, width)")
    if input_shape is not None:
        sizes = input_shape if isinstance(input_shape, list | tuple) else ()
        if len(sizes) != 3 or not all(isinstance(size, int) and size > 0 for size in sizes):
            raise InputError("input_shape", repr(input_shape), "three whole numbers: channels, height, width")


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
