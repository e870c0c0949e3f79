"""Every primitive through search, export and inheritance: the instance computes what the supernet does on its path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nni
import pytest
import torch
from nni.nas.nn.pytorch import (
    Cell,
    InputChoice,
    LayerChoice,
    ModelSpace,
    MutableBatchNorm2d,
    MutableConv2d,
    MutableLayerNorm,
    MutableLinear,
    MutableMultiheadAttention,
    Repeat,
)
from torch import nn

from nni_hypens import EdgeNES, InputError
from nni_hypens.search.inherit import Inheritance
from nni_hypens.space.build import fixed_network
from nni_hypens.space.draws import random_architectures
from search_spaces import DartsSpace, OneCell, PaperCell
from tests.support.space_checks import check_space, difference, stir


class Layers(ModelSpace):
    """LayerChoice, alone and inside another; two layers that share a label."""

    def __init__(self) -> None:
        super().__init__()
        inner = LayerChoice({"wide": nn.Linear(4, 4), "plain": nn.Identity()}, label="inner")
        self.outer = LayerChoice({"nested": nn.Sequential(nn.Tanh(), inner), "linear": nn.Linear(4, 4)}, label="outer")
        self.first = LayerChoice([nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.ReLU())], label="shared")
        self.second = LayerChoice([nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.ReLU())], label="shared")
        self.head = nn.Linear(4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.first(self.outer(x))))


class Inputs(ModelSpace):
    """InputChoice of two out of four, in each reduction."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Linear(4, 4) for _ in range(4))
        self.sum = InputChoice(4, n_chosen=2, reduction="sum", label="sum")
        self.mean = InputChoice(4, n_chosen=2, reduction="mean", label="mean")
        self.concat = InputChoice(4, n_chosen=2, reduction="concat", label="concat")
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = [branch(x) for branch in self.branches]
        return self.head(torch.cat([self.sum(branches), self.mean(branches), self.concat(branches)], 1))


class Depths(ModelSpace):
    """Repeat: of mutable depth with a choice in each block, with one shared choice, and of fixed depth."""

    def __init__(self) -> None:
        super().__init__()
        self.own = Repeat(
            lambda index: LayerChoice([nn.Linear(4, 4), nn.Tanh()], label=f"block_{index}"), (1, 3), label="depth"
        )
        self.same = Repeat(LayerChoice([nn.Linear(4, 4), nn.Tanh()], label="same"), nni.choice("even", [0, 2]))
        self.fixed = Repeat(lambda index: LayerChoice([nn.Linear(4, 4), nn.Tanh()], label=f"fixed_{index}"), 2)
        self.head = nn.Linear(4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.fixed(self.same(self.own(x))))


