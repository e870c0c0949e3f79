"""NNI's mixed operations where they fail: BatchNorm without weights, and the indexing of LayerNorm's.

Each can go when ``tests/test_inherit.py::test_primitive`` passes without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from nni.nas.oneshot.pytorch.supermodule.operation import MixedBatchNorm2d, MixedLayerNorm

from nni_hypens.supernet import weighted_operation


class SlimBatchNorm2d(MixedBatchNorm2d):  # type: ignore[misc]
    """NNI slices the weights and statistics of a narrower BatchNorm without asking whether it has any."""

    def freeze_weight(self, num_features: int | dict[int, float], **kwargs: Any) -> dict[str, torch.Tensor | None]:
        if isinstance(num_features, dict):  # a mixture of widths is as wide as the widest, as NNI has it
            num_features = self.num_features
        names = ("weight", "bias", "running_mean", "running_var")
        tensors = {name: getattr(self, name) for name in names}
        return {name: None if tensor is None else tensor[:num_features] for name, tensor in tensors.items()}


class SlimLayerNorm(MixedLayerNorm):  # type: ignore[misc]
    """NNI indexes with a list of slices, which PyTorch warns of and is to take for a tensor of indices."""

    def _freeze_weight_impl(self, normalized_shape: Any, **kwargs: Any) -> dict[str, Any]:
        if isinstance(normalized_shape, dict):
            normalized_shape = self.normalized_shape
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        where = tuple(slice(0, size) for size in shape)
        tensors = {"weight": self.weight, "bias": self.bias}
        slim = {name: None if tensor is None else tensor[where] for name, tensor in tensors.items()}
        return {**slim, "normalized_shape": shape}


def repaired_hooks() -> list[Callable[..., Any]]:
    """Mutation hooks of these operations, to stand before those of NNI's."""
    return [weighted_operation(operation) for operation in (SlimBatchNorm2d, SlimLayerNorm)]
