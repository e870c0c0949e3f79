"""Which architectures are trained first, while nothing is known but traits of untrained networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nni_hypens.metrics.inputs import FloatArray
from nni_hypens.proposals.features import mean_log, scaled
from nni_hypens.proposals.outlook import expected_untrained
from nni_hypens.space.architecture import Sample

Traits = Callable[[Sample], Sequence[float]]
Flow = Callable[[Sample], float]


def first_by_traits(samples: Sequence[Sample], size: Traits, flow: Flow | None = None) -> list[int]:
    """The architecture that is expected to be best, and the one with the least synaptic flow.

    The first is large for its flow. The second is the shallowest network, often the opposite in size: together they
    show how much size and depth matter here, and the forecast of adaptive training learns the rest from there. On pools
    of networks that were trained to the end, a start by this rule, with half as much again of the flow, was better in
    all of six cells than the largest architecture and others at random (`tests/benchmarks/pool.py`; it was chosen on
    these pools, which flatters it a little).

    Args:
        samples: `P` architectures.
        size: Numbers above 0 that grow with the network, such as parameters and FLOPs.
        flow: Synaptic flow of the untrained network; None if it is not known.

    Returns:
        One or two different indices into `samples`; none for no architectures. Where no flow is known, the index of
        the largest architecture alone.
    """
    if not samples:
        return []
    sizes = np.array([size(sample) for sample in samples], dtype=float)
    flows = np.full(len(samples), np.nan) if flow is None else np.array([flow(sample) for sample in samples])
    if not np.isfinite(flows).any():
        return [int(mean_log(sizes, range(len(samples))).argmax())]
    flows = known_flows(flows)
    expected = expected_by_traits(sizes, flows)
    return list(dict.fromkeys([int(expected.argmin()), int(flows.argmin())]))


def known_flows(flows: FloatArray) -> FloatArray:
    """`P` flows, with the most in place of those that are not finite: one that is not known must not be the least."""
    finite = np.isfinite(flows)
    return np.where(finite, flows, flows[finite].max())


def expected_by_traits(sizes: FloatArray, flows: FloatArray) -> FloatArray:
    """What is expected of untrained networks, see `nni_hypens.proposals.outlook.expected_untrained`.

    Args:
        sizes: `P x K` numbers above 0 that grow with the network.
        flows: `P` values, finite.
    """
    everyone = range(len(sizes))
    return expected_untrained(mean_log(sizes, everyone), scaled(flows, everyone))
