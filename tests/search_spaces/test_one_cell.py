from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from nni.nas.space import model_context

from nni_hypens.errors import InputError
from nni_hypens.space.architecture import EdgeStructure
from search_spaces import OneCell
from search_spaces.one_cell import OPERATIONS, _LazyOutputs


def draw(space: OneCell, seed: int = 0) -> dict[str, Any]:
    generator, table = random.Random(seed), EdgeStructure.from_space(space).table
    sample = {}
    for label, options in table.options.items():
        chosen = generator.sample(options, table.n_chosen[label])
        sample[label] = chosen if label in table.multiple else chosen[0]
    return table.validate(sample)


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (28, 28), (32, 32)])
@pytest.mark.parametrize("layers", [1, 3])
def test_any_size_channels_and_classes(size: tuple[int, int], layers: int) -> None:
    arguments = {"channels": 2, "nodes": 3, "layers": layers, "n_chosen": 2, "in_channels": 2, "num_classes": 5}
    space = OneCell(**arguments)
    assert space.freeze(draw(space))(torch.zeros(2, 2, *size)).shape == (2, 5)
    assert space(torch.zeros(2, 2, *size)).shape == (2, 5)


@pytest.mark.parametrize("seed", range(3))
def test_a_fixed_network_carries_nothing_unused(seed: int) -> None:
    space = OneCell(channels=3, n_chosen=2, in_channels=1)
    sample = draw(space, seed)
    with model_context(sample):
        network = OneCell(channels=3, n_chosen=2, in_channels=1)
    frozen = space.freeze(sample)
    assert {n: p.shape for n, p in network.named_parameters()} == {n: p.shape for n, p in frozen.named_parameters()}
    network(torch.randn(2, 1, 8, 8)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    own = dict(space.named_parameters())
    assert torch.equal(frozen.stem[0].weight, own["stem.0.weight"])


@pytest.mark.parametrize(
    ("nodes", "n_chosen", "edges", "architectures"), [(4, 1, 4, 57_624), (4, 2, 7, None), (2, 3, 3, None), (1, 1, 1, 7)]
)
def test_number_of_edges_and_architectures(nodes: int, n_chosen: int, edges: int, architectures: int | None) -> None:
    structure = EdgeStructure.from_space(OneCell(channels=1, nodes=nodes, n_chosen=n_chosen))
    assert structure.n_edges == edges
    if architectures:  # of a node on its own: its different edges, by trying every sample of its labels
        total = 1
        for node in range(nodes):
            labels = [label for label in structure.table.labels if label.startswith(f"node_{node}/")]
            some = structure.table.to_sample([[0]] * len(structure.table.labels))
            found = set()
            for op in structure.table.options[labels[0]]:
                for source in range(node + 1):
                    sample = {**some, **dict.fromkeys(labels, op), f"node_{node}/input": [source]}
                    found.add(structure.key(sample))
            total *= len(found)
        assert total == architectures


def test_what_is_not_chosen_is_not_computed() -> None:
    calls = []

    class Op(torch.nn.Module):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(self.number)
            return x + self.number

    states = [torch.tensor(10.0), torch.tensor(20.0), torch.tensor(30.0)]
    outputs = _LazyOutputs([Op(0), Op(1), Op(2)], states)
    assert not calls and len(outputs) == 3
    assert outputs[1].item() == 21 and outputs[-1].item() == 32 and calls == [1, 2]
    assert [x.item() for x in outputs[1:]] == [21, 32] and [x.item() for x in outputs] == [10, 21, 32]
    for index in (3, -4):
        with pytest.raises(IndexError):
            outputs[index]


def test_a_cell_computes_what_its_architecture_says() -> None:
    """Skip connections everywhere: states are sums of states, which a few lines can follow."""
    space = OneCell(channels=3, nodes=3, n_chosen=2, in_channels=1)
    table = EdgeStructure.from_space(space).table
    sample = {label: "skip_connect" for label in table.options if "op" in label}
    sample |= {"node_0/input": [0], "node_1/input": [0, 1], "node_2/input": [0, 2]}
    network = space.freeze(table.validate(sample)).eval()
    images = torch.randn(2, 1, 8, 8)
    x = network.stem(images)
    expected = torch.cat([x, 2 * x, 3 * x], dim=1)  # node_0 = x, node_1 = x + node_0, node_2 = x + node_1
    assert torch.allclose(network(images), network.head(torch.relu(expected).mean((2, 3))), atol=1e-6)


def test_copies_share_choices_but_no_weights() -> None:
    space = OneCell(channels=2, layers=3, in_channels=1)
    assert list(space.simplify()) == list(OneCell(channels=2, in_channels=1).simplify())
    network = space.freeze(draw(space, 1))
    kinds = [str(cell) for cell in network.cells]
    assert kinds[0] == kinds[1] == kinds[2]
    assert len({id(parameter) for parameter in network.parameters()}) == len(list(network.parameters()))


def test_operations_keep_the_shape() -> None:
    images = torch.randn(2, 4, 9, 9)
    assert len(OPERATIONS) == 7 and all(make(4)(images).shape == images.shape for make in OPERATIONS.values())


@pytest.mark.parametrize(
    "arguments",
    [
        {"channels": 0},
        {"nodes": 0},
        {"layers": True},
        {"n_chosen": 1.5},
        {"num_classes": 1},
        {"in_channels": 0},
        {"operations": ["conv"]},
        {"operations": []},
        {"operations": ["skip_connect", "skip_connect"]},
    ],
)
def test_bad_arguments(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"^{next(iter(arguments))}"):
        OneCell(**arguments)


def test_images_that_are_too_small() -> None:
    for shape in ((1, 3, 7, 8), (3, 8, 8)):
        with pytest.raises(InputError, match="^images"):
            OneCell(2)(torch.zeros(shape))
