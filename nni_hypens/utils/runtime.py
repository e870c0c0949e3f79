"""Threads of torch, the versions of what is installed, and what kind of machine this is."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def machine() -> dict[str, str | int]:
    """What kind of machine this is, without its name: `system`, `processor`, `cores`, and `gpu` if there is one."""
    found: dict[str, str | int] = {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _processor(table: Path = Path("/proc/cpuinfo")) -> str:
    """Model of the processor; Python itself knows only its family on Linux."""
    lines = table.read_text(encoding="utf-8", errors="replace").splitlines() if table.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