class Cells(ModelSpace):
    """NNI's Cell from modules, and from functions of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.modules_ = Cell([nn.Linear(4, 4), nn.Identity()], 2, 2, 1, label="modules")
        self.down = nn.Linear(8, 4)
        factories = {"linear": lambda node, op, source: nn.Linear(4, 4), "tanh": lambda node, op, source: nn.Tanh()}
        self.factory = Cell(factories, 2, 2, 2, preprocessor=_Twice(), label="factory")
        self.head = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = self.down(self.modules_([x]))
        return self.head(self.factory([x, state]))


class _Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)

    def forward(self, states: list[torch.Tensor]) -> list[torch.Tensor]:
        return [self.first(states[0]), states[1]]


class InCell(ModelSpace):
    """A choice of each kind inside an operation of a cell that has functions for its operations.

    Args:
        kind: Name of the operation next to a plain one; all of them if empty.
    """

    def __init__(self, kind: str = "") -> None:
        super().__init__()
        operations = {"layer": _layer, "depth": _depth, "cell": _cell, "width": _width}
        operations = {name: make for name, make in operations.items() if kind in ("", name)}
        plain = {"plain": lambda node, op, source: nn.Conv2d(3, 3, 1)}
        self.cell = Cell(operations | plain, 2, 2, 2, label="outer")
        self.head = nn.Linear(6, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cell([x, x.flip(-1)]).mean((2, 3)))


def _layer(node: int, op: int, source: int | None) -> nn.Module:
    return LayerChoice({"small": nn.Conv2d(3, 3, 1), "large": nn.Conv2d(3, 3, 3, padding=1)}, label=f"layer_{node}")


def _depth(node: int, op: int, source: int | None) -> nn.Module:
    block = lambda index: LayerChoice([nn.Conv2d(3, 3, 1), nn.Tanh()], label=f"block_{index}")  # noqa: E731
    return Repeat(block, (0, 2), label="depth")


def _cell(node: int, op: int, source: int | None) -> nn.Module:
    return Cell([lambda *_: nn.Conv2d(3, 3, 1), lambda *_: nn.Tanh()], 1, 2, 1, label="inner")


def _width(node: int, op: int, source: int | None) -> nn.Module:
    width = nni.choice("width", [2, 4])
    return nn.Sequential(MutableConv2d(3, width, 1), MutableConv2d(width, 3, 3, padding=1))


class Convolutions(ModelSpace):
    """Mutable Conv2d (channels, kernel, groups; with and without bias), BatchNorm2d and Linear."""

    def __init__(self) -> None:
        super().__init__()
        width, kernel = nni.choice("width", [4, 8]), nni.choice("kernel", [1, 3, 5])
        self.net = nn.Sequential(
            MutableConv2d(3, width, kernel, padding=kernel // 2, bias=False),
            MutableBatchNorm2d(width),
            nn.ReLU(),
            MutableConv2d(width, width, 3, padding=1, groups=width),
            MutableBatchNorm2d(width, affine=False),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            MutableLinear(width * 4, nni.choice("hidden", [6, 12]), bias=False),
        )
        self.head = MutableLinear(nni.choice("hidden", [6, 12]), 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.net(x))


class Attention(ModelSpace):
    """Mutable MultiheadAttention and LayerNorm, which share their width."""

    def __init__(self) -> None:
        super().__init__()
        width = nni.choice("width", [8, 16])
        self.embed = MutableLinear(4, width)
        self.norm = MutableLayerNorm(width)
        self.attention = MutableMultiheadAttention(width, nni.choice("heads", [2, 4]), batch_first=True)
        self.head = MutableLinear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.norm(self.embed(x))  # B x T x width
        return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1))


@pytest.mark.parametrize(
    ("make", "shape", "edges", "steps"),
    [
        (Layers, (4,), 3, 12),
        (Inputs, (4,), 6, 12),
        (Depths, (4,), 8, 12),
        (Cells, (4,), 8, 12),
        (InCell, (3, 6, 6), 12, 12),
        (Convolutions, (3, 8, 8), 3, 12),
        (Attention, (5, 4), 2, 12),
        (lambda: OneCell(channels=3, n_chosen=2, layers=2), (3, 8, 8), 7, 8),
        (lambda: PaperCell(channels=2, n_chosen=2), (3, 8, 8), 8, 8),
        (lambda: DartsSpace(width=2, num_cells=3), (3, 8, 8), 16, 6),
    ],
)
def test_primitive(
    make: Callable[[], ModelSpace], shape: tuple[int, ...], edges: int, steps: int, tmp_path: Path
) -> None:
    assert check_space(make, str(tmp_path), shape, steps)["edges"] == edges


def mutated(space: ModelSpace) -> EdgeNES:
    strategy = EdgeNES()
    strategy.mutate_model(space)
    return strategy


@pytest.mark.parametrize("kind", ["layer", "depth", "cell", "width"])
def test_choices_inside_the_operations_of_a_cell(kind: str) -> None:
    """The supernet runs the options of the architecture, each time; its network and a frozen one have no others."""
    torch.manual_seed(0)
    strategy = mutated(InCell(kind))
    images = torch.randn(3, 3, 6, 6)
    samples = random_architectures(strategy.structure, 12, seed=0)
    assert {sample[label] for sample in samples for label in sample if "/op_" in label} >= {kind, "plain"}
    for sample in samples:
        network = strategy.inherited(sample)
        assert all(difference(strategy, sample, network, images) < 1e-5 for _ in range(3))
        assert repr(network) == repr(fixed_network(InCell(kind), sample))


def test_choices_inside_operations_that_the_supernet_cannot_tell_apart_are_refused() -> None:
    class Space(ModelSpace):
        def __init__(self, slots: int, label: Callable[..., str | None]) -> None:
            super().__init__()
            choice = lambda *at: LayerChoice([nn.Linear(4, 4), nn.Tanh()], label=label(*at))  # noqa: E731
            self.cell = Cell([choice, lambda *_: nn.Identity()], 2, slots, 3, label="cell")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.cell([x, x, x])

    for slots, label, labels in (
        (1, lambda node, op, source: None, r"\['cell/1'\] in the space and \['cell/2'\] on input 1"),
        (2, lambda node, op, source: f"slot{op}", r"\['cell/slot1'\] in the space and \['cell/slot0'\] on input 0"),
        (1, lambda node, op, source: f"from{source}", r"\['cell/fromNone'\] in .*\['cell/from0'\] on input 0"),
    ):
        with pytest.raises(InputError, match=f"^cell 'cell': got operation '0' of node 3.*{labels}.*expected .*label="):
            mutated(Space(slots, label))


def test_chosen_inputs_are_a_set() -> None:
    structure = mutated(Inputs()).structure
    first = {"sum": [0, 1], "mean": [0, 1], "concat": [2, 3]}
    assert structure.shared_edges(first, {"sum": [1, 3], "mean": [2, 3], "concat": [2, 3]}) == 3
    assert structure.table.validate({**first, "sum": [1, 0]}) == first


def test_slots_that_agree_share_their_weights() -> None:
    """The supernet has one operation for a node's input; a network whose two slots agree has it twice."""
    strategy = mutated(DartsSpace(width=2, num_cells=3, in_channels=1))
    sample = strategy.structure.table.to_sample([[0]] * len(strategy.structure.table.options))
    sample |= {"normal/op_2_0": "sep_conv_3x3", "normal/op_2_1": "sep_conv_3x3"}
    stir(strategy.trained_supernet.model)
    network = strategy.inherited(sample)
    first, second = (list(slot.parameters()) for slot in network.stages[0][0].ops[0])
    assert all(torch.equal(*pair) and pair[0] is not pair[1] for pair in zip(first, second, strict=True))
    assert difference(strategy, sample, network, torch.randn(2, 1, 8, 8)) < 1e-5


