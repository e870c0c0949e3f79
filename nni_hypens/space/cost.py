"""What the network of an architecture costs, and limits on it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from nni.nas.nn.pytorch import ModelSpace
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from nni_hypens.errors import InputError
from nni_hypens.space.architecture import Sample
from nni_hypens.space.build import fixed_network
from nni_hypens.utils.checks import is_count, is_whole

LATENCY_WARM_UP, LATENCY_PASSES = 5, 30


class Cost(NamedTuple):
    """Parameters of a stand-alone network, and FLOPs of one example (None if its shape is not known).

    Examples:
        >>> Cost(params=52, flops=None).params
        52
    """

    params: int
    flops: int | None


class NetworkSize:
    """Parameters and FLOPs of the networks of a model space, each counted once.

    NNI's profilers give expressions, which a penalty needs, but they count operations on inputs that are not chosen and
    fail on cells. Here the network is built without memory for its weights and counted: exact for every space.

    Args:
        space: The model space; counting does not use or change its weights.
        input_shape: Shape of one example, such as ``(channels, height, width)``; None to count parameters only.

    Examples:
        >>> from search_spaces import OneCell
        >>> space = OneCell(channels=2, nodes=1, in_channels=1)
        >>> NetworkSize(space, (1, 8, 8)).cost({"node_0/input": [0], "node_0/op_0": "skip_connect"})
        Cost(params=52, flops=2344)
    """

    def __init__(self, space: ModelSpace, input_shape: Sequence[int] | None = None) -> None:
        self.space = space
        self.input_shape = None if input_shape is None else tuple(input_shape)
        self._known: dict[str, Cost] = {}

    def cost(self, sample: Sample) -> Cost:
        """Parameters, and FLOPs if ``input_shape`` is known (a multiply-add counts as two)."""
        key = repr(sorted(sample.items()))
        if key not in self._known:
            self._known[key] = self._measure(sample)
        return self._known[key]

    def __call__(self, sample: Sample) -> tuple[float, float]:
        """Parameters and FLOPs of one image, each plus one, so that their logarithms are finite."""
        params, flops = self.cost(sample)
        assert flops is not None  # input_shape is given
        return 1.0 + params, 1.0 + flops

    def volume(self, sample: Sample) -> float:
        """Parameters times FLOPs."""
        return math.prod(self(sample))

    def _measure(self, sample: Sample) -> Cost:
        with torch.random.fork_rng(devices=[]):
            try:
                with torch.device("meta"):
                    with _NoInitialValues():
                        network = fixed_network(self.space, sample).eval()
                    return self._count(_without_norms(network))
            except Exception:  # a user's network may read its weights, which have no values on this device
                with torch.device("cpu"):
                    return self._count(fixed_network(self.space, sample).eval())

    def _count(self, network: nn.Module) -> Cost:
        flops = None if self.input_shape is None else count_flops(network, torch.zeros(1, *self.input_shape))
        return Cost(sum(parameter.numel() for parameter in network.parameters()), flops)


class _NoInitialValues(TorchFunctionMode):
    """Leaves out the functions of ``torch.nn.init``, slow on tensors without values."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return given["tensor"] if "tensor" in given else args[0]
        return func(*args, **given)


def _without_norms(network: nn.Module) -> nn.Module:
    """The network, whose BatchNorms return what they get: no FLOPs are counted for them, and they take half the time
    of counting."""
    for module in network.modules():
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            module.forward = _same
    return network


def _same(inputs: torch.Tensor) -> torch.Tensor:
    return inputs


class Budget:
    """Upper limits on the networks that are sampled.

    Args:
        space: The model space.
        max_params: Largest number of parameters of a network; None for no limit.
        max_flops: Largest number of FLOPs for one image, a multiply-add counted as two
            (``torch.utils.flop_counter``); None for no limit.
        input_shape: Shape of one example, such as ``(channels, height, width)``; required with ``max_flops``.

    Raises:
        InputError: A limit that is not a number above 0, or ``max_flops`` without ``input_shape``.

    Examples:
        >>> from search_spaces import OneCell
        >>> budget = Budget(OneCell(channels=2, nodes=1, in_channels=1), max_params=60)
        >>> budget({"node_0/input": [0], "node_0/op_0": "skip_connect"})
        True
        >>> budget.excess({"node_0/input": [0], "node_0/op_0": "sep_conv_5x5"})
        ('max_params', 168, 60)
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
        self.size = NetworkSize(space, input_shape)

    def cost(self, architecture: Sample) -> Cost:
        """Parameters, and FLOPs if ``input_shape`` is known; the first time takes about a tenth of a second."""
        return self.size.cost(architecture)

    def __call__(self, architecture: Sample) -> bool:
        """Whether the architecture is within every limit."""
        return self.excess(architecture) is None

    def excess(self, architecture: Sample) -> tuple[str, float, float] | None:
        """The first limit that is exceeded (its name, the architecture's number, the limit), or None."""
        cost = self.cost(architecture)
        if self.max_params is not None and cost.params > self.max_params:
            return "max_params", cost.params, self.max_params
        if self.max_flops is not None and cost.flops is not None and cost.flops > self.max_flops:
            return "max_flops", cost.flops, self.max_flops
        return None


@torch.no_grad()
def count_flops(network: nn.Module, image: torch.Tensor) -> int:
    """FLOPs of one forward pass on ``1 x C x H x W``, a multiply-add counted as two.

    Examples:
        >>> layer = nn.Linear(3, 2)
        >>> count_flops(layer, torch.zeros(1, 3))
        12
    """
    counter = FlopCounterMode(display=False)
    with counter:
        network(image)
    return counter.get_total_flops()


@torch.no_grad()
def measure_latency(network: nn.Module, image: torch.Tensor) -> float:
    """Milliseconds of one forward pass on ``1 x C x H x W`` with one thread: the fastest of 30 passes after 5 warm-up
    passes. On a GPU each pass is synchronised.

    The fastest, as in `timeit`, because other work on the machine can only add time: beside two trainings on two cores,
    the median pass of a network took 31 to 39 ms and the fastest 2.0 to 2.3 ms; alone, the fastest took 2.0 to 2.5 ms.

    Args:
        network: A network in evaluation mode.
        image: One image, on the network's device.

    Examples:
        >>> milliseconds = measure_latency(nn.Linear(3, 2), torch.zeros(1, 3))
        >>> 0 < milliseconds < 1000
        True
    """
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
    return 1000 * min(seconds[LATENCY_WARM_UP:])


def budget_for(
    space: ModelSpace,
    max_params: float | None = None,
    max_flops: float | None = None,
    input_shape: Sequence[int] | None = None,
) -> Budget | None:
    """A `Budget` with these limits, or None if there are none."""
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
        raise InputError(
            "input_shape", "None with max_flops", "the shape of one example, such as (channels, height, width)"
        )
    if input_shape is not None:
        sizes = input_shape if isinstance(input_shape, list | tuple) else ()
        if not sizes or not all(is_whole(size, 1) for size in sizes):
            raise InputError("input_shape", repr(input_shape), "whole numbers, such as (channels, height, width)")
