from __future__ import annotations

from typing import Any

import pytest

from nni_hypens.ensemble.info import EnsembleInfo
from nni_hypens.errors import InputError

TABLE = {"shape": [2], "scale": 1.0, "mean": [0.0, 1.0], "std": [1.0, 2.0]}


def make() -> EnsembleInfo:
    return EnsembleInfo(
        ids=["a", "b.1", "C-2_x"],
        architectures=[{"op": "conv"}, {"op": "identity"}, {}],
        lams=[None, 1.5, 0.0],
        shared_edges=[None, 1, 0],
        labels=["cat", "dog", "owl"],
        input_spec={"channels": 2, "height": 5, "width": 5, "scale": 255, "mean": [0.4, 0.6], "std": [0.2, 0.3]},
        space={"class": "a:B", "args": {}},
    )


def test_each_list_has_an_entry_per_member() -> None:
    make().check(members=3)
    with pytest.raises(InputError, match="info.ids: got 3 entries; expected 2, one per member"):
        make().check(members=2)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("ids", ["a", "b"], "info.ids: got 2 entries; expected 3"),
        ("ids", ["a", "b", "../c"], r"info.ids: got '\.\./c'"),
        ("ids", ["a", "b", "A"], "info.ids: got .* unique"),
        ("architectures", [{}], "info.architectures: got 1 entries"),
        ("lams", [1.0], "info.lams: got 1 entries"),
        ("shared_edges", [1] * 4, "info.shared_edges: got 4 entries"),
        ("labels", [], "info.labels"),
        ("labels", ["cat", 2], "info.labels"),
        ("input_spec", {}, "input.channels: got nothing"),
        ("input_spec", {"shape": "13"}, "input.shape: got '13'"),
        ("input_spec", {**TABLE, "shape": []}, "input.shape: got"),
        ("input_spec", {**TABLE, "shape": [2, 0]}, "input.shape: got"),
        ("input_spec", {**TABLE, "shape": [2, True]}, "input.shape: got"),
        ("input_spec", {**TABLE, "shape": [2] * 9}, "input.shape: got"),
        ("input_spec", {**TABLE, "shape": [2, 2**24]}, "input: got examples of 33554432 values"),
        ("input_spec", {**TABLE, "shape": [3, 2]}, "input.mean: got .* expected 3 finite numbers, one per entry"),
        ("input_spec", {**TABLE, "range": [0, 1]}, "input.range: got .* beside input.shape"),
        ("input_spec", {**TABLE, "channels": 2}, "input.channels: got .* beside input.shape"),
        ("space", {"class": "a:B"}, "space.args: got nothing"),
    ],
)
def test_a_bad_field_is_named(field: str, value: Any, message: str) -> None:
    info = make()
    setattr(info, field, value)
    with pytest.raises(InputError, match=message):
        info.check(members=3)
