"""The space of perceptrons: its edges, what it refuses, and everything a space goes through in a search."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from nni_hypens.errors import InputError
from nni_hypens.space.architecture import EdgeStructure
from search_spaces import MLP
from search_spaces.mlp import BLOCKS
from tests.support.space_checks import check_space


def test_goes_through_a_search(tmp_path: Path) -> None:
    found = check_space(lambda: MLP(7, 10, width=6, layers=3), str(tmp_path), (7,))
    assert found["edges"] == 3 and found["difference"] < 1e-5


def test_edges_count_the_chosen_input_and_its_block() -> None:
    space = MLP(3, 2)
    structure = EdgeStructure.from_space(space)
    assert structure.n_edges == 4
    options = structure.table.options
    inputs = math.prod(len(values) for label, values in options.items() if label.endswith("/input"))
    assert inputs * len(BLOCKS) ** structure.n_edges == 31_104
    sample = {label: [values[0]] if label.endswith("/input") else "relu" for label, values in options.items()}
    assert structure.shared_edges(sample, sample | {"node_3/op_3": "tanh"}) == 4  # on an input that is not chosen
    assert structure.shared_edges(sample, sample | {"node_3/op_0": "tanh"}) == 3
    assert structure.shared_edges(sample, sample | {"node_3/input": [2]}) == 3


def test_flattens_other_tensors() -> None:
    assert MLP(10, 3, width=4, layers=1)(torch.zeros(6, 2, 5)).shape == (6, 3)


@pytest.mark.parametrize(
    "change, field",
    [({"in_features": 0}, "in_features"), ({"num_classes": 1}, "num_classes"), ({"width": 1.5}, "width"),
     ({"layers": True}, "layers"), ({"blocks": ["relu", "relu"]}, "blocks"), ({"blocks": ["conv"]}, "blocks")],
)  # fmt: skip
def test_bad_arguments_are_named(change: dict, field: str) -> None:
    with pytest.raises(InputError, match=f"^{field}: got"):
        MLP(**{"in_features": 3, "num_classes": 2, **change})


def test_another_number_of_features_is_named() -> None:
    with pytest.raises(InputError, match="4 numbers per example; expected 5"):
        MLP(5, 2)(torch.zeros(2, 4))
