"""What a search is given besides a space: trainer, penalty and weights, checked before any long work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from nni.nas.oneshot.pytorch.profiler import ExpectationProfilerPenalty, ProfilerPenalty
from nni.nas.profiler import ExpressionProfiler
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from nni_hypens._compat import expectation_of, finds_unused_parameters
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


def expectation_penalty(penalty: Any) -> ExpectationProfilerPenalty | None:
    """NNI's penalty as its DARTS takes it: the object, or a dict of its arguments.

    Raises:
        InputError: Another penalty, arguments it does not have, or a profiler without an expression.
    """
    if isinstance(penalty, dict):
        try:
            penalty = ExpectationProfilerPenalty(**penalty)
        except TypeError as error:
            raise InputError("penalty", f"a dict with {sorted(penalty)}", f"its arguments ({error})") from None
    if penalty is None:
        return None
    if not isinstance(penalty, ExpectationProfilerPenalty):
        wanted = "nni's ExpectationProfilerPenalty, or a dict of its arguments"
        if isinstance(penalty, ProfilerPenalty):
            wanted += ": the penalty of one sample has no gradient in the logits"
        raise InputError("penalty", type(penalty).__name__, wanted)
    if not isinstance(penalty.profiler, ExpressionProfiler):
        found = type(penalty.profiler).__name__
        raise InputError("penalty.profiler", found, "an ExpressionProfiler such as FlopsProfiler or NumParamsProfiler")
    return penalty


def penalize(
    penalty: ExpectationProfilerPenalty, loss: torch.Tensor, probabilities: dict[str, dict[Any, torch.Tensor]]
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss with the penalty on the expected cost, as NNI's DARTS computes it.

    Args:
        penalty: NNI's penalty.
        loss: A scalar.
        probabilities: label -> option -> its probability.

    Returns:
        The new loss, and ``penalty`` (the expected cost) and ``normalized_penalty``, scalars.
    """
    if type(penalty).profile is ExpectationProfilerPenalty.profile:
        expected = expectation_of(penalty.profiler.expression, probabilities)
    else:
        expected = penalty.profile(probabilities)
    normalized = penalty.nonlinear_fn(expected / penalty.baseline - 1)
    details = {"penalty": expected, "normalized_penalty": normalized}
    numbers = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in details.items()}
    return penalty.aggregate_fn(loss, normalized), numbers


def load_weights(model: nn.Module, path: Path, field: str) -> None:
    """Give a supernet the weights of a safetensors file, all of them.

    Raises:
        InputError: The file is missing or broken, or its weights are not those of this model; the first that differs is
            named.
    """
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(field, str(path), f"a safetensors file of a supernet ({error})") from None
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    for name in own | found:
        if own.get(name) != found.get(name):
            got = f"{path}: {name} of shape {found[name]}" if name in found else f"{path} without {name}"
            wanted = f"shape {own[name]}" if name in own else "no such weight"
            raise InputError(field, got, f"{wanted} (the same space and arguments)")
    model.load_state_dict(weights)
