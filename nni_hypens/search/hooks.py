"""Mutation hooks for NNI's hub and for gaps in NNI's path sampling, and checks that refuse unsupported spaces.

NNI's supernet of a cell with loose ends concatenates all nodes, but the stand-alone network concatenates only those
that no other node reads: the search would train another network than it exports. Here the other nodes are zeroed, so
every path of the supernet computes its stand-alone network, in another layout of channels. NNI also aligns stages of
mutable depth only for its own strategies.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import nni.nas.strategy  # noqa: F401  # before nni.nas.oneshot: see nni_hypens/_nni.py
import torch
from nni.nas.nn.pytorch import Cell, InputChoice, ModelSpace, MutableModule
from nni.nas.oneshot.pytorch.strategy import no_default_hook
from nni.nas.oneshot.pytorch.supermodule.operation import MixedBatchNorm2d, MixedLayerNorm
from torch import nn

from nni_hypens.errors import InputError
from nni_hypens.search.path_weights import WEIGHTS_KEY, PathWeights
from nni_hypens.search.supermodules import WeightedCell, mutation_hooks, weighted_operation

NASNET = "nni.nas.hub.pytorch.nasnet"
NASBENCH101 = "nni.nas.hub.pytorch.modules.nasbench101"


def hub_class(module: str, name: str) -> type[Any] | None:
    """A class of NNI's hub, or None if its module is not imported yet, and so no space can use it."""
    return getattr(sys.modules.get(module), name, None)


class LooseEnds(nn.Module):
    """Sets the nodes that other nodes read to zero in the concatenation of all nodes.

    Args:
        inner: The cell's own postprocessor.
        n_nodes: Number of nodes; all have the same size along ``dim``.
        dim: Dimension of the concatenation.
    """

    def __init__(self, inner: Callable[..., Any], n_nodes: int, dim: int) -> None:
        super().__init__()
        self.inner = inner
        self.n_nodes = n_nodes
        self.dim = dim
        self.keep = [True] * n_nodes

    def forward(self, this_cell: torch.Tensor, previous: list[torch.Tensor]) -> Any:
        parts = this_cell.chunk(self.n_nodes, self.dim)
        kept = [part if keep else torch.zeros_like(part) for part, keep in zip(parts, self.keep, strict=True)]
        return self.inner(torch.cat(kept, self.dim), previous)


class LooseEndCell(WeightedCell):
    """``Cell`` with ``merge_op="loose_end"``: only the loose ends of the sampled path reach its output."""

    postprocessor: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.postprocessor = LooseEnds(self.postprocessor, self.num_nodes, self.concat_dim)

    @classmethod
    def mutate(cls, module: nn.Module, name: str, memo: dict[str, Any], mutate_kwargs: dict[str, Any]) -> Any:
        if isinstance(module, Cell) and module.merge_op == "loose_end":
            return super().mutate(module, name, memo, mutate_kwargs)
        return None

    def resample(self, memo: dict[str, Any]) -> dict[str, Any]:
        result = super().resample(memo)
        used = {value[0] for value in self._sampled.values() if isinstance(value, list)}
        self.postprocessor.keep = [node not in used for node in self.output_node_indices]
        return result

    def forward(self, *inputs: Any) -> Any:
        if self.path_weights.mixture is not None:  # some option reads each node, and some option leaves it loose
            self.postprocessor.keep = [True] * self.num_nodes
        return super().forward(*inputs)


def mutate_stage(module: nn.Module, name: str, memo: dict[str, Any], mutate_kwargs: dict[str, Any]) -> Any:
    """Mutation hook of ``NDSStage``: NNI's path sampling, with its output multiplied by the weight of its depth."""
    sampling = hub_class(NASNET, "NDSStagePathSampling")
    stage = None if sampling is None else sampling.mutate(module, name, memo, mutate_kwargs)
    if stage is not None:
        weights: PathWeights = memo[WEIGHTS_KEY]
        labels = list(stage.depth_choice.simplify())
        stage.register_forward_pre_hook(lambda _module, _inputs: _refuse_mixture(weights, labels))
        stage.register_forward_hook(lambda _module, _inputs, output: weights.scale([output], labels)[0])
    return stage


def _refuse_mixture(weights: PathWeights, labels: list[str]) -> None:
    if weights.mixture is not None:
        wanted = "paths=1, or a fixed num_cells: cells of other depths have other widths and cannot be summed"
        raise InputError(f"label {labels[0]!r}", "a stage of mutable depth with paths='all'", wanted)


