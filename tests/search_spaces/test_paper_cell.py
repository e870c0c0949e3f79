"""The cell of the papers' code: its sizes and edges, and that what one cell finds is trained with two."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nni_hypens.errors import InputError
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.build import build_named_space, fixed_network
from nni_hypens.space.draws import random_architectures
from search_spaces import PaperCell
from search_spaces.paper_cell import DropPath, FactorizedReduce, _operation


def drawn(space: PaperCell, seed: int = 0) -> dict[str, Any]:
    return random_architectures(EdgeStructure.from_space(space), 1, seed)[0]


@pytest.mark.parametrize(
    ("layers", "n_chosen", "edges"), [(1, 1, 4), (1, 2, 8), (2, 1, 4), (2, 2, 8), (3, 1, 8), (5, 2, 16)]
)
def test_number_of_edges(layers: int, n_chosen: int, edges: int) -> None:
    assert EdgeStructure.from_space(PaperCell(1, layers, n_chosen)).n_edges == edges


def test_a_node_chooses_among_two_to_five_inputs_and_seven_operations() -> None:
    options = EdgeStructure.from_space(PaperCell(1)).table.options
    assert [len(options[f"reduce/node_{node}/input"]) for node in range(4)] == [2, 3, 4, 5]
    assert {len(values) for label, values in options.items() if "/op_" in label} == {7}


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (14, 14)])
@pytest.mark.parametrize(("layers", "halvings"), [(1, 1), (2, 2), (4, 2)])
def test_sizes(size: tuple[int, int], layers: int, halvings: int) -> None:
    space = PaperCell(3, layers, 2, in_channels=1, num_classes=5)
    assert space(torch.rand(2, 1, *size)).shape == (2, 5)
    network, seen = fixed_network(space, drawn(space)), []
    network.cells[-1].register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    assert network(torch.rand(2, 1, *size)).shape == (2, 5)
    height, width = (-(-length // 2**halvings) for length in size)
    assert seen == [(2, 4 * 3 * 2**halvings, height, width)]


@pytest.mark.parametrize("n_chosen", [1, 2])
def test_what_one_small_cell_finds_is_trained_with_two_wider_ones(n_chosen: int) -> None:
    small = PaperCell(2, 1, n_chosen, in_channels=1)
    wide = PaperCell(3, 2, n_chosen, in_channels=1, drop_path_prob=0.1)
    assert small.simplify().keys() == wide.simplify().keys()
    sample = drawn(small, 3)
    network = fixed_network(wide, sample)
    for node, (one, other) in enumerate(zip(network.cells[0].nodes, network.cells[1].nodes, strict=True)):
        assert one.inputs.chosen == other.inputs.chosen == sample[f"reduce/node_{node}/input"]
    images = torch.rand(4, 1, 8, 8)
    network.train()(images).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("stride", [1, 2])
def test_operations_keep_channels_and_divide_the_size(stride: int) -> None:
    for name in ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"):
        for size in (7, 8):
            half = -(-size // stride)
            assert _operation(name, 3, stride)(torch.rand(2, 3, size, size)).shape == (2, 3, half, half)


def test_both_halves_of_a_factorised_reduction_see_other_pixels() -> None:
    reduce = FactorizedReduce(1, 2)
    reduce.norm = nn.Identity()
    for weight in (reduce.even.weight, reduce.odd.weight):
        nn.init.ones_(weight)
    image = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    assert reduce(image).flatten().tolist() == [1, 3, 7, 9, 5, 0, 0, 0]


def test_drop_path_drops_images_and_keeps_the_mean() -> None:
    drop, images = DropPath(0.25), torch.ones(4000, 1, 2, 2)
    torch.manual_seed(0)
    dropped = drop(images)
    assert set(dropped[:, 0, 0, 0].tolist()) == {0.0, images.new_tensor(4 / 3).item()}
    assert dropped.mean().item() == pytest.approx(1, abs=0.05) and drop.eval()(images) is images


def test_drop_path_is_set_in_every_operation_of_a_network() -> None:
    space = PaperCell(1, 2, drop_path_prob=0.2)
    network = fixed_network(space, drawn(space))
    drops = [module for module in network.modules() if isinstance(module, DropPath)]
    assert len(drops) == 8 and {drop.probability for drop in drops} == {0.2} and network.drop_path_prob == 0.2
    network.set_drop_path_prob(0.05)
    assert {drop.probability for drop in drops} == {0.05}


@pytest.mark.parametrize(("layers", "place"), [(1, 0), (2, 1), (6, 4)])
def test_the_auxiliary_head_reads_the_second_reduction(layers: int, place: int) -> None:
    space = PaperCell(1, layers, in_channels=1)
    network = fixed_network(space, drawn(space))
    source, channels = network.auxiliary_source()
    assert source is network.cells[place]
    source.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
    seen: list[int] = []
    network(torch.rand(2, 1, 8, 8))
    assert seen == [channels]


@pytest.mark.parametrize(
    ("change", "field"),
    [({"channels": 0}, "channels"), ({"layers": 1.5}, "layers"), ({"n_chosen": 3}, "n_chosen"),
     ({"n_chosen": 0}, "n_chosen"), ({"num_classes": 1}, "num_classes"), ({"drop_path_prob": 1}, "drop_path_prob"),
     ({"drop_path_prob": True}, "drop_path_prob")],
)  # fmt: skip
def test_bad_arguments_are_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError, match=f"^{field}: got"):
        PaperCell(**change)
    with pytest.raises(InputError, match=rf"^space_args\.{field}: got"):
        build_named_space("paper_cell", change, (1, 8, 8), 10)


def test_images_that_are_too_small_are_told() -> None:
    with pytest.raises(InputError, match="^images: got"):
        PaperCell(1)(torch.rand(2, 3, 7, 8))
