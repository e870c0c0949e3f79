from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import nni
import pytest
from nni.nas.nn.pytorch import LayerChoice, ModelSpace
from torch import nn

from nni_hypens.architecture import ChoiceTable, EdgeGroup, EdgeStructure, load_sample
from nni_hypens.errors import InputError
from search_spaces import DartsSpace, OneCell


def draw(table: ChoiceTable, generator: random.Random) -> dict[str, Any]:
    sample = {}
    for label, options in table.options.items():
        chosen = sorted(generator.sample(options, table.n_chosen[label]), key=options.index)
        sample[label] = chosen if label in table.multiple else chosen[0]
    return sample


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
    samples = [draw(structure.table, generator) for _ in range(60)]
    for first, second in zip(samples, samples[1:], strict=False):
        shared = len(one_cell_edges(first) & one_cell_edges(second))
        assert structure.shared_edges(first, second) == structure.shared_edges(second, first) == shared
        assert (structure.key(first) == structure.key(second)) == (one_cell_edges(first) == one_cell_edges(second))
        assert structure.shared_edges(first, first) == structure.n_edges == len(structure.edges(first))


def test_operations_on_other_inputs_do_not_count() -> None:
    structure = EdgeStructure.from_space(OneCell(channels=1))
    sample = draw(structure.table, random.Random(1))
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
        first, second = draw(structure.table, generator), draw(structure.table, generator)
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


class Plain(ModelSpace):
    def __init__(self) -> None:
        super().__init__()
        self.a = LayerChoice([nn.Identity(), nn.ReLU()], label="a")
        self.b = LayerChoice({"x": nn.Identity(), "y": nn.ReLU()}, label="b")
        self.add_mutable(nni.choice("width", [4, 8]))


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"c": 1}, "label: got 'c'"),
        ({"width": None}, "width"),
        ({"b": "xx"}, r"label 'b': got 'xx'; expected one of \['x', 'y'\] \(nearest: x\)"),
        ({"a": True}, "label 'a': got True"),
        ({"a": [0, 1]}, "label 'a': .*1 different option"),
        ({"width": 4.0}, "label 'width'"),
    ],
)
def test_samples_of_another_space_are_refused(change: dict[str, Any], message: str) -> None:
    table = ChoiceTable.from_space(Plain())
    good = {"a": 0, "b": "x", "width": 4}
    assert table.validate(good) == good
    with pytest.raises(InputError, match=message):
        table.validate({**good, **change})
    with pytest.raises(InputError, match="got nothing"):
        table.validate({})
    with pytest.raises(InputError, match="got int"):
        table.validate(3)


def test_files(tmp_path: Path) -> None:
    table = EdgeStructure.from_space(OneCell(channels=1)).table
    sample = draw(table, random.Random(0))
    path = tmp_path / "a.json"
    path.write_text(
        json.dumps([{name: value[0] if isinstance(value, list) else value for name, value in sample.items()}])
    )
    assert load_sample(path, table) == sample
    for content in ("{", "[]", "3"):
        path.write_text(content)
        with pytest.raises(InputError, match="^base"):
            load_sample(path, table)
    with pytest.raises(InputError, match="readable"):
        load_sample(tmp_path / "missing.json", table)


def test_samples_and_indices_are_inverse() -> None:
    table = EdgeStructure.from_space(OneCell(channels=1, n_chosen=2)).table
    sample = draw(table, random.Random(2))
    assert table.to_sample(list(table.to_indices(sample).values())) == sample
    assert all(type(label) is str for label in table.labels)  # NNI's own type would end up in checkpoints