def test_what_the_supernet_has_not_is_refused() -> None:
    class Grown(Layers):
        def freeze(self, sample: dict) -> nn.Module:
            frozen = super().freeze(sample)
            frozen.extra = nn.Linear(2, 2)
            return frozen

    class Reshaped(Layers):
        def freeze(self, sample: dict) -> nn.Module:
            frozen = super().freeze(sample)
            frozen.head = nn.Linear(4, 9)
            return frozen

    class Open(Layers):
        def freeze(self, sample: dict) -> nn.Module:
            return self

    sample = {"outer": "linear", "inner": "wide", "shared": 0}
    for space, message in (
        (Grown, "an instance of Grown: got extra.weight.*; .*.*formatter='dict'"),
        (Reshaped, r"head.weight of shape \(9, 4\), where the supernet has \(10, 4\)"),
        (Open, "outer with its choice still open after freeze"),
    ):
        with pytest.raises(InputError, match=message):
            mutated(space()).inherited(sample)


def test_space_that_cannot_be_copied() -> None:
    space = Layers()
    space.cache = space.head.weight * 2  # not a leaf: deepcopy refuses it
    strategy = mutated(space)
    with pytest.raises(InputError, match="a space that cannot be copied"):
        strategy.inherited({"outer": "linear", "inner": "wide", "shared": 0})


def test_random_state_is_left_alone() -> None:
    inheritance = Inheritance(Layers())
    inheritance.supernet = mutated(Layers()).trained_supernet.model
    before = torch.get_rng_state()
    inheritance.network({"outer": "linear", "inner": "wide", "shared": 0})
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(InputError, match="label"):
        mutated(Layers()).inherited({"outer": "linear"})
    with pytest.raises(RuntimeError, match="run the experiment first"):
        EdgeNES().inherited({})
