"""Which architectures are trained first, while nothing is known but traits of untrained networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

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
    everyone = list(range(len(samples)))
    sizes = mean_log(np.array([size(sample) for sample in samples], dtype=float), everyone)
    flows = np.full(len(samples), np.nan) if flow is None else np.array([flow(sample) for sample in samples])
    finite = np.isfinite(flows)
    if not finite.any():
        return [int(sizes.argmax())]
    flows = np.where(finite, flows, flows[finite].max())  # one whose flow is not known must not have the least
    expected = expected_untrained(sizes, scaled(flows, everyone))
    return list(dict.fromkeys([int(expected.argmin()), int(flows.argmin())]))
