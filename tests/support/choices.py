"""A small space, and samples drawn with Python's generator."""

import random
from typing import Any

import nni
from nni.nas.nn.pytorch import LayerChoice, ModelSpace
from torch import nn

from nni_hypens.space.choices import ChoiceTable


def draw_choices(table: ChoiceTable, generator: random.Random) -> dict[str, Any]:
    sample = {}
    for label, options in table.options.items():
        chosen = sorted(generator.sample(options, table.n_chosen[label]), key=options.index)
        sample[label] = chosen if label in table.multiple else chosen[0]
    return sample


class Plain(ModelSpace):
    def __init__(self) -> None:
        super().__init__()
        self.a = LayerChoice([nn.Identity(), nn.ReLU()], label="a")
        self.b = LayerChoice({"x": nn.Identity(), "y": nn.ReLU()}, label="b")
        self.add_mutable(nni.choice("width", [4, 8]))
