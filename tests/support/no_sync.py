"""Shows that code never waits for an accelerator, on a machine without one.

Tensors on torch's ``meta`` device have no values: every look at one raises, as does a copy of one to the host. What is
left are copies to the device that wait, which `NoWaiting` refuses.
"""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch.utils._python_dispatch import TorchDispatchMode

META = torch.device("meta")


class NoWaiting(TorchDispatchMode):
    """Refuses copies from host to device with ``non_blocking=False``, for which torch waits for all earlier work."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is torch.ops.aten._to_copy.default:
            there, waits = kwargs.get("device"), not kwargs.get("non_blocking", False)
            assert not (waits and there == META and args[0].device != META), "a copy to the device that waits"
        if function is torch.ops.aten.copy_.default and args[0].device == META and args[1].device != META:
            assert args[1].dim() == 0 or (args[2:3] or [kwargs.get("non_blocking", False)])[0], "a copy that waits"
        return function(*args, **kwargs)


class Pretended(CPUAccelerator):
    """Lightning's accelerator for the ``meta`` device."""

    def setup_device(self, device: torch.device) -> None:
        """Nothing."""


def pretended() -> dict[str, Any]:
    """Arguments of a trainer that computes on the ``meta`` device. Its end raises, for nothing can come back."""
    return {"strategy": SingleDeviceStrategy(META, accelerator=Pretended())}


class StepsDoneError(Exception):
    """Enough steps were made: an epoch cannot end, because its mean loss has no value."""
