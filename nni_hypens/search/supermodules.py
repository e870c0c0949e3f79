"""NNI's path-sampling modules, with the output of each choice multiplied by its straight-through weight.

For comparison the same modules can run a *mixture*, as DARTS and the papers' code do: every option of every choice,
summed with the weights of the relaxed choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import nni.nas.strategy  # noqa: F401  # before nni.nas.oneshot: see nni_hypens/_nni.py
import torch
from nni.mutable import label_scope
from nni.nas.nn.pytorch import Cell, MutableModule
from nni.nas.oneshot.pytorch.strategy import no_default_hook
from nni.nas.oneshot.pytorch.supermodule.operation import NATIVE_MIXED_OPERATIONS, MixedOperation
from nni.nas.oneshot.pytorch.supermodule.sampling import (
    MixedOpPathSamplingPolicy,
    PathSamplingCell,
    PathSamplingInput,
    PathSamplingLayer,
    PathSamplingRepeat,
)
from torch import nn

from nni_hypens._nni import distribution_of
from nni_hypens.errors import InputError
from nni_hypens.search.path_weights import WEIGHTS_KEY, PathWeights, added, scaled, weighted_sum


class Weighted:
    """Mixin of NNI's path-sampling modules: gives each new module the weights of its supernet."""

    path_weights: PathWeights

    @classmethod
    def mutate(cls, module: nn.Module, name: str, memo: dict[str, Any], mutate_kwargs: dict[str, Any]) -> Any:
        """NNI's mutation; None where NNI leaves the module to another hook."""
        mutated = super().mutate(module, name, memo, mutate_kwargs)  # type: ignore[misc]
        if isinstance(mutated, nn.Module):
            mutated.path_weights = memo[WEIGHTS_KEY]
        return mutated


class WeightedLayer(Weighted, PathSamplingLayer):  # type: ignore[misc]
    """``LayerChoice`` that runs the sampled layer and multiplies its output by the layer's weight."""

    def _reduction(self, items: list[Any], sampled: list[Any]) -> Any:
        return super()._reduction(self.path_weights.scale(items, [self.label]), sampled)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.path_weights.mixture is None:
            return super().forward(*args, **kwargs)
        outputs = (self[name](*args, **kwargs) for name in self.names)
        return weighted_sum(outputs, self.path_weights.mixture[self.label])


class WeightedInput(Weighted, PathSamplingInput):  # type: ignore[misc]
    """``InputChoice`` that multiplies each sampled input by its weight."""

    def _reduction(self, items: list[Any], sampled: list[Any]) -> Any:
        return super()._reduction(self.path_weights.scale(items, [self.label]), sampled)

    def forward(self, input_tensors: Sequence[torch.Tensor]) -> Any:
        if self.path_weights.mixture is None:
            return super().forward(input_tensors)
        if self.reduction == "concat":
            raise InputError(f"label {self.label!r}", "reduction='concat' with paths='all'", "sum or mean, or paths=1")
        total = weighted_sum(input_tensors, self.path_weights.mixture[self.label])
        return scaled(total, 1 / self.n_chosen) if self.reduction == "mean" else total


class WeightedRepeat(Weighted, PathSamplingRepeat):  # type: ignore[misc]
    """``Repeat`` of sampled depth, its output scaled by the weight of the depth. Depth 0 passes the input on; NNI's own
    path-sampling module has no output there."""

    def _reduction(self, items: list[Any], sampled: list[Any]) -> Any:
        return super()._reduction(self.path_weights.scale(items, self.depth_choice.simplify()), sampled)

    def forward(self, x: Any) -> Any:
        if self.path_weights.mixture is None:
            return self._reduction([x], [0]) if self._sampled == 0 else super().forward(x)
        shares = distribution_of(self.depth_choice, self.path_weights.mixture)
        total = scaled(x, shares[0]) if 0 in shares else None
        for depth, block in enumerate(self.blocks, start=1):
            x = block(x)
            if depth in shares:
                total = added(total, scaled(x, shares[depth]))
            if depth == max(shares):
                break
        return total


