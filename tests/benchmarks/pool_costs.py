"""What a step of training costs: the same for all seeds of an architecture, and free of what else the machine did.

The CPU time of a training depends on what other processes do to the caches meanwhile, by a factor of two, and networks
are trained on different days. So the steps of all networks of a cell are timed together, in turns, and the least time
of each counts. A network's cost is that time times its steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional as F

from tests.benchmarks.pool_training import BATCH, Cell, Images, Schedule

ROUNDS, STEPS = 8, 2


def step_seconds(
    cell: Cell, images: Images, networks: Mapping[int, Callable[[], nn.Module]], rounds: int = ROUNDS
) -> dict[int, float]:
    """Least CPU seconds of a step of training.

    Args:
        cell, images: The cell.
        networks: Number -> makes the network.
        rounds: Turns; each times :data:`STEPS` steps of every network.

    Returns:
        Number -> seconds of one step.
    """
    batch, labels = images.train.images[:BATCH], images.train.labels[:BATCH]
    steps: dict[int, Callable[[], None]] = {}
    for number, build in networks.items():
        steps[number] = _step(build().to(memory_format=torch.channels_last).train(), batch, labels)
        steps[number]()  # the first makes the state of the optimizer
    least = dict.fromkeys(networks, float("inf"))
    for _ in range(rounds):
        for number, step in steps.items():
            start = time.process_time()
            for _ in range(STEPS):
                step()
            least[number] = min(least[number], (time.process_time() - start) / STEPS)
    return least


def _step(network: nn.Module, batch: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    schedule = Schedule(network, 1_000_000)
    return lambda: schedule.step(F.cross_entropy(network(batch), labels))
