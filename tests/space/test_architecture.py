from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import torch
from nni.mutable import label_scope
from nni.nas.nn.pytorch import Cell, InputChoice, ModelSpace, Repeat
from torch import nn

from nni_hypens.errors import InputError
from nni_hypens.space.architecture import EdgeGroup, EdgeStructure
from nni_hypens.space.choices import ChoiceTable
from search_spaces import DartsSpace, OneCell
from search_spaces.one_cell import Node
from tests.support.choices import Plain, draw_choices


def one_cell_edges(sample: dict[str, Any]) -> set[tuple]:
    """Reference: chosen inputs are a set, so edges of the one-cell space are one too."""
    return {
        (node, source, sample[f"node_{node}/op_{source}"])
        for node in range(4)
        for source in sample[f"node_{node}/input"]
    }


@pytest.mark.parametrize("n_chosen", [1, 2])
def test_one_cell_against_sets(n_chosen: int) -> None:
    structure = EdgeStructure.from_space(OneCell(channels=1, n_chosen=n_chosen))
    assert structure.n_edges == {1: 4, 2: 7}[n_chosen]
    generator = random.Random(0)
    samples = [draw_choices(structure.table, generator) for _ in range(60)]
    for first, second in zip(samples, samples[1:], strict=False):
        shared = len(one_cell_edges(first) & one_cell_edges(second))
        assert structure.shared_edges(first, second) == structure.shared_edges(second, first) == shared
        assert (structure.key(first) == structure.key(second)) == (one_cell_edges(first) == one_cell_edges(second))
        assert structure.shared_edges(first, first) == structure.n_edges == len(structure.edges(first))


def test_operations_on_other_inputs_do_not_count() -> None:
    structure = EdgeStructure.from_space(OneCell(channels=1))
    sample = draw_choices(structure.table, random.Random(1))
    node = 3
    unused = next(source for source in range(4) if source not in sample[f"node_{node}/input"])
    options = structure.table.options[f"node_{node}/op_{unused}"]
    other = {**sample, f"node_{node}/op_{unused}": next(o for o in options if o != sample[f"node_{node}/op_{unused}"])}
    assert structure.key(other) == structure.key(sample) and structure.shared_edges(other, sample) == 4


def test_hub_darts_slots_are_unordered_and_may_repeat() -> None:
    structure = EdgeStructure.from_space(DartsSpace(width=2, num_cells=3))
    assert structure.n_edges == 16 and len(structure.groups) == 8
    generator = random.Random(0)
    for _ in range(100):
        first, second = draw_choices(structure.table, generator), draw_choices(structure.table, generator)
        swapped = dict(first)
        for kind in ("op", "input"):
            one, two = f"normal/{kind}_2_0", f"normal/{kind}_2_1"
            swapped[one], swapped[two] = first[two], first[one]
        assert structure.key(swapped) == structure.key(first)
        expected = 0
        for cell in ("normal", "reduce"):
            for node in range(2, 6):
                left = [(first[f"{cell}/input_{node}_{k}"][0], first[f"{cell}/op_{node}_{k}"]) for k in (0, 1)]
                for k in (0, 1):
                    edge = (second[f"{cell}/input_{node}_{k}"][0], second[f"{cell}/op_{node}_{k}"])
                    if edge in left:
                        left.remove(edge)
                        expected += 1
        assert structure.shared_edges(first, second) == expected


@pytest.mark.parametrize("n_chosen", [1, 2])
def test_key_is_the_identity_of_the_frozen_network(n_chosen: int) -> None:
    """Small enough a space that any two draws are often the same network by other samples."""
    space = OneCell(channels=1, nodes=2, n_chosen=n_chosen, operations=["skip_connect", "sep_conv_3x3"])
    structure = EdgeStructure.from_space(space)
    generator = random.Random(3)
    samples = [draw_choices(structure.table, generator) for _ in range(24)]
    networks = []
    for sample in samples:
        frozen = space.freeze(sample)
        networks.append((str(frozen), [node.inputs.chosen for cell in frozen.cells for node in cell]))
    pairs = list(itertools.combinations(range(24), 2))
    same = [networks[i] == networks[j] for i, j in pairs]
    assert same == [structure.key(samples[i]) == structure.key(samples[j]) for i, j in pairs]
    assert any(same) and not all(same)
    assert any(samples[i] != samples[j] for (i, j), alike in zip(pairs, same, strict=True) if alike) or n_chosen == 2


def test_swapped_slots_of_a_hub_cell_are_the_same_function() -> None:
    """Two samples with one key compute the same, once the weights have changed places as well."""
    space = DartsSpace(width=2, num_cells=3, in_channels=1)
    structure = EdgeStructure.from_space(space)
    sample = draw_choices(structure.table, random.Random(0)) | {
        "normal/op_3_0": "sep_conv_3x3",
        "normal/op_3_1": "dil_conv_5x5",
        "normal/input_3_0": [0],
        "normal/input_3_1": [2],
    }
    swapped = dict(sample)
    for kind in ("op", "input"):
        swapped[f"normal/{kind}_3_0"], swapped[f"normal/{kind}_3_1"] = (
            sample[f"normal/{kind}_3_1"],
            sample[f"normal/{kind}_3_0"],
        )
    assert structure.key(swapped) == structure.key(sample) and swapped != sample
    first, second = space.freeze(sample).eval(), space.freeze(swapped).eval()
    normal = [name for name, module in first.named_modules() if type(module).__name__ == "Cell"][0]
    slots = {f"{normal}.ops.1.0.": f"{normal}.ops.1.1.", f"{normal}.ops.1.1.": f"{normal}.ops.1.0."}
    weights = {}
    for name, value in first.state_dict().items():
        old = next((slot for slot in slots if name.startswith(slot)), None)
        weights[name if old is None else slots[old] + name.removeprefix(old)] = value
    second.load_state_dict(weights)
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(first(images), second(images), atol=1e-6)