class WeightedCell(Weighted, PathSamplingCell):  # type: ignore[misc]
    """NNI ``Cell`` that multiplies each sampled edge by the weights of its input and of its operation."""

    @classmethod
    def mutate(cls, module: nn.Module, name: str, memo: dict[str, Any], mutate_kwargs: dict[str, Any]) -> Any:
        """NNI's mutation, which builds the operations again.

        Raises:
            InputError: A choice inside an operation has another label in the supernet than in the space.
        """
        if not isinstance(module, Cell):
            return None
        # as in the cell itself: NNI's supernet builds operations outside it, where choices in them get other labels
        with label_scope(module.label):
            mutated = super().mutate(module, name, memo, mutate_kwargs)
        if isinstance(mutated, nn.Module):
            _check_labels(module, cast(Any, mutated))
        return mutated

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        first = self.num_predecessors
        self._slots = [
            [
                (f"{self.label}/input_{node}_{slot}", f"{self.label}/op_{node}_{slot}")
                for slot in range(self.num_ops_per_node)
            ]
            for node in range(first, first + self.num_nodes)
        ]

    def resample(self, memo: dict[str, Any]) -> dict[str, Any]:
        labels = [label for slots in self._slots for pair in slots for label in pair]
        if all(label in memo for label in labels):  # NNI's resample walks all mutables: a thirtieth of a step
            self._sampled = {label: memo[label] for label in labels}
            return {}
        sampled: dict[str, Any] = super().resample(memo)
        return sampled

    def forward(self, *inputs: Any) -> Any:
        processed = list(inputs[0]) if len(inputs) == 1 and isinstance(inputs[0], list | tuple) else list(inputs)
        states: list[torch.Tensor] = list(self.preprocessor(processed))
        mixture = self.path_weights.mixture
        for ops, slots in zip(self.ops, self._slots, strict=True):
            if mixture is not None:
                shares = [torch.outer(mixture[inputs], mixture[operation]) for inputs, operation in slots]
                weights = torch.stack(shares).sum(0)  # inputs x operations: slots of a node share their operations
                every = (op(states[source]) for source, many in enumerate(ops) for op in many.values())
                states.append(weighted_sum(every, weights.flatten()))
                continue
            outputs: list[torch.Tensor] = []
            for input_label, op_label in slots:
                source = self._sampled[input_label][0]
                output = ops[source][self._sampled[op_label]](states[source])
                outputs += self.path_weights.scale([output], [input_label, op_label])
            states.append(sum(outputs[1:], outputs[0]))
        return self.postprocessor(torch.cat(states[self.num_predecessors :], self.concat_dim), processed)


def _check_labels(cell: Any, supercell: Any) -> None:
    """Refuse choices inside operations that the supernet cannot tell apart as the cell does.

    The cell has an operation for each (node, slot), and the supernet for each (node, input): labels that are counted,
    or that depend on the slot or on the input, name other choices there. An operation may have more choices on one
    input than on another, as one that halves the image only where the input is large.
    """
    for number, (slots, sources) in enumerate(zip(cell.ops, supercell.ops, strict=True), cell.num_predecessors):
        for slot in slots:
            own = {str(name): _labels_in(slot[name]) for name in slot.names}
            for source, candidates in enumerate(sources):
                for name, labels in own.items():
                    others = _labels_in(candidates[name])
                    if not (set(labels) <= set(others) or set(others) <= set(labels)):
                        raise InputError(
                            f"cell {str(cell.label)!r}",
                            f"operation {name!r} of node {number}, with the choices {labels} in the space and {others} "
                            f"on input {source} in the supernet",
                            "choices inside operations with a label= that is the same for all slots and inputs",
                        )


def _labels_in(module: nn.Module) -> list[str]:
    """Labels of all choices in a module, in the order in which they were made."""
    mutables = (each for part in module.modules() if isinstance(part, MutableModule) for each in part.mutables)
    return [str(label) for mutable in mutables for label in mutable.simplify()]


class WeightedPolicy(MixedOpPathSamplingPolicy):  # type: ignore[misc]
    """Arguments of a mixed operation: the sampled values, or in a mixture the distribution over all values."""

    def __init__(self, operation: MixedOperation, memo: dict[str, Any], mutate_kwargs: dict[str, Any]) -> None:
        super().__init__(operation, memo, mutate_kwargs)
        self.path_weights: PathWeights = memo[WEIGHTS_KEY]

    def forward_argument(self, operation: MixedOperation, name: str) -> Any:
        mixture = self.path_weights.mixture
        if mixture is None or name not in operation.mutable_arguments:
            return super().forward_argument(operation, name)
        return distribution_of(operation.mutable_arguments[name], mixture)


def weighted_operation(operation: Any) -> Callable[..., Any]:
    """Mutation hook of one of NNI's mixed operations that multiplies its output by the weights of its arguments."""

    def mutate(module: nn.Module, name: str, memo: dict[str, Any], mutate_kwargs: dict[str, Any]) -> Any:
        mixed = operation.mutate(module, name, memo, mutate_kwargs)
        if isinstance(mixed, nn.Module):
            labels = list(cast(Any, mixed).simplify())
            weights: PathWeights = memo[WEIGHTS_KEY]
            mixed.register_forward_hook(lambda _module, _inputs, output: weights.scale([output], labels)[0])
        return mixed

    return mutate


def mutation_hooks() -> list[Callable[..., Any]]:
    """NNI mutation hooks that replace each primitive of a model space by its weighted path-sampling module."""
    hooks = [WeightedLayer.mutate, WeightedInput.mutate, WeightedRepeat.mutate, WeightedCell.mutate]
    return [*hooks, *(weighted_operation(operation) for operation in NATIVE_MIXED_OPERATIONS), no_default_hook]
