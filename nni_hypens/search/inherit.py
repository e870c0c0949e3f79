"""Stand-alone networks with the weights of a trained supernet.

NNI freezes a supernet in place. That loses the weights of the DARTS family, fails for operations without bias, and
cannot slim a cell. Here the network is built from a copy of the space taken before the search, and each parameter and
buffer is copied from the supernet's path. A tensor without a source is an error; it is never left random.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import chain
from typing import Any, cast

import nni.nas.strategy  # noqa: F401  # before nni.nas.oneshot: see nni_hypens/_nni.py
import torch
from nni.nas.evaluator import Evaluator
from nni.nas.nn.pytorch import Cell, LayerChoice, ModelSpace, MutableModule, Repeat
from nni.nas.oneshot.pytorch.supermodule.operation import MixedOperation
from nni.nas.oneshot.pytorch.supermodule.sampling import PathSamplingCell
from nni.nas.space import ModelStatus, RawFormatModelSpace
from torch import nn

from nni_hypens.errors import InputError, reason
from nni_hypens.search.hooks import NASNET, LooseEndCell, LooseEnds, hub_class
from nni_hypens.space.architecture import Sample

WAY_OUT = "formatter='dict' exports the architecture, to be trained from scratch"


class Inheritance:
    """Builds stand-alone networks from a model space, with the weights of its supernet.

    Args:
        space: The model space before it becomes a supernet; it is copied, on the CPU.
    """

    def __init__(self, space: ModelSpace) -> None:
        self.name = type(space).__name__
        self.supernet: nn.Module | None = None
        self.template: ModelSpace | None = None
        self.reason = ""
        try:
            self.template = copy.deepcopy(space)
        except (RuntimeError, TypeError) as error:  # tensors with a history, locks, open files
            self.reason = reason(error)

    def network(self, sample: Sample) -> nn.Module:
        """The stand-alone network of an architecture, on the CPU, with the weights and buffers of its path.

        In evaluation mode, and in training mode without dropout, its outputs are those of the supernet on that path.

        Args:
            sample: An NNI sample of the space.

        Raises:
            InputError: The network has a layer that the path lacks; names it.
        """
        assert self.supernet is not None
        if self.template is None:
            raise self._refusal(f"a space that cannot be copied ({self.reason})", "a space that copy.deepcopy accepts")
        with torch.random.fork_rng(devices=[]):  # the first weights of the network are all replaced
            # NNI's freeze returns parts of the space itself, which two networks would then share
            network: nn.Module = copy.deepcopy(self.template.freeze(sample))
        self._check_frozen(network)
        paths = _Paths(sample, _loose_end_columns(self, network))
        self._check_stages(sample)
        try:
            paths.copy(self.supernet, network, "")
        except _NoSourceError as error:
            raise self._refusal(f"{error}", "a stand-alone network whose layers are those of the supernet") from None
        return network

    def _check_frozen(self, network: nn.Module) -> None:
        for name, module in network.named_modules():
            if isinstance(module, MutableModule) and module.mutables:
                raise self._refusal(f"{name} with its choice still open after freeze()", "a freeze() that fixes it")

    def _check_stages(self, sample: Sample) -> None:
        """Refuse a stage of one cell: in the supernet only, a layer after it gives it the width of longer stages."""
        sampling = hub_class(NASNET, "NDSStagePathSampling")
        assert self.supernet is not None
        stages = [module for module in self.supernet.modules() if sampling is not None and isinstance(module, sampling)]
        for number, stage in enumerate(stages[:-1]):  # no layer reads that output of the last stage
            if stage.first_cell_transformation is not None and stage.depth_choice.freeze(sample) == 1:
                raise self._refusal(
                    f"stage {number} with one cell, which the supernet aligns by an extra layer",
                    "a fixed num_cells, or depths of at least 6 (two cells in each stage)",
                )

    def _refusal(self, got: str, expected: str) -> InputError:
        return InputError(f"weights for an instance of {self.name}", got, f"{expected}; {WAY_OUT}")


class _NoSourceError(Exception):
    """A tensor of the stand-alone network is not on the path of the supernet."""


class _Paths:
    """Copies tensors along one path of a supernet.

    Args:
        sample: The architecture.
        columns: id of a convolution or linear layer of the network -> the supernet layer's input channels it keeps.
    """

    def __init__(self, sample: Sample, columns: dict[int, torch.Tensor]) -> None:
        self.sample = sample
        self.columns = columns

    def copy(self, source: nn.Module, target: nn.Module, name: str) -> None:
        """Copy all tensors of ``target`` from ``source``, the corresponding part of the supernet."""
        if next(chain(target.parameters(), target.buffers()), None) is None:
            return
        if isinstance(source, LayerChoice):
            self.copy(source[self.sample[source.label]], target, name)
        elif isinstance(source, LooseEnds):
            self.copy(cast(nn.Module, source.inner), target, name)
        elif isinstance(source, Repeat) and isinstance(target, nn.Sequential):
            for index, block in enumerate(target):
                self.copy(source.blocks[index], block, f"{name}.{index}")
        elif isinstance(source, PathSamplingCell):
            self._cell(source, target, name)
        elif isinstance(source, MixedOperation):
            self._operation(source, target, name)
        else:
            self._module(source, target, name)

    def _module(self, source: nn.Module, target: nn.Module, name: str) -> None:
        """Copy a module that is not a choice: tensor by tensor, child by child."""
        tensors = dict(_direct_tensors(source))
        for key, tensor in _direct_tensors(target):
            _assign(tensor, tensors.get(key), f"{name}.{key}")
        for key, child in target.named_children():
            origin = source.get_submodule(key) if key in dict(source.named_children()) else nn.Module()
            self.copy(origin, child, f"{name}.{key}" if name else key)

    def _cell(self, source: PathSamplingCell, target: nn.Module, name: str) -> None:
        """Copy a cell. The supernet has an operation for each (node, input), the frozen cell for each (node, slot). Two
        slots with the same choices share their operation in the supernet, so both get its weights."""
        if not isinstance(target, Cell):
            raise _NoSourceError(f"{name}, a {type(target).__name__} where the supernet has a cell")
        self.copy(source.preprocessor, target.preprocessor, f"{name}.preprocessor")
        self.copy(source.postprocessor, target.postprocessor, f"{name}.postprocessor")
        for node, slots in enumerate(target.ops):
            number = node + source.num_predecessors
            for slot, operation in enumerate(slots):
                chosen = self.sample[f"{source.label}/input_{number}_{slot}"][0]
                origin = source.ops[node][chosen][self.sample[f"{source.label}/op_{number}_{slot}"]]
                self.copy(origin, operation, f"{name}.ops.{node}.{slot}")

    def _operation(self, source: MixedOperation, target: nn.Module, name: str) -> None:
        """Copy the slices of a mixed operation that the path uses. NNI returns None for a missing bias, and leaves out
        counters (BatchNorm's)."""
        arguments = {**source.init_arguments}
        arguments.update({key: value.freeze(self.sample) for key, value in source.mutable_arguments.items()})
        sliced = {**dict(_all_tensors(source)), **source.freeze_weight(**arguments)}
        columns = self.columns.get(id(target))
        if columns is not None:
            sliced["weight"] = sliced["weight"].index_select(1, columns.to(sliced["weight"].device))
        for key, tensor in _all_tensors(target):
            _assign(tensor, sliced.get(key), f"{name}.{key}")


def _assign(target: torch.Tensor, origin: torch.Tensor | None, name: str) -> None:
    if origin is None:
        raise _NoSourceError(f"{name}, which the supernet lacks")
    if origin.shape != target.shape:
        raise _NoSourceError(f"{name} of shape {tuple(target.shape)}, where the supernet has {tuple(origin.shape)}")
    with torch.no_grad():
        target.copy_(origin)


def _direct_tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)


