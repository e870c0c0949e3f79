"""Threads of torch, and the versions of what is installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
import torch


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Threads of torch for a while: one is as fast for small networks, gives the same digits on every machine, and does
    not stall when another process has a core (with two threads a search was seen to take twenty times as long)."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def versions() -> dict[str, str]:
    """Versions of everything a result depends on."""
    import nni
    import numpy
    import torch

    from nni_hypens import __version__

    return {
        "nni_hypens": __version__,
        "nni": nni.__version__,
        "torch": str(torch.__version__),
        "pytorch_lightning": pl.__version__,  # type: ignore[attr-defined]
        "numpy": numpy.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
    }