def test_copies_that_share_labels_count_once() -> None:
    one, three = (EdgeStructure.from_space(OneCell(channels=1, layers=layers)) for layers in (1, 3))
    assert one.groups == three.groups and one.n_edges == three.n_edges == 4
    small, large = (EdgeStructure.from_space(DartsSpace(width=2, num_cells=cells)) for cells in (3, 6))
    assert small.groups == large.groups


def test_nodes_under_labels_of_their_own_are_kept_apart() -> None:
    class Two(ModelSpace):
        def __init__(self) -> None:
            super().__init__()
            with label_scope("left"):
                self.left = Node(0, 1, 1, ["skip_connect", "sep_conv_3x3"])
            with label_scope("right"):
                self.right = Node(0, 1, 1, ["skip_connect", "sep_conv_3x3"])

    structure = EdgeStructure.from_space(Two())
    samples = []
    for left, right in (("skip_connect", "sep_conv_3x3"), ("sep_conv_3x3", "skip_connect")):
        ops = {"left/node_0/op_0": left, "right/node_0/op_0": right}
        samples.append({"left/node_0/input": [0], "right/node_0/input": [0], **ops})
    assert structure.n_edges == 2 and structure.shared_edges(*samples) == 0
    assert structure.key(samples[0]) != structure.key(samples[1])


def test_an_edge_held_twice_counts_as_often_as_both_hold_it() -> None:
    structure = EdgeStructure.from_space(DartsSpace(width=2, num_cells=3))
    one = structure.table.to_sample([[0]] * len(structure.table.options))  # each node: max pool of input 0, twice
    assert structure.shared_edges(one, one) == 16 and max(count for _, count in structure.key(one)) == 2
    other = {**one, "normal/op_2_1": "skip_connect"}
    assert structure.shared_edges(one, other) == 15 and structure.key(one) != structure.key(other)
    both = {**one, "normal/op_2_0": "skip_connect", "normal/op_2_1": "skip_connect"}
    assert structure.shared_edges(both, other) == 15 and structure.shared_edges(both, one) == 14


class Own(Plain):
    def edge_groups(self) -> list[EdgeGroup]:
        return [EdgeGroup("pair", ((None, ("a",)), (None, ("width",))))]


def test_other_mutables_and_own_edges() -> None:
    structure = EdgeStructure.from_space(Plain())
    assert structure.n_edges == 3
    assert structure.shared_edges({"a": 0, "b": "x", "width": 4}, {"a": 0, "b": "y", "width": 4}) == 2
    own = EdgeStructure.from_space(Own())
    assert [group.name for group in own.groups] == ["pair", "b"] and own.n_edges == 3
    assert own.describe({"a": 0, "b": "x", "width": 4}) == "pair: 0, 4; b: x"
    table = ChoiceTable.from_space(Plain())
    with pytest.raises(InputError, match="labels of this space"):
        EdgeStructure(table, [EdgeGroup("g", ((None, ("nothing",)),))])
    with pytest.raises(InputError, match="each label in one group"):
        EdgeStructure(table, [EdgeGroup("g", ((None, ("a",)),)), EdgeGroup("h", ((None, ("a",)),))])
    for other in ("g", "width"):  # another group's name, the name of a label in no group
        with pytest.raises(InputError, match=f"edge group '{other}': got two groups of that name"):
            EdgeStructure(table, [EdgeGroup("g", ((None, ("a",)),)), EdgeGroup(other, ((None, ("b",)),))])


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ((), "got no slots"),
        (((None, ("a", "b")),), "got 2 operation labels in a slot; expected 1$"),
        ((("a", ("b", "width", "b")),), "got 3 operation labels in a slot; expected 1 or 2$"),
        ((("a", ("many",)),), "got several values of 'many' on an input"),
        (((None, ("a",)), (None, ("a",))), "got label 'a' in two slots"),
        ((("a", ("b",)), ("width", ("b",))), "got label 'b' in two slots"),
    ],
)
def test_slots_that_could_not_be_counted_are_refused(slots: tuple, message: str) -> None:
    table = ChoiceTable.from_space(Plain())
    options, n_chosen = {**table.options, "many": (0, 1, 2)}, {**table.n_chosen, "many": 2}
    with pytest.raises(InputError, match=f"^edge group 'g': {message}"):
        EdgeStructure(ChoiceTable(options, n_chosen, frozenset(["many"])), [EdgeGroup("g", slots)])


def test_every_primitive_has_a_default() -> None:
    class Every(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.many = InputChoice(4, n_chosen=2, label="many")
            self.depth = Repeat(lambda index: nn.Identity(), (1, 3), label="depth")
            self.cell = Cell([nn.Identity(), nn.ReLU()], 1, 2, 2, label="cell")

    structure = EdgeStructure.from_space(Every())
    assert structure.n_edges == 3 + 2 + 1 + 2
    rows = [[0, 1]] * len(structure.table.labels)
    sample = structure.table.to_sample(rows)
    assert {name: [edge[1:] for edge in structure.edges(sample) if edge[0] == name] for name in ("many", "depth")} == {
        "many": [(None, 0), (None, 1)],
        "depth": [(None, 1)],
    }
    assert len([edge for edge in structure.edges(sample) if edge[0].startswith("cell/")]) == 2
    other = {**sample, "many": [1, 3], "depth": 2}
    assert structure.shared_edges(sample, other) == 6 == structure.shared_edges(other, sample)
