"""The path-sampled supernet: one architecture per step, with straight-through weights that carry its gradient.

NNI's path-sampling modules run only the sampled path. Ours multiply each chosen output by its weight, a number that is
exactly 1 and whose gradient is that of the relaxed choice, so that the gradient of the loss reaches the logits.

For comparison the same modules can run as a *mixture*, what the code of the papers and DARTS do: every option of every
choice, summed with the weights of the relaxed choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from nni.nas.nn.pytorch import ModelSpace
from nni.nas.oneshot.pytorch.strategy import no_default_hook
from nni.nas.oneshot.pytorch.supermodule.base import BaseSuperNetModule
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
from nni_hypens.space.architecture import ChoiceTable, Sample
from nni_hypens.space.draws import PathDraw

WEIGHTS_KEY = "nni_hypens.path_weights"


class PathWeights:
    """Straight-through weights of the path that is being run, shared by all modules of one supernet.

    ``values`` maps a label to one 0-dim tensor per chosen option (in the order of the options), or is None where no
    gradient to the logits is wanted: then modules multiply by nothing. ``mixture`` maps a label to the weights of all
    its options (``M`` numbers that sum to n_chosen), or is None where one path is run.
    """

    def __init__(self) -> None:
        self.values: dict[str, tuple[torch.Tensor, ...]] | None = None
        self.mixture: dict[str, torch.Tensor] | None = None

    def set(self, table: ChoiceTable, draw: PathDraw) -> None:
        """Weights of one draw (``chosen`` L x k, ``soft`` L x M): value 1, gradient of ``soft`` at the chosen
        options."""
        ordered = draw.chosen  # ChoiceTable.to_sample sorts only within the first n_chosen, so sort the same way
        soft = draw.soft.gather(-1, ordered)
        rows = (1.0 + soft - soft.detach()).unbind(0)
        values = {}
        for (label, k), row, chosen in zip(table.n_chosen.items(), rows, ordered.tolist(), strict=True):
            weights = row.unbind(0)
            order = sorted(range(k), key=chosen.__getitem__)
            values[label] = tuple(weights[index] for index in order)
        self.values = values

    def set_mixture(self, table: ChoiceTable, soft: torch.Tensor) -> None:
        """Run every option from now on, weighted by ``soft`` (L x M)."""
        rows = zip(table.options.items(), soft.unbind(0), strict=True)
        self.values, self.mixture = None, {label: row[: len(options)] for (label, options), row in rows}

    def clear(self) -> None:
        """Run the path without weights."""
        self.values = self.mixture = None

    def scale(self, items: Sequence[Any], labels: Iterable[str]) -> list[Any]:
        """Each of ``items`` times its weight; with several labels, one item times the product of all of them."""
        if self.values is None:
            return list(items)
        weights = [self.values[label] for label in labels]
        if len(weights) == 1 and len(weights[0]) == len(items):
            return [_times(item, weight) for item, weight in zip(items, weights[0], strict=True)]
        product = math.prod(one for many in weights for one in many)  # first: each item is then copied only once
        return [_times(item, product) for item in items]


def _times(item: Any, weight: torch.Tensor | float) -> Any:
    """Tensor, or tuple or list of tensors, times a number; what else is in them (attention gives None) stays."""
    if isinstance(item, tuple | list):
        return type(item)(_times(part, weight) for part in item)
    return item * weight if isinstance(item, torch.Tensor) else item


class WeightedLayer(PathSamplingLayer):  # type: ignore[misc]
    """``LayerChoice`` that runs the sampled layer and scales its output by the layer's weight."""

    @classmethod
    def mutate(cls, module: nn.Module, name: str, memo: dict[str, Any], mutate_kwargs: dict[str, Any]) -> Any:
        return _with_weights(super().mutate(module, name, memo, mutate_kwargs), memo)

    def _reduction(self, items: list[Any], sampled: list[Any]) -> Any:
        return super()._reduction(self.path_weights.scale(items, [self.label]), sampled)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.path_weights.mixture is None:
            return super().forward(*args, **kwargs)
        outputs = (self[name](*args, **kwargs) for name in self.names)
        return _weighted_sum(outputs, self.path_weights.mixture[self.label])


