"""BatchNorm folded into the convolutions before it, and other rewrites of the graph of an exported program.

`conv -> norm` becomes one convolution with other weights; so does `cat(conv, conv, ...) -> norm`, as in the factorised
reduction of DARTS. `sum(stack(...))`, by which NNI adds what enters a node of a cell, becomes additions without the
copy. What the graph computes stays the same up to rounding.
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
    """All rewrites, in place.

    Args:
        graph_module: Of `torch.export.export(...).module()`: functions of ATen, parameters by `get_attr`.

    Returns:
        How many BatchNorms were folded.
    """
    pool_by_convolution(graph_module)
    pool_by_mean(graph_module)
    unstack_sums(graph_module)
    return fold_batch_norm(graph_module)


def fold_batch_norm(graph_module: fx.GraphModule) -> int:
    """Fold every BatchNorm that follows a convolution, or a concatenation of convolutions; in place.

    Only norms with running statistics count, and only convolutions whose output nobody else reads.

    Args:
        graph_module: Of `torch.export.export(...).module()`: functions of ATen, parameters by `get_attr`.

    Returns:
        How many norms are gone.
    """
    folded = 0
    for norm in list(graph_module.graph.find_nodes(op="call_function", target=aten.batch_norm.default)):
        statistics = _statistics(graph_module, norm)
        sources = _convolutions_before(norm)
        if statistics is None or not sources:
            continue
        factor, shift = statistics
        widths = [_tensor(graph_module, conv.args[1]) for conv in sources]
        if any(weight is None for weight in widths) or sum(len(w) for w in widths if w is not None) != len(factor):
            continue
        start = 0
        for conv, weight in zip(sources, widths, strict=True):
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
        How many sums are gone.
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
    """Replace adaptive average pooling to one pixel by a mean, which exporters have a plain form for; in place.

    Args:
        graph_module: As for `fold_batch_norm`.

    Returns:
        How many poolings are gone.
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

    onnxruntime has a fast form of such convolutions, and none of pooling that leaves the border out of the mean: ten
    times faster in OneCell. Where the border is left out, a constant factor for each pixel corrects the sum.

    Args:
        graph_module: As for `fold_batch_norm`, with the sizes of the export (`node.meta["val"]`).

    Returns:
        How many poolings are gone.
    """
    replaced = 0
    for pool in list(graph_module.graph.find_nodes(op="call_function", target=aten.avg_pool2d.default)):
        options = dict(zip(("x", "kernel", "stride", "padding", "ceil", "border", "divisor"), pool.args, strict=False))
        source, value = options["x"], options["x"].meta.get("val")
        if options.get("ceil") or options.get("divisor") or pool.kwargs or value is None or value.ndim != 4:
            continue
        channels, *size = value.shape[1:]
        kernel, padding = list(options["kernel"]), list(options.get("padding", [0, 0]))
        stride = list(options.get("stride") or kernel)
        if not all(isinstance(number, int) for number in (channels, *size)) or len(kernel) != 2 or len(padding) != 2:
            continue
        weight = torch.full((channels, 1, *kernel), 1 / (kernel[0] * kernel[1]), dtype=value.dtype)
        inside = torch.nn.functional.avg_pool2d(torch.ones(1, 1, *size, dtype=value.dtype), kernel, stride, padding)
        with graph_module.graph.inserting_before(pool):
            mean = _parameter(graph_module, f"mean_{replaced}_weight", weight)
            arguments = (source, mean, None, stride, padding, [1, 1], channels)
            result = graph_module.graph.call_function(aten.conv2d.default, arguments)
            if options.get("border", True) is False and any(padding):
                correction = _parameter(graph_module, f"mean_{replaced}_correction", 1 / inside)
                result = graph_module.graph.call_function(aten.mul.Tensor, (result, correction))
        pool.replace_all_uses_with(result)
        graph_module.graph.erase_node(pool)
        replaced += 1
    graph_module.recompile()
    return replaced


def _parameter(graph_module: fx.GraphModule, name: str, value: torch.Tensor) -> fx.Node:
    """A new parameter, and the node that reads it, where the graph inserts at the moment."""
    graph_module.register_parameter(name, torch.nn.Parameter(value, requires_grad=False))
    return graph_module.graph.get_attr(name)


def _clean(graph_module: fx.GraphModule) -> None:
    graph_module.graph.eliminate_dead_code()
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()


def _statistics(graph_module: fx.GraphModule, norm: fx.Node) -> tuple[torch.Tensor, torch.Tensor] | None:
    """`factor, shift` of `norm(x) = factor * x + shift` in double precision, or None if it depends on the batch."""
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
    """Convolutions whose outputs, side by side, are the input of a norm and of nothing else; none if there is more."""
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
    """Give a convolution weights of its own: times `factor` for each output channel, and `shift` for bias."""
    old = _tensor(graph_module, conv.args[2]) if len(conv.args) > 2 else None
    bias = shift if old is None else shift + old.double() * factor
    scaled = weight.double() * factor.view(-1, *[1] * (weight.ndim - 1))
    arguments = list(conv.args) + [None] * (3 - len(conv.args))
    for position, suffix, value in ((1, "weight", scaled), (2, "bias", bias)):
        with graph_module.graph.inserting_before(conv):
            arguments[position] = _parameter(graph_module, f"{name}_{suffix}", value.to(weight.dtype))
    conv.args = tuple(arguments)


def _tensor(graph_module: fx.GraphModule, node: Any) -> torch.Tensor | None:
    """The parameter or buffer that a node reads, or None if it is something computed."""
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    value: Any = graph_module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    detached: torch.Tensor = value.detach()
    return detached
