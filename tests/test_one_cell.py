from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from nni.nas.space import model_context

from nni_hypens.architecture import EdgeStructure
from nni_hypens.errors import InputError
from search_spaces import OneCell
from search_spaces.one_cell import OPERATIONS


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
