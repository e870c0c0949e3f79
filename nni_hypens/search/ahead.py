"""Logits of the next step, on their way from the accelerator to the host while it is busy with this one.

Which path to run is decided on the host, from logits on the accelerator. To ask for them in the middle of a step would
leave the accelerator without work twice in each. So both draws of a step use the logits as they were after the
architecture step before it, copied while the weight step before it runs. The architecture step gets its own logits in
this way. Those of the weight step are one update old; on a CPU, where nothing has to be waited for, they are not.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from nni_hypens.utils.transfer import HostCopy


class LogitsAhead:
    """The logits of both draws of each step, on the host.

    Args:
        compute: Gives the logits ``2 x L x M`` of the architecture step's draw and of the weight step's, at a phase and
            a batch, on the accelerator.
    """

    def __init__(self, compute: Callable[[str, int], torch.Tensor]) -> None:
        self.compute = compute
        self._step: tuple[int, int] | None = None
        self._copy: HostCopy | None = None

    def send(self, phase: str, epoch: int, batch: int) -> None:
        """Begin to copy the logits of a step."""
        with torch.no_grad():
            both = self.compute(phase, batch)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # the last digits differ between accelerators, and every rank must run the same path
            torch.distributed.broadcast(both, 0)
        self._step, self._copy = (epoch, batch), HostCopy(both)

    def get(self, phase: str, epoch: int, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits of a step, ``L x M`` each. Only in the first step of an epoch they have to be sent first."""
        if self._step != (epoch, batch):
            self.send(phase, epoch, batch)
        assert self._copy is not None
        first, second = self._copy.get().unbind(0)
        return first, second
