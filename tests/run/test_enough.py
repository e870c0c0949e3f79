"""More candidates than there are architectures are refused before the search."""

from __future__ import annotations

import time
from typing import Any

import pytest
from nni.nas.nn.pytorch import LayerChoice, ModelSpace
from torch import nn

from nni_hypens import ImageData, image_evaluator
from nni_hypens.errors import InputError
from nni_hypens.run.enough import different_architectures, too_few
from nni_hypens.run.plan import Plan, RunObjects, make_plan
from nni_hypens.run.settings import Settings
from nni_hypens.space.architecture import EdgeStructure
from search_spaces import DartsSpace, OneCell


class OneChoice(ModelSpace):
    """Two architectures."""

    def __init__(self) -> None:
        super().__init__()
        layers = {"linear": nn.Linear(64, 10), "wide": nn.Sequential(nn.Linear(64, 99), nn.Linear(99, 10))}
        self.layer = LayerChoice(layers, label="layer")

    def forward(self, images: Any) -> Any:
        return self.layer(images.flatten(1))


@pytest.fixture(scope="module")
def data() -> ImageData:
    return ImageData("digits", train_size=64, validation_size=64)


def plan(data: ImageData, space: ModelSpace, **settings: Any) -> Plan:
    evaluator = image_evaluator(data, 10, 2)
    return make_plan(Settings(members=2, **settings), RunObjects(space, evaluator, evaluator, data))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"candidates": 8}, "got 8, of which 3 are drawn .* must differ; expected at most 2: .* in this space"),
        ({"candidates": 3, "ranking": "spread"}, "got 3; expected at most 2: .* in this space"),
        ({"candidates": 4, "adaptive": 1}, "got 4, of which 3 .*; expected at most 3: .* in this space"),
    ],
)
def test_a_space_of_two_architectures(data: ImageData, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^candidates: {message}"):
        plan(data, OneChoice(), **settings)


def test_what_there_is_may_be_asked_for(data: ImageData) -> None:
    assert plan(data, OneChoice(), candidates=2).adaptive == 0
    assert plan(data, OneChoice(), candidates=6, adaptive=4).adaptive == 4, "those may repeat an architecture"


def test_only_the_base_shares_every_edge_with_it(data: ImageData) -> None:
    space, some = OneCell(channels=2, in_channels=1), {"candidates": 4}
    with pytest.raises(InputError, match="^candidates: got 4; expected at most 1: .* share 4 of 4 edges with the base"):
        plan(data, space, lam_low=4, **some)
    plan(data, space, lam_low=3.5, **some)
    plan(data, space, lam_low=4, ranking="promising", **some)  # large architectures from anywhere on the dial
    plan(data, space, lam_low=4, diversity="jensen_shannon", **some)  # lam is another distance


def test_architectures_are_counted_as_networks() -> None:
    """Samples may be the same network; those of a large space are not counted."""
    structure = EdgeStructure.from_space(OneCell(channels=2, nodes=2, in_channels=1))
    keys = {structure.key(structure.table.to_sample(rows)) for rows in all_rows(structure)}
    assert different_architectures(structure, 10_000) == len(keys) and different_architectures(structure, 5) == 5
    start = time.perf_counter()
    assert different_architectures(EdgeStructure.from_space(DartsSpace(width=4, num_cells=3)), 10**6) == 10**6
    assert time.perf_counter() - start < 20


def all_rows(structure: EdgeStructure) -> list[list[list[int]]]:
    """The chosen options of every sample."""
    rows: list[list[list[int]]] = [[]]
    for label, values in structure.table.options.items():
        assert structure.table.n_chosen[label] == 1
        rows = [[*row, [index]] for row in rows for index in range(len(values))]
    return rows


def test_the_number_in_the_message_is_the_users() -> None:
    assert str(too_few(Settings(candidates=8), 3, 1, "")).startswith("candidates: got 8, of which 3")