def refuse_unsupported(module: nn.Module, name: str, memo: dict[str, Any], mutate_kwargs: dict[str, Any]) -> bool:
    """Last mutation hook: refuse modules with a choice that no other hook has replaced.

    Raises:
        InputError: Names the label and the module.
    """
    if isinstance(module, Cell) and module.merge_op != "all":
        raise InputError(
            f"cell {str(module.label)!r}",
            f"merge_op={module.merge_op!r} in {type(module).__name__}",
            "NNI's own Cell (its subclasses have no supernet), or merge_op='all'",
        )
    if isinstance(module, MutableModule) and module.mutables:
        labels = sorted({str(label) for mutable in module.mutables for label in mutable.simplify()})
        raise InputError(
            f"label {', '.join(map(repr, labels))}",
            f"a choice inside {type(module).__name__} ({name})",
            "a LayerChoice, InputChoice, Repeat or Cell, a mutable argument of Conv2d, Linear, BatchNorm2d, LayerNorm "
            "or MultiheadAttention, or a mutation hook of yours (mutation_hooks=) that knows this module",
        )
    return True


def all_hooks() -> list[Callable[..., Any]]:
    """Mutation hooks of the primitives and of the hub; the last one refuses all other choices."""
    primitives = [hook for hook in mutation_hooks() if hook is not no_default_hook]
    ours = [LooseEndCell.mutate, mutate_stage, *repaired_hooks()]
    return [*ours, *primitives, refuse_unsupported]


def run_hook(
    hook: Callable[..., Any], name: str, module: nn.Module, memo: dict[str, Any], kwargs: dict[str, Any]
) -> Any:
    """Run one mutation hook; NNI's errors about a space become an `InputError` that names the module.

    Raises:
        InputError: The hook cannot make a supernet of this module.
    """
    try:
        return hook(module, name, memo, kwargs)
    except InputError:
        raise
    except (TypeError, ValueError, NotImplementedError, AssertionError) as error:
        got = f"{type(module).__name__} ({name})"
        raise InputError("space", got, f"a module that a supernet can be made of ({error})") from error


def check_space(space: ModelSpace) -> None:
    """Refuse, before anything is changed, modules that a supernet of sampled paths cannot hold.

    Raises:
        InputError: Names the cell or the label, and what would do.
    """
    constrained = hub_class(NASBENCH101, "NasBench101Cell")
    for name, module in space.named_modules():
        if constrained is not None and isinstance(module, constrained):
            raise InputError(
                f"cell {str(module.label)!r}",
                f"a NasBench101Cell ({name})",
                "cells with independent choices (here the number of inputs is open, a constraint ties it to all other "
                "choices, and widths depend on them): use NasBench201, or a multi-trial strategy",
            )
        if isinstance(module, InputChoice):
            label = f"label {str(module.label)!r}"
            if module.n_chosen is None:
                raise InputError(label, "n_chosen=None", "an InputChoice with a fixed n_chosen")
            if module.reduction == "none":
                raise InputError(label, "reduction='none'", "an InputChoice with reduction 'sum', 'mean' or 'concat'")


class SlimBatchNorm2d(MixedBatchNorm2d):  # type: ignore[misc]
    """BatchNorm of mutable width that may lack weights or statistics; NNI's own slices them even if they are None."""

    def freeze_weight(self, num_features: int | dict[int, float], **kwargs: Any) -> dict[str, torch.Tensor | None]:
        if isinstance(num_features, dict):  # like NNI, a mixture of widths is as wide as the widest
            num_features = self.num_features
        names = ("weight", "bias", "running_mean", "running_var")
        tensors = {name: getattr(self, name) for name in names}
        return {name: None if tensor is None else tensor[:num_features] for name, tensor in tensors.items()}


class SlimLayerNorm(MixedLayerNorm):  # type: ignore[misc]
    """LayerNorm of mutable shape. NNI's own indexes with a list of slices, which PyTorch deprecates."""

    def _freeze_weight_impl(self, normalized_shape: Any, **kwargs: Any) -> dict[str, Any]:
        if isinstance(normalized_shape, dict):
            normalized_shape = self.normalized_shape
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        where = tuple(slice(0, size) for size in shape)
        tensors = {"weight": self.weight, "bias": self.bias}
        slim = {name: None if tensor is None else tensor[where] for name, tensor in tensors.items()}
        return {**slim, "normalized_shape": shape}


def repaired_hooks() -> list[Callable[..., Any]]:
    """Mutation hooks of these operations; they must come before NNI's own."""
    return [weighted_operation(operation) for operation in (SlimBatchNorm2d, SlimLayerNorm)]