class WeightedInput(PathSamplingInput):  # type: ignore[misc]
    """``InputChoice`` that scales each sampled input by its weight."""

    @classmethod
    def mutate(cls, module: nn.Module, name: str, memo: dict[str, Any], mutate_kwargs: dict[str, Any]) -> Any:
        return _with_weights(super().mutate(module, name, memo, mutate_kwargs), memo)

    def _reduction(self, items: list[Any], sampled: list[Any]) -> Any:
        return super()._reduction(self.path_weights.scale(items, [self.label]), sampled)

    def forward(self, input_tensors: Sequence[torch.Tensor]) -> Any:
        if self.path_weights.mixture is None:
            return super().forward(input_tensors)
        if self.reduction == "concat":
            raise InputError(f"label {self.label!r}", "reduction='concat' with paths='all'", "sum or mean, or paths=1")
        total = _weighted_sum(input_tensors, self.path_weights.mixture[self.label])
        return _times(total, 1 / self.n_chosen) if self.reduction == "mean" else total


class WeightedRepeat(PathSamplingRepeat):  # type: ignore[misc]
    """``Repeat`` of sampled depth, its output scaled by the weight of the depth; it may be skipped altogether, where
    NNI's path-sampling one has no output."""

    @classmethod
    def mutate(cls, module: nn.Module, name: str, memo: dict[str, Any], mutate_kwargs: dict[str, Any]) -> Any:
        return _with_weights(super().mutate(module, name, memo, mutate_kwargs), memo)

    def _reduction(self, items: list[Any], sampled: list[Any]) -> Any:
        return super()._reduction(self.path_weights.scale(items, self.depth_choice.simplify()), sampled)

    def forward(self, x: Any) -> Any:
        if self.path_weights.mixture is None:
            return self._reduction([x], [0]) if self._sampled == 0 else super().forward(x)
        shares = distribution_of(self.depth_choice, self.path_weights.mixture)
        total = _times(x, shares[0]) if 0 in shares else None
        for depth, block in enumerate(self.blocks, start=1):
            x = block(x)
            if depth in shares:
                total = _plus(total, _times(x, shares[depth]))
            if depth == max(shares):
                break
        return total


class WeightedCell(PathSamplingCell):  # type: ignore[misc]
    """NNI ``Cell`` whose every sampled edge is scaled by the weights of its input and of its operation."""

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

    @classmethod
    def mutate(cls, module: nn.Module, name: str, memo: dict[str, Any], mutate_kwargs: dict[str, Any]) -> Any:
        return _with_weights(super().mutate(module, name, memo, mutate_kwargs), memo)

    def resample(self, memo: dict[str, Any]) -> dict[str, Any]:
        labels = [label for slots in self._slots for pair in slots for label in pair]
        if all(label in memo for label in labels):  # the walk of NNI's own resample is a thirtieth of a search step
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
                states.append(_weighted_sum(every, weights.flatten()))
                continue
            outputs: list[torch.Tensor] = []
            for input_label, op_label in slots:
                source = self._sampled[input_label][0]
                output = ops[source][self._sampled[op_label]](states[source])
                outputs += self.path_weights.scale([output], [input_label, op_label])
            states.append(sum(outputs[1:], outputs[0]))
        return self.postprocessor(torch.cat(states[self.num_predecessors :], self.concat_dim), processed)


def _plus(total: Any, item: Any) -> Any:
    """Sum of tensors, or of tuples of tensors part by part; None is nothing yet."""
    if total is None:
        return item
    if isinstance(item, tuple | list):
        return type(item)(_plus(one, other) for one, other in zip(total, item, strict=True))
    return total + item if isinstance(item, torch.Tensor) else item


def _weighted_sum(items: Iterable[Any], weights: torch.Tensor) -> Any:
    """Sum of all items, each times its weight (``M``)."""
    total = None
    for item, weight in zip(items, weights.unbind(0), strict=True):
        total = _plus(total, _times(item, weight))
    return total


class WeightedPolicy(MixedOpPathSamplingPolicy):  # type: ignore[misc]
    """Arguments of a mixed operation: the sampled ones, or for a mixture the distribution over all of them."""

    def __init__(self, operation: MixedOperation, memo: dict[str, Any], mutate_kwargs: dict[str, Any]) -> None:
        super().__init__(operation, memo, mutate_kwargs)
        self.path_weights: PathWeights = memo[WEIGHTS_KEY]

    def forward_argument(self, operation: MixedOperation, name: str) -> Any:
        mixture = self.path_weights.mixture
        if mixture is None or name not in operation.mutable_arguments:
            return super().forward_argument(operation, name)
        return distribution_of(operation.mutable_arguments[name], mixture)


