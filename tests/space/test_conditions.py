"""Choices that are not run make no difference to what an architecture is."""

from __future__ import annotations

import nni
import pytest
import torch
from nni.nas.hub.pytorch import NasBench201
from nni.nas.nn.pytorch import Cell, LayerChoice, ModelSpace, MutableConv2d, Repeat
from torch import nn

from nni_hypens.compare.pool_bench import RememberedEdges
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.build import fixed_network
from nni_hypens.space.conditions import conditions_of
from nni_hypens.space.draws import neighbours, random_architectures
from search_spaces import MLP, DartsSpace, OneCell, PaperCell
from tests.support.structures import samples


def conv(kernel: int) -> nn.Module:
    return nn.Conv2d(4, 4, kernel, padding=kernel // 2)


def kernels(label: str) -> nn.Module:
    return LayerChoice({"small": conv(1), "large": conv(3)}, label=label)


class Depths(ModelSpace):
    """A choice in each block of a Repeat, and one that all blocks of another share; a depth of two choices."""

    def __init__(self) -> None:
        super().__init__()
        self.own = Repeat(lambda index: kernels(f"own_{index}"), (1, 3), label="depth")
        self.same = Repeat(kernels("same"), nni.choice("even", [0, 2]))
        self.sum = Repeat(lambda index: kernels(f"sum_{index}"), nni.choice("one", [0, 1]) + nni.choice("two", [0, 2]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.sum(self.same(self.own(x)))


class Nested(ModelSpace):
    """Choices in options of others: of layers, of a width, of a depth with a choice in each block, of a cell; a label
    that is read in two options."""

    def __init__(self) -> None:
        super().__init__()
        width = nni.choice("width", [2, 8])
        cell = Cell([lambda *_: conv(7), lambda *_: kernels("in_cell")], 1, 1, 1, label="cell")
        options = {
            "plain": nn.Sequential(conv(5), kernels("read_twice")),
            "width": nn.Sequential(MutableConv2d(4, width, 1), MutableConv2d(width, 4, 1)),
            "depth": nn.Sequential(nn.ReLU(), Repeat(lambda at: kernels(f"block_{at}"), (1, 2), label="inner_depth")),
            "inner": nn.Sequential(LayerChoice({"read": kernels("read_twice"), "not": nn.Tanh()}, label="inner")),
            "cell": nn.Sequential(_Listed(), cell),
        }
        self.outer = LayerChoice(options, label="outer")
        self.always = kernels("always")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.always(self.outer(x))


class _Listed(nn.Module):
    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x]


def networks(space: ModelSpace, architectures: list[dict]) -> list[str]:
    return [repr(fixed_network(space, sample)) for sample in architectures]


@pytest.mark.parametrize("make", [Depths, Nested])
def test_keys_are_equal_if_and_only_if_the_networks_are(make: type[ModelSpace]) -> None:
    space = make()
    structure = EdgeStructure.from_space(space)
    remembered = RememberedEdges.of(structure)
    drawn = samples(structure, 150, seed=0)
    first = structure.table.to_sample([range(number) for number in structure.table.n_chosen.values()])
    drawn += [{**sample, label: first[label]} for sample in drawn[:20] for label in sample]
    keys = [structure.key(sample) for sample in drawn]
    every = list(zip(keys, networks(space, drawn), strict=True))
    assert len({key for key, _ in every}) == len({network for _, network in every}) == len(set(every)) < len(drawn)
    assert [remembered.key(sample) for sample in drawn] == keys


@pytest.mark.parametrize("make", [Depths, Nested])
def test_draws_and_neighbours_are_different_networks(make: type[ModelSpace]) -> None:
    space = make()
    structure = EdgeStructure.from_space(space)
    found = random_architectures(structure, 16, seed=0)
    assert len(set(networks(space, found))) == len(found) == 16
    for sample in found[:5]:
        around = networks(space, [sample, *neighbours(structure, sample)])
        assert len(set(around)) == len(around) > 2


def test_neighbours_of_a_shallow_network() -> None:
    structure = EdgeStructure.from_space(Depths())
    sample = dict.fromkeys(structure.table.labels, "small") | {"depth": 1, "even": 0, "one": 0, "two": 0}
    changed = [{label for label in sample if other[label] != sample[label]} for other in neighbours(structure, sample)]
    assert changed == [{"depth"}, {"depth"}, {"own_0"}, {"even"}, {"one"}, {"two"}]


@pytest.mark.parametrize(
    "space",
    [
        OneCell(channels=1, n_chosen=2, layers=2),
        PaperCell(channels=2),
        MLP(in_features=4, num_classes=3),
        DartsSpace(width=2, num_cells=3),
        NasBench201(stem_out_channels=4, num_modules_per_stack=1),
    ],
    ids=lambda space: type(space).__name__,
)
def test_the_spaces_of_the_package_run_every_choice(space: ModelSpace) -> None:
    assert not conditions_of(space)


def test_a_subclass_may_run_what_nni_leaves_out() -> None:
    class Every(LayerChoice):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return sum(layer(x) for layer in self)

    class Space(ModelSpace):
        def __init__(self) -> None:
            super().__init__()
            self.every = Every({"nested": kernels("nested"), "plain": conv(1)}, label="every")

    assert not conditions_of(Space())