def _all_tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _loose_end_columns(inheritance: Inheritance, network: nn.Module) -> dict[int, torch.Tensor]:
    """The input channels that layers after cells with loose ends keep.

    In NNI's NASNet family it is known which layers read a cell: the next two cells, and the classifier after the last.
    The dropped nodes are zero in the supernet, and no layer there has a bias before the sum over channels, so the kept
    channels compute the same output.
    """
    assert inheritance.supernet is not None
    cells = [module for module in network.modules() if isinstance(module, Cell) and module.merge_op == "loose_end"]
    supercells = [module for module in inheritance.supernet.modules() if isinstance(module, LooseEndCell)]
    if not supercells:
        return {}
    family = hub_class(NASNET, "NDS")
    if family is None or not isinstance(network, family):
        raise inheritance._refusal(
            f"cell {str(supercells[0].label)!r} with merge_op='loose_end'",
            "merge_op='all' (which layers read the loose ends is known only in the NASNet family of NNI's hub)",
        )
    columns: dict[int, torch.Tensor] = {}
    for index, cell in enumerate(cells):
        readers: list[Any] = [(cells[index + 1].preprocessor.pre1)] if index + 1 < len(cells) else [network.classifier]
        readers += [cells[index + 2].preprocessor.pre0] if index + 2 < len(cells) else []
        ends = [node - cell.num_predecessors for node in cell.output_node_indices]
        for layer in (module for reader in readers for module in reader.modules()):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                width = (layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features) // len(ends)
                columns[id(layer)] = torch.cat([torch.arange(end * width, (end + 1) * width) for end in ends])
    return columns


class InheritedModel(RawFormatModelSpace):  # type: ignore[misc]
    """A frozen architecture whose executable model has the supernet's weights.

    Args:
        model_space: The supernet.
        evaluator: The user's evaluator.
        sample: The architecture.
        inheritance: Builds the network.
    """

    def __init__(
        self, model_space: ModelSpace, evaluator: Evaluator | None, sample: Sample, inheritance: Inheritance
    ) -> None:
        super().__init__(model_space, evaluator)
        self.sample = sample
        self.status = ModelStatus.Frozen
        self._inheritance = inheritance

    def executable_model(self) -> nn.Module:
        """A new network with inherited weights at each call.

        Raises:
            InputError: The network cannot be built; see `Inheritance.network`.
        """
        return self._inheritance.network(self.sample)
