"""A space some of whose candidates fail in training, as the environment says; in the search nothing fails."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import torch

from search_spaces import OneCell

SEED = 1
"""Of the runs: trials are told from the search, and from one another, by the seed they were given."""


class FaultyCell(OneCell):
    """The one-cell space; ``FAULTS=1=raise,2=kill`` says which candidates fail and how, ``TRIED`` where it is noted."""

    def __init__(self, channels: int = 2, in_channels: int = 1, num_classes: int = 10) -> None:
        super().__init__(channels=channels, in_channels=in_channels, num_classes=num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        output = super().forward(images)
        faults = dict(item.split("=") for item in os.environ.get("FAULTS", "").split(",") if item)
        fault = faults.get(str(int(os.environ.get("PL_GLOBAL_SEED", "0")) - 10_000 * SEED))
        return fail(fault, output) if fault and self.training else output


def fail(fault: str, output: torch.Tensor) -> torch.Tensor:
    """Note it, and fail."""
    if fault == "nan":
        return output * float("nan")
    with Path(os.environ["TRIED"]).open("a") as tried:
        tried.write(f"{fault}\n")
    if fault == "kill":  # as the kernel does with a process that takes too much memory
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "memory":
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + 2**27, resource.RLIM_INFINITY))
        held_back = []
        while True:  # what was freed before may be had again without asking the system
            held_back.append(bytearray(2**26))
    raise ValueError("too hot")