def _with_weights(module: Any, memo: dict[str, Any]) -> Any:
    """Give a freshly mutated module (or None) the weights of its supernet."""
    if isinstance(module, nn.Module):
        module.path_weights = memo[WEIGHTS_KEY]
    return module


def weighted_operation(operation: Any) -> Callable[..., Any]:
    """Mutation hook of one of NNI's mixed operations, with its output scaled by the weights of its arguments."""

    def mutate(module: nn.Module, name: str, memo: dict[str, Any], mutate_kwargs: dict[str, Any]) -> Any:
        mixed = operation.mutate(module, name, memo, mutate_kwargs)
        if isinstance(mixed, nn.Module):
            labels = list(cast(Any, mixed).simplify())
            weights: PathWeights = memo[WEIGHTS_KEY]
            mixed.register_forward_hook(lambda _module, _inputs, output: weights.scale([output], labels)[0])
        return mixed

    return mutate


def mutation_hooks() -> list[Callable[..., Any]]:
    """Hooks, in NNI's sense, that turn each primitive of a model space into its weighted path-sampling module."""
    hooks = [WeightedLayer.mutate, WeightedInput.mutate, WeightedRepeat.mutate, WeightedCell.mutate]
    return [*hooks, *(weighted_operation(operation) for operation in NATIVE_MIXED_OPERATIONS), no_default_hook]


class Supernet:
    """A mutated model space together with the means to choose and run its paths.

    Args:
        model: The space after mutation (in place) by an ``OneShotStrategy`` with :func:`mutation_hooks`.
        table: Its choices.
        weights: The straight-through weights its modules share.
    """

    def __init__(self, model: ModelSpace, table: ChoiceTable, weights: PathWeights) -> None:
        self.model = model
        self.table = table
        self.weights = weights
        # Walking all modules at each step costs more than the choice itself, and NNI makes a mixed operation
        # also of what has no choice (every convolution of its hub's DARTS): those are set once.
        self._modules: list[BaseSuperNetModule] = []
        for module in model.modules():
            if isinstance(module, BaseSuperNetModule):
                if module.simplify():
                    self._modules.append(module)
                else:
                    module.resample(memo={})

    def set_path(self, sample: Sample) -> None:
        """Run this architecture from now on, without weights."""
        self.weights.clear()
        for module in self._modules:
            module.resample(memo=sample)

    def set_draw(self, draw: PathDraw, gradient: bool) -> Sample:
        """Run a drawn architecture (``chosen`` L x k), with straight-through weights where ``gradient`` is set."""
        sample = self.table.to_sample(draw.chosen.tolist())  # the one place where a step waits for the device
        self.set_path(sample)
        if gradient:
            self.weights.set(self.table, draw)
        return sample

    def set_mixture(self, soft: torch.Tensor) -> None:
        """Run every option of every choice from now on, weighted by ``soft`` (L x M)."""
        self.weights.set_mixture(self.table, soft)

    @torch.no_grad()
    def predict(self, samples: Sequence[Sample], batches: Iterable[Any]) -> torch.Tensor:
        """Class probabilities of each architecture with inherited weights.

        BatchNorm normalises by the batch: the running statistics of a supernet mix all its paths and fit none of them.

        Args:
            samples: S architectures.
            batches: (images, labels) pairs, in a fixed order; read once for each architecture.

        Returns:
            ``S x N x C``, float32 on the CPU.
        """
        device = next(self.model.parameters()).device
        result = []
        with batch_statistics(self.model):
            for sample in samples:
                self.set_path(sample)
                result.append(torch.cat([self.model(images.to(device)).softmax(-1).cpu() for images, _ in batches]))
        return torch.stack(result)


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, but BatchNorm uses the statistics of each batch and leaves its running ones alone."""
    was_training = {module: module.training for module in model.modules()}
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    tracked = [norm.track_running_stats for norm in norms]
    model.eval()
    for norm in norms:
        norm.train()
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, track in zip(norms, tracked, strict=True):
            norm.track_running_stats = track
        for module, training in was_training.items():
            module.training = training
