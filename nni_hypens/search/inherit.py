"""Stand-alone networks with the weights of a trained supernet.

NNI freezes a supernet in place; that loses the weights of the DARTS family, fails for operations without bias, and
cannot slim a cell. Here the network is built from a copy of the space that was taken before the search, and each of its
parameters and buffers is copied from the path of the supernet. A tensor with no origin is an error, never left random.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import chain
from typing import Any, cast

import torch
from nni.nas.evaluator import Evaluator
from nni.nas.nn.pytorch import Cell, LayerChoice, ModelSpace, MutableModule, Repeat
from nni.nas.oneshot.pytorch.supermodule.operation import MixedOperation
from nni.nas.oneshot.pytorch.supermodule.sampling import PathSamplingCell
from nni.nas.space import ModelStatus, RawFormatModelSpace
from torch import nn

from nni_hypens.errors import InputError
from nni_hypens.search.hooks import NASNET, LooseEndCell, LooseEnds, hub_class
from nni_hypens.space.architecture import Sample

WAY_OUT = "formatter='dict' exports the architecture, to be trained from scratch"


class Inheritance:
    """Builds stand-alone networks from a model space, with the weights of its supernet.

    Args:
        space: The model space as it is before it is turned into a supernet; it is copied, on the CPU.
    """

    def __init__(self, space: ModelSpace) -> None:
        self.name = type(space).__name__
        self.supernet: nn.Module | None = None
        self.template: ModelSpace | None = None
        self.reason = ""
        try:
            self.template = copy.deepcopy(space)
        except (RuntimeError, TypeError) as error:  # tensors with a history, locks, open files
            self.reason = str(error)

    def network(self, sample: Sample) -> nn.Module:
        """The stand-alone network of an architecture, on the CPU, with the weights and buffers of its path.

        In evaluation mode, and in training mode without dropout, it computes what the supernet computes on that path.

        Args:
            sample: An NNI sample of the space.

        Raises:
            InputError: The stand-alone network has a layer that the path has not; names it, and what would do.
        """
        assert self.supernet is not None
        if self.template is None:
            raise self._refusal(f"a space that cannot be copied ({self.reason})", "a space that copy.deepcopy accepts")
        with torch.random.fork_rng(devices=[]):  # the first weights of the network are all replaced
            # NNI's freeze gives out parts of the space itself, so that two networks would share them
            network: nn.Module = copy.deepcopy(self.template.freeze(sample))
        self._check_frozen(network)
        paths = _Paths(sample, _loose_end_columns(self, network))
        self._check_stages(sample)
        try:
            paths.copy(self.supernet, network, "")
        except _NoOriginError as error:
            raise self._refusal(f"{error}", "a stand-alone network whose layers are those of the supernet") from None
        return network

    def _check_frozen(self, network: nn.Module) -> None:
        for name, module in network.named_modules():
            if isinstance(module, MutableModule) and module.mutables:
                raise self._refusal(f"{name} with its choice still open after freeze()", "a freeze() that fixes it")

    def _check_stages(self, sample: Sample) -> None:
        """A stage of one cell is followed, in the supernet only, by a layer that gives it the width of longer ones."""
        sampling = hub_class(NASNET, "NDSStagePathSampling")
        assert self.supernet is not None
        stages = [module for module in self.supernet.modules() if sampling is not None and isinstance(module, sampling)]
        for number, stage in enumerate(stages[:-1]):  # nothing reads that output of the last stage
            if stage.first_cell_transformation is not None and stage.depth_choice.freeze(sample) == 1:
                raise self._refusal(
                    f"stage {number} with one cell, which the supernet aligns by a layer of its own",
                    "a fixed num_cells, or depths of at least 6 (two cells in each stage)",
                )

    def _refusal(self, got: str, expected: str) -> InputError:
        return InputError(f"weights for an instance of {self.name}", got, f"{expected}; {WAY_OUT}")


class _NoOriginError(Exception):
    """A tensor of the stand-alone network is not on the path of the supernet."""


class _Paths:
    """Copies tensors along one path of a supernet.

    Args:
        sample: The architecture.
        columns: id of a convolution or linear layer of the network -> which input channels of the supernet's it has.
    """

    def __init__(self, sample: Sample, columns: dict[int, torch.Tensor]) -> None:
        self.sample = sample
        self.columns = columns

    def copy(self, source: nn.Module, target: nn.Module, name: str) -> None:
        """Copy what ``target`` holds from where ``source``, a part of the supernet, has it."""
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
        """A module without a choice of its own: tensor by tensor, child by child."""
        own = dict(_own_tensors(source))
        for key, tensor in _own_tensors(target):
            _assign(tensor, own.get(key), f"{name}.{key}")
        for key, child in target.named_children():
            origin = source.get_submodule(key) if key in dict(source.named_children()) else nn.Module()
            self.copy(origin, child, f"{name}.{key}" if name else key)

    def _cell(self, source: PathSamplingCell, target: nn.Module, name: str) -> None:
        """The supernet has an operation for each (node, input); the frozen cell one for each (node, slot). Two slots
        that agree share their operation in the supernet, so both get its weights."""
        if not isinstance(target, Cell):
            raise _NoOriginError(f"{name}, a {type(target).__name__} where the supernet has a cell")
        self.copy(source.preprocessor, target.preprocessor, f"{name}.preprocessor")
        self.copy(source.postprocessor, target.postprocessor, f"{name}.postprocessor")
        for node, slots in enumerate(target.ops):
            number = node + source.num_predecessors
            for slot, operation in enumerate(slots):
                chosen = self.sample[f"{source.label}/input_{number}_{slot}"][0]
                origin = source.ops[node][chosen][self.sample[f"{source.label}/op_{number}_{slot}"]]
                self.copy(origin, operation, f"{name}.ops.{node}.{slot}")

    def _operation(self, source: MixedOperation, target: nn.Module, name: str) -> None:
        """A mixed operation: the slices that the path uses. NNI gives None for a missing bias, and leaves out
        counters such as BatchNorm's."""
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
        raise _NoOriginError(f"{name}, which the supernet has not")
    if origin.shape != target.shape:
        raise _NoOriginError(f"{name} of shape {tuple(target.shape)}, where the supernet has {tuple(origin.shape)}")
    with torch.no_grad():
        target.copy_(origin)


def _own_tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)


def _all_tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _loose_end_columns(inheritance: Inheritance, network: nn.Module) -> dict[int, torch.Tensor]:
    """Which input channels the layers behind cells with loose ends keep.

    Where the cells of NNI's NASNet family end is known: a cell reads the two before it, the classifier the last. The
    nodes that are left out are zero in the supernet, and no layer there has a bias before the sum over channels, so
    what is kept computes the same.
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
            "merge_op='all' (only in the NASNet family of NNI's hub is it known which layers read the loose ends)",
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
        inheritance: What builds the network.
    """

    def __init__(
        self, model_space: ModelSpace, evaluator: Evaluator | None, sample: Sample, inheritance: Inheritance
    ) -> None:
        super().__init__(model_space, evaluator)
        self.sample = sample
        self.status = ModelStatus.Frozen
        self._inheritance = inheritance

    def executable_model(self) -> nn.Module:
        """A new network with inherited weights, each time it is called.

        Raises:
            InputError: There is no such network; see `Inheritance.network`.
        """
        return self._inheritance.network(self.sample)
