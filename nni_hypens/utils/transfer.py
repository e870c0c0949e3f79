"""Tensors on their way between host and accelerator, without waiting.

A plain ``tensor.to(device)`` waits until the accelerator has done everything it was asked for before, and so does every
look at a number on it. A training step must do neither, or the accelerator idles while Python prepares the next one.
"""

from __future__ import annotations

import torch


def sent(tensor: torch.Tensor, device: torch.device, dtype: torch.dtype | None = None) -> torch.Tensor:
    """A tensor of the host on another device, without waiting for that device; the same tensor if nothing changes.

    Only towards the accelerator: what it has computed is there later, which `HostCopy` takes care of.

    Examples:
        >>> sent(torch.ones(2), torch.device("cpu"), torch.float64).dtype
        torch.float64
    """
    leaves = tensor.device.type == "cpu" and device.type != "cpu"
    return tensor.to(device, dtype or tensor.dtype, non_blocking=leaves)


class HostCopy:
    """A copy of a tensor on the host, which the accelerator makes once it has computed the tensor.

    Args:
        tensor: On any device. It must not be changed in place before `get`.

    Examples:
        >>> HostCopy(torch.arange(3)).get()
        tensor([0, 1, 2])
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        tensor = tensor.detach()
        self._arrived: torch.cuda.Event | None = None
        if not tensor.is_cuda:
            self._host = tensor.cpu()
            return
        self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._host.copy_(tensor, non_blocking=True)
        self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._arrived.record(torch.cuda.current_stream(tensor.device))

    def get(self) -> torch.Tensor:
        """The copy. It waits until the accelerator has made the copy, but not for work that was queued later."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._host
