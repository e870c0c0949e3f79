"""Rewrite the graph of an exported program: fold BatchNorm into the convolutions before it, and use faster operations.

`conv -> norm` becomes one convolution with new weights. `cat(conv, conv, ...) -> norm`, as in the factorised reduction
of DARTS, becomes `cat` of such convolutions. NNI adds the inputs of a node of a cell by `sum(stack(...))`, which
becomes additions without the copy. The graph computes the same function up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import fx

aten = torch.ops.aten
_CONVOLUTIONS = {aten.conv1d.default, aten.conv2d.default, aten.conv3d.default, aten.conv1d.padding,
                 aten.conv2d.padding, aten.conv3d.padding}  # fmt: skip


def optimise(graph_module: fx.GraphModule) -> int:
    """Apply all rewrites, in place.

    Args:
        graph_module: Result of `torch.export.export(...).module()`: ATen functions, and parameters read by `get_attr`.

    Returns:
        Number of BatchNorms that were folded.
    """
    pool_by_convolution(graph_module)
    pool_by_mean(graph_module)
    unstack_sums(graph_module)
    return fold_batch_norm(graph_module)


def fold_batch_norm(graph_module: fx.GraphModule) -> int:
    """Fold every BatchNorm that follows a convolution, or a concatenation of convolutions; in place.

    The norm must use running statistics, and no other node may read the output of the convolutions.

    Args:
        graph_module: Result of `torch.export.export(...).module()`: ATen functions, and parameters read by `get_attr`.

    Returns:
        Number of norms that were removed.
    """
    folded = 0
    for norm in list(graph_module.graph.find_nodes(op="call_function", target=aten.batch_norm.default)):
        statistics = _statistics(graph_module, norm)
        sources = _convolutions_before(norm)
        if statistics is None or not sources:
            continue
        factor, shift = statistics
        weights = [_tensor(graph_module, conv.args[1]) for conv in sources]
        if any(weight is None for weight in weights) or sum(len(w) for w in weights if w is not None) != len(factor):
            continue
        start = 0
        for conv, weight in zip(sources, weights, strict=True):
            assert weight is not None
            end = start + len(weight)
            _scale(graph_module, conv, weight, factor[start:end], shift[start:end], f"folded_{folded}_{start}")
            start = end
        norm.replace_all_uses_with(norm.args[0])
        graph_module.graph.erase_node(norm)
        folded += 1
    _clean(graph_module)
    return folded


def unstack_sums(graph_module: fx.GraphModule) -> int:
    """Replace sums over a stack of tensors by additions; in place.

    Args:
        graph_module: As for `fold_batch_norm`.

    Returns:
        Number of sums that were replaced.
    """
    replaced = 0
    for total in list(graph_module.graph.find_nodes(op="call_function", target=aten.sum.dim_IntList)):
        stack = total.args[0]
        if stack.target is not aten.stack.default or len(stack.users) > 1 or total.kwargs or len(total.args) != 2:
            continue
        dim = stack.args[1] if len(stack.args) > 1 else 0
        if list(total.args[1]) != [dim]:
            continue
        first, *others = stack.args[0]
        with graph_module.graph.inserting_before(total):
            for other in others:
                first = graph_module.graph.call_function(aten.add.Tensor, (first, other))
        total.replace_all_uses_with(first)
        graph_module.graph.erase_node(total)
        replaced += 1
    _clean(graph_module)
    return replaced


def pool_by_mean(graph_module: fx.GraphModule) -> int:
    """Replace adaptive average pooling to one pixel by a mean, which exports to one simple operator; in place.

    Args:
        graph_module: As for `fold_batch_norm`.

    Returns:
        Number of poolings that were replaced.
    """
    replaced = 0
    for pool in list(graph_module.graph.find_nodes(op="call_function", target=aten.adaptive_avg_pool2d.default)):
        if list(pool.args[1]) != [1, 1]:
            continue
        with graph_module.graph.inserting_before(pool):
            mean = graph_module.graph.call_function(aten.mean.dim, (pool.args[0], [-2, -1], True))
        pool.replace_all_uses_with(mean)
        graph_module.graph.erase_node(pool)
        replaced += 1
    graph_module.recompile()
    return replaced


def pool_by_convolution(graph_module: fx.GraphModule) -> int:
    """Replace average pooling by a convolution of each channel with equal weights; in place.

    onnxruntime runs such a convolution fast, but it is slow at average pooling that excludes the padding: the
    convolution is ten times faster in OneCell. If the padding is excluded, a constant factor for each pixel corrects
    the mean.

    Args:
        graph_module: As for `fold_batch_norm`, with the sizes that the export recorded (`node.meta["val"]`).

    Returns:
        Number of poolings that were replaced.
    """
    replaced = 0
    for pool in list(graph_module.graph.find_nodes(op="call_function", target=aten.avg_pool2d.default)):
        names = ("x", "kernel", "stride", "padding", "ceil", "count_padding", "divisor")
        options = dict(zip(names, pool.args, strict=False))
        source, value = options["x"], options["x"].meta.get("val")
        if options.get("ceil") or options.get("divisor") or pool.kwargs or value is None or value.ndim != 4:
            continue
        channels, *size = value.shape[1:]
        kernel, padding = list(options["kernel"]), list(options.get("padding", [0, 0]))
        stride = list(options.get("stride") or kernel)
        if not all(isinstance(number, int) for number in (channels, *size)) or len(kernel) != 2 or len(padding) != 2:
            continue
        weight = torch.full((channels, 1, *kernel), 1 / (kernel[0] * kernel[1]), dtype=value.dtype)
        share = torch.nn.functional.avg_pool2d(torch.ones(1, 1, *size, dtype=value.dtype), kernel, stride, padding)
        with graph_module.graph.inserting_before(pool):
            mean = _parameter(graph_module, f"mean_{replaced}_weight", weight)
            arguments = (source, mean, None, stride, padding, [1, 1], channels)
            result = graph_module.graph.call_function(aten.conv2d.default, arguments)
            if options.get("count_padding", True) is False and any(padding):
                correction = _parameter(graph_module, f"mean_{replaced}_correction", 1 / share)
                result = graph_module.graph.call_function(aten.mul.Tensor, (result, correction))
        pool.replace_all_uses_with(result)
        graph_module.graph.erase_node(pool)
        replaced += 1
    graph_module.recompile()
    return replaced


def _parameter(graph_module: fx.GraphModule, name: str, value: torch.Tensor) -> fx.Node:
    """Add a parameter, and a node that reads it at the graph's current insertion point."""
    graph_module.register_parameter(name, torch.nn.Parameter(value, requires_grad=False))
    return graph_module.graph.get_attr(name)


