"""What NNI's hub needs beyond the primitives, what NNI's path sampling leaves out, and refusals.

NNI's supernet of a cell with loose ends concatenates all nodes, though the stand-alone network concatenates only those
that no other node reads: what the search trains is then not what it exports. Here the other nodes are zeroed, so that
every path of the supernet is its stand-alone network, in another layout of channels. And NNI offers its alignment of
stages of mutable depth only to its own strategies.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

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
    """A class of NNI's hub, or None where no space of that file can exist yet: the hub is never imported for it."""
    return getattr(sys.modules.get(module), name, None)


class LooseEnds(nn.Module):
    """Sets the nodes that other nodes read to zero in the concatenation of all nodes.

    Args:
        inner: The cell's own postprocessor.
        n_nodes: Nodes, which all have the same size along ``dim``.
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
        if self.path_weights.mixture is not None:  # every node is read by some option, and every one is a loose end
            self.postprocessor.keep = [True] * self.num_nodes
        return super().forward(*inputs)


def mutate_stage(module: nn.Module, name: str, memo: dict[str, Any], mutate_kwargs: dict[str, Any]) -> Any:
    """Mutation hook of ``NDSStage``: as NNI's path sampling has it, its output scaled by the weight of its depth."""
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
    """Last mutation hook: what no other hook has taken and still has a choice cannot be searched.

    Raises:
        InputError: Names the label and the module.
    """
    if isinstance(module, Cell) and module.merge_op != "all":
        raise InputError(
            f"cell {str(module.label)!r}",
            f"merge_op={module.merge_op!r} in {type(module).__name__}",
            "a Cell of NNI itself (a subclass of it has no supernet), or merge_op='all'",
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
    """Mutation hooks of the primitives and of the hub; what they leave is refused."""
    primitives = [hook for hook in mutation_hooks() if hook is not no_default_hook]
    ours = [LooseEndCell.mutate, mutate_stage, *repaired_hooks()]
    return [*ours, *primitives, refuse_unsupported]


def run_hook(
    hook: Callable[..., Any], name: str, module: nn.Module, memo: dict[str, Any], kwargs: dict[str, Any]
) -> Any:
    """Run one mutation hook; NNI's complaints about a space become ours, with the name of the module.

    Raises:
        InputError: The hook cannot make a supernet of this module.
    """
    try:
        return hook(module, name, memo, kwargs)
    except InputError:
        raise
    except (TypeError, ValueError, NotImplementedError, AssertionError) as error:
        what = f"{type(module).__name__} ({name})"
        raise InputError("space", what, f"a module that a supernet can be made of ({error})") from error


def check_space(space: ModelSpace) -> None:
    """Refuse, before anything is changed, what no supernet of sampled paths can hold.

    Raises:
        InputError: Names the cell or the label, and what would do.
    """
    constrained = hub_class(NASBENCH101, "NasBench101Cell")
    for name, module in space.named_modules():
        if constrained is not None and isinstance(module, constrained):
            raise InputError(
                f"cell {str(module.label)!r}",
                f"a NasBench101Cell ({name})",
                "cells whose choices are independent: here the number of inputs is open, a constraint ties it to all "
                "other choices, and widths follow from them; NasBench201, or a multi-trial strategy, will do",
            )
        if isinstance(module, InputChoice):
            label = f"label {str(module.label)!r}"
            if module.n_chosen is None:
                raise InputError(label, "n_chosen=None", "an InputChoice with a fixed n_chosen")
            if module.reduction == "none":
                raise InputError(label, "reduction='none'", "an InputChoice with reduction 'sum', 'mean' or 'concat'")


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
