"""The rewrites of graphs compute what the networks compute, and leave alone what they cannot rewrite."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from nni_hypens.ensemble import rewrites as fold

aten = torch.ops.aten


class Wired(nn.Module):
    """Modules under names, and a function of them."""

    def __init__(self, function: Callable, **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, x)


def norm(channels: int, **options: bool) -> nn.BatchNorm2d:
    module = nn.BatchNorm2d(channels, **options)
    if module.running_mean is not None:
        module.running_mean.normal_()
        module.running_var.uniform_(0.5, 2)
    if module.affine:
        nn.init.uniform_(module.weight, -2, 2)
        nn.init.normal_(module.bias)
    return module


def conv(inside: int, outside: int, **options: object) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, 3, **options)


def rewritten(module: nn.Module, rewrite: Callable) -> tuple[int, torch.fx.GraphModule]:
    """The count of a rewrite, checked on batches of 1 and 5."""
    module.eval()
    sizes = ({0: torch.export.Dim("batch")},)
    with torch.no_grad():
        graph = torch.export.export(module, (torch.randn(2, 4, 9, 9),), dynamic_shapes=sizes).module()
        count = rewrite(graph)
        for size in (1, 5):
            x = torch.randn(size, 4, 9, 9)
            assert torch.allclose(graph(x), module(x), atol=1e-5)
    return count, graph


def kinds(graph: torch.fx.GraphModule) -> set[object]:
    return {node.target for node in graph.graph.nodes}


CAT = lambda m, x: m.norm(torch.cat([m.a(x), m.b(x)], 1))  # noqa: E731
FOLDED = {
    "bias": nn.Sequential(conv(4, 6), norm(6)),
    "no bias": nn.Sequential(conv(4, 6, bias=False), norm(6), nn.ReLU()),
    "depthwise": nn.Sequential(conv(4, 4, groups=4, padding="same"), norm(4)),
    "no affine": nn.Sequential(conv(4, 6, stride=2, bias=False), norm(6, affine=False)),
    "concatenation": Wired(CAT, a=conv(4, 2), b=conv(4, 3, bias=False), norm=norm(5)),
}
LEFT = {
    "first": nn.Sequential(norm(4), conv(4, 6)),
    "after activation": nn.Sequential(conv(4, 6), nn.ReLU(), norm(6)),
    "read twice": Wired(lambda m, x: m.norm(y := m.a(x)) + y, a=conv(4, 6), norm=norm(6)),
    "part of a concatenation": Wired(CAT, a=conv(4, 2, padding=1), b=nn.Identity(), norm=norm(6)),
    "by batch": nn.Sequential(conv(4, 6), norm(6, track_running_stats=False)),
}


@pytest.mark.parametrize("name", FOLDED)
def test_norms_behind_convolutions_are_folded(name: str) -> None:
    count, graph = rewritten(FOLDED[name], fold.fold_batch_norm)
    assert count == 1 and aten.batch_norm.default not in kinds(graph)


def test_one_convolution_with_two_norms() -> None:
    """Weights that two calls share are not scaled twice."""
    module = Wired(lambda m, x: m.one(m.a(x)) + m.two(m.a(2 * x)), a=conv(4, 6), one=norm(6), two=norm(6))
    assert rewritten(module, fold.fold_batch_norm)[0] == 2


@pytest.mark.parametrize("name", LEFT)
def test_other_norms_stay(name: str) -> None:
    count, graph = rewritten(LEFT[name], fold.fold_batch_norm)
    assert count == 0 and aten.batch_norm.default in kinds(graph)


def test_sums_of_stacks() -> None:
    module = Wired(lambda m, x: torch.stack([x, 2 * x, x * x]).sum(0))
    count, graph = rewritten(module, fold.unstack_sums)
    assert count == 1 and aten.stack.default not in kinds(graph)
    assert rewritten(Wired(lambda m, x: torch.stack([x, x], 1).sum(0)), fold.unstack_sums)[0] == 0


@pytest.mark.parametrize("border", [True, False])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (2, 2, 0), ((3, 2), None, (1, 0))])
def test_average_pooling(kernel: int, stride: int, padding: int, border: bool) -> None:
    module = nn.AvgPool2d(kernel, stride, padding, count_include_pad=border)
    count, graph = rewritten(module, fold.pool_by_convolution)
    assert count == 1 and aten.avg_pool2d.default not in kinds(graph)


def test_other_pooling_stays() -> None:
    for module in (nn.AvgPool2d(2, ceil_mode=True), nn.AvgPool2d(2, divisor_override=3)):
        assert rewritten(module, fold.pool_by_convolution)[0] == 0
    assert rewritten(nn.AdaptiveAvgPool2d(3), fold.pool_by_mean)[0] == 0
    assert rewritten(nn.AdaptiveAvgPool2d(1), fold.pool_by_mean)[0] == 1