def _clean(graph_module: fx.GraphModule) -> None:
    graph_module.graph.eliminate_dead_code()
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()


def _statistics(graph_module: fx.GraphModule, norm: fx.Node) -> tuple[torch.Tensor, torch.Tensor] | None:
    """`factor, shift` of `norm(x) = factor * x + shift` in double precision, or None if they are not constants."""
    _, weight, bias, mean, variance, training, _, epsilon, *_ = cast("tuple[Any, ...]", norm.args)
    mean_value, variance_value = _tensor(graph_module, mean), _tensor(graph_module, variance)
    if training or mean_value is None or variance_value is None:
        return None
    factor = (variance_value.double() + epsilon).rsqrt()
    gain, offset = _tensor(graph_module, weight), _tensor(graph_module, bias)
    if (weight is not None and gain is None) or (bias is not None and offset is None):
        return None
    factor = factor if gain is None else factor * gain.double()
    shift = -mean_value.double() * factor
    return factor, shift if offset is None else shift + offset.double()


def _convolutions_before(norm: fx.Node) -> Sequence[fx.Node]:
    """The convolutions whose concatenated outputs only this norm reads; empty if the norm has any other input."""
    before = norm.args[0]
    if not isinstance(before, fx.Node) or len(before.users) > 1:
        return []
    if before.target is aten.cat.default and (len(before.args) > 1 and before.args[1] in (1, -3)):
        parts: Any = before.args[0]
    else:
        parts = [before]
    single = all(part.target in _CONVOLUTIONS and len(part.users) == 1 for part in parts)
    return list(parts) if single and len(set(parts)) == len(parts) else []


def _scale(
    graph_module: fx.GraphModule,
    conv: fx.Node,
    weight: torch.Tensor,
    factor: torch.Tensor,
    shift: torch.Tensor,
    name: str,
) -> None:
    """Give a convolution new parameters: multiply each output channel by `factor`, then add `shift`."""
    old = _tensor(graph_module, conv.args[2]) if len(conv.args) > 2 else None
    bias = shift if old is None else shift + old.double() * factor
    scaled = weight.double() * factor.view(-1, *[1] * (weight.ndim - 1))
    arguments = list(conv.args) + [None] * (3 - len(conv.args))
    for position, suffix, value in ((1, "weight", scaled), (2, "bias", bias)):
        with graph_module.graph.inserting_before(conv):
            arguments[position] = _parameter(graph_module, f"{name}_{suffix}", value.to(weight.dtype))
    conv.args = tuple(arguments)


def _tensor(graph_module: fx.GraphModule, node: Any) -> torch.Tensor | None:
    """The parameter or buffer that a node reads, or None if the node computes its value."""
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    value: Any = graph_module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    detached: torch.Tensor = value.detach()
    return detached
