from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import nni
import pytest
from nni.nas.nn.pytorch import InputChoice, ModelSpace

from nni_hypens.errors import InputError
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.choices import ChoiceTable, load_sample
from search_spaces import OneCell
from tests.support.choices import Plain, draw_choices


def test_spaces_without_a_fixed_number_of_categorical_choices_are_refused() -> None:
    class Fixed(ModelSpace):
        pass

    class Number(ModelSpace):
        def __init__(self) -> None:
            super().__init__()
            self.add_mutable(nni.uniform("rate", 0.0, 1.0))

    class Open(ModelSpace):
        def __init__(self) -> None:
            super().__init__()
            self.inputs = InputChoice(3, n_chosen=None, label="many")

    for space, message in (
        (Fixed(), "^space: got Fixed without any choice"),
        (Number(), "^label 'rate': got Numerical; expected a categorical"),
        (Open(), "^label 'many': got n_chosen=None"),
    ):
        with pytest.raises(InputError, match=message):
            ChoiceTable.from_space(space)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"c": 1}, "label: got 'c'"),
        ({"widht": 4}, "label: got 'widht'; .*nearest: width"),
        ({"b": []}, r"label 'b': got \[\]; expected 1 different option"),
        ({"width": None}, "width"),
        ({"b": "xx"}, r"label 'b': got 'xx'; expected one of \['x', 'y'\]; nearest: x"),
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
    for wrong in (3, [good], "a", None):
        with pytest.raises(InputError, match=f"^mine: got {type(wrong).__name__}; expected an NNI sample"):
            table.validate(wrong, "mine")


def test_several_inputs_are_put_in_order_and_counted() -> None:
    table = EdgeStructure.from_space(OneCell(channels=1, n_chosen=2)).table
    sample = draw_choices(table, random.Random(0))
    assert table.validate({**sample, "node_3/input": [3, 1]})["node_3/input"] == [1, 3]
    for wrong in ([1], [1, 1], [0, 1, 2], 1):
        with pytest.raises(InputError, match="label 'node_3/input': .*2 different option"):
            table.validate({**sample, "node_3/input": wrong})
    with pytest.raises(InputError, match="label 'node_3/input': got 4"):
        table.validate({**sample, "node_3/input": [1, 4]})


def test_files(tmp_path: Path) -> None:
    table = EdgeStructure.from_space(OneCell(channels=1)).table
    sample = draw_choices(table, random.Random(0))
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
    sample = draw_choices(table, random.Random(2))
    assert table.to_sample(list(table.to_indices(sample).values())) == sample
    assert all(type(label) is str for label in table.labels)  # NNI's own type would end up in checkpoints


def test_options_may_be_tuples() -> None:
    """A kernel of (1, 3) is one choice, in memory and after JSON, which knows lists only."""
    options = {"kernel": ((1, 3), (3, 1), (1, 2, 3)), "input": (0, 1, 2)}
    table = ChoiceTable(options, {"kernel": 1, "input": 2}, frozenset({"input"}))
    sample = table.to_sample([[1], [0, 2]])
    assert sample == {"kernel": (3, 1), "input": [0, 2]}
    assert table.validate(json.loads(json.dumps(sample))) == table.validate(sample) == sample
    assert table.to_indices(sample) == {"kernel": [1], "input": [0, 2]}
    structure = EdgeStructure(table)
    assert structure.n_edges == 3 and structure.edges(sample)[0] == ("kernel", None, (3, 1))
    assert structure.shared_edges(sample, {"kernel": (1, 3), "input": [2, 1]}) == 1
    for kernel in ([1, 4], [], [(1, 3)] * 2, 3):
        with pytest.raises(InputError, match="kernel"):
            table.validate({**sample, "kernel": kernel})
