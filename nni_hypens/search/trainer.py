"""Trainer settings under which the search works."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy

from nni_hypens._nni import finds_unused_parameters
from nni_hypens.errors import InputError

PRECISIONS = ("32-true", "64-true", "bf16-mixed")
DDP = "ddp_find_unused_parameters_true"


def check_trainer(trainer: pl.Trainer) -> None:
    """Refuse settings of the trainer under which the search would be wrong.

    Raises:
        InputError: Names the setting, and what would do.
    """
    if trainer.accumulate_grad_batches != 1:
        raise InputError(
            "accumulate_grad_batches",
            trainer.accumulate_grad_batches,
            "1: weights and architecture take turns after each batch; use a larger batch",
        )
    if trainer.gradient_clip_val is not None:
        raise InputError(
            "gradient_clip_val in the trainer",
            trainer.gradient_clip_val,
            "None there, and EdgeNES(gradient_clip_val=...): only the weights are to be clipped",
        )
    if trainer.precision not in PRECISIONS:
        raise InputError(
            "precision",
            repr(trainer.precision),
            f"one of {', '.join(PRECISIONS)}: in 16-mixed the gradients that are clipped would be those of a scaled "
            "loss, and in half precision alone the logits would lose small steps",
        )
    if isinstance(trainer.strategy, DDPStrategy):
        if not finds_unused_parameters(trainer.strategy):
            raise InputError("strategy", "ddp", f"{DDP!r}: each step runs one path, and the other weights wait")
    elif not isinstance(trainer.strategy, SingleDeviceStrategy):
        raise InputError("strategy", type(trainer.strategy).__name__, f"one device, or {DDP!r}")
