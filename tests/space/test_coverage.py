"""A few architectures run every option of every choice, and the option at fault is named."""

from __future__ import annotations

from typing import Any

import nni
import pytest
import torch
from nni.nas.nn.pytorch import LayerChoice, ModelSpace, Repeat
from torch import nn

from nni_hypens.errors import InputError
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.build import fixed_network
from nni_hypens.space.coverage import check_every_option, covering_architectures
from search_spaces import OneCell


class Nested(ModelSpace):
    """Choices inside an option of another, and inside blocks that only the deepest network has."""

    def __init__(self) -> None:
        super().__init__()
        inner = LayerChoice({f"i{n}": nn.Linear(2, 2) for n in range(3)}, label="inner")
        other = LayerChoice({f"o{n}": nn.Linear(2, 2) for n in range(2)}, label="other")
        self.outer = LayerChoice({"a": other, "b": nn.Sequential(inner), "c": nn.Identity()}, label="outer")
        self.blocks = Repeat(
            lambda index: LayerChoice([nn.Linear(2, 2), nn.Tanh()], label=f"block{index}"), nni.choice("depth", [1, 3])
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(self.outer(x))


class Odd(ModelSpace):
    """Two choices; each option that is in ``bad`` takes images of another width."""

    def __init__(self, bad: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.first, self.second = (
            LayerChoice({f"{label}{n}": nn.Linear(3 if f"{label}{n}" in bad else 2, 2) for n in range(2)}, label=label)
            for label in ("x", "y")
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


def run(space: ModelSpace) -> Any:
    return lambda sample: fixed_network(space, sample)(torch.zeros(2, 2))


def check(space: ModelSpace, attempt: Any = None) -> None:
    structure = EdgeStructure.from_space(space)
    check_every_option(structure, covering_architectures(space, structure.table), attempt or run(space), what="Odd")


def test_choices_inside_others_are_run_too() -> None:
    space = Nested()
    samples = covering_architectures(space, EdgeStructure.from_space(space).table)
    assert {sample["inner"] for sample in samples if sample["outer"] == "b"} == {"i0", "i1", "i2"}
    assert {sample["other"] for sample in samples if sample["outer"] == "a"} == {"o0", "o1"}
    assert {sample["outer"] for sample in samples} == {"a", "b", "c"}
    assert {sample["depth"] for sample in samples} == {1, 3}
    for index in range(3):
        assert {sample[f"block{index}"] for sample in samples if sample["depth"] == 3} == {0, 1}


def test_every_option_is_run_in_as_few_as_the_largest_choice_has(tiny_cell: OneCell) -> None:
    for space in (tiny_cell, OneCell(channels=2, n_chosen=2, layers=2, in_channels=1)):
        table = EdgeStructure.from_space(space).table
        samples = covering_architectures(space, table)
        assert len(samples) == max(map(len, table.options.values()))
        for label, options in table.options.items():
            assert {value for sample in samples for value in table.chosen(label, sample[label])} == set(options)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (("x1",), "^label 'x': got option 'x1', which fails where 'x0' works .RuntimeError: mat1 and mat2"),
        (("y0",), "^label 'y': got option 'y0', which fails where 'y1'"),
        (("x0", "y1"), "^label '[xy]': got option '(x0|y1)'"),  # none of the covering architectures works
        (("x0", "x1"), "^space: got Odd, of which no architecture runs .RuntimeError: mat1"),
    ],
)
def test_the_option_that_does_not_fit_is_named(bad: tuple[str, ...], message: str) -> None:
    check(Odd())
    with pytest.raises(InputError, match=message):
        check(Odd(bad))


def test_two_options_that_do_not_fit_each_other_and_errors_without_a_text() -> None:
    def pair(sample: Any) -> None:
        if sample == {"x": "x1", "y": "y1"}:
            raise ValueError

    with pytest.raises(InputError, match="^space: got Odd, of which .* fails .ValueError."):
        check(Odd(), pair)

    def refuse(sample: Any) -> None:
        raise InputError("training_step", "None", "the loss")

    with pytest.raises(InputError, match="^training_step"):
        check(Odd(), refuse)
