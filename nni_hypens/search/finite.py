"""Losses that are no numbers any more end a search at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from nni_hypens.errors import InputError

FINITE = "a finite loss; lower the learning rate"


def check_finite(sums: Mapping[str, Sequence[torch.Tensor]], epoch: int) -> None:
    """Check the numbers of the first step of an epoch, so that a NaN does not cost a whole epoch.

    It waits for the accelerator, once in an epoch.

    Args:
        sums: name -> its scalars of the steps so far.
        epoch: Of the search.

    Raises:
        InputError: NaN or infinity; names the number.
    """
    for name, values in sums.items():
        if name != "accuracy" and not torch.isfinite(values[-1]):
            value = "NaN" if values[-1].isnan() else "infinity"
            raise InputError(name, f"{value} in epoch {epoch} of the search", FINITE)


def check_means(means: Mapping[str, float], epoch: int) -> None:
    """Check the mean losses of an epoch.

    Raises:
        InputError: One is NaN.
    """
    if any(math.isnan(means.get(name, 0.0)) for name in ("loss", "val_loss")):
        raise InputError("loss", f"NaN in epoch {epoch} of the search", FINITE)
