"""A space some of whose candidates fail in training, as the environment says; in the search nothing fails."""

from __future__ import annotations

import os
import resource
import signal
from functools import lru_cache
from pathlib import Path

import torch

from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.trials.training import network_seed
from nni_hypens.utils.files import read_json
from nni_hypens.utils.seeds import SEED_BITS
from search_spaces import OneCell

SEED = 1
"""Seed of the runs. The seed of a trial tells which candidate it trains."""


class FaultyCell(OneCell):
    """The one-cell space; ``FAULTS=1=raise,2=kill`` says which candidates fail and how, ``TRIED`` where it is noted."""

    def __init__(self, channels: int = 2, in_channels: int = 1, num_classes: int = 10) -> None:
        super().__init__(channels=channels, in_channels=in_channels, num_classes=num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        output = super().forward(images)
        faults = dict(item.split("=") for item in os.environ.get("FAULTS", "").split(",") if item)
        fault = faults.get(candidate_number(os.environ.get("PL_GLOBAL_SEED", ""))) if faults and self.training else None
        return fail(fault, output) if fault else output


@lru_cache
def candidate_number(seed: str) -> str:
    """Number of the candidate whose network has this seed; empty in the search, before there are candidates."""
    path = Path(os.environ["TRIED"]).parent / "run" / "candidates.json"
    if not path.exists():
        return ""
    with torch.random.fork_rng(devices=[]):  # building the space draws weights, and the training must not notice
        structure = EdgeStructure.from_space(OneCell(channels=2, in_channels=1))
    keys = [structure.key(record["architecture"]) for record in read_json(path)]
    seeds = [str(network_seed(SEED, key, 0) >> (SEED_BITS - 32)) for key in keys]  # Lightning keeps the upper 32 bits
    return str(seeds.index(seed)) if seed in seeds else ""


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
