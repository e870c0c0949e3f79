"""Supernets, and spaces that cover every kind of module."""

from __future__ import annotations

import nni
import torch
from nni.nas.nn.pytorch import LayerChoice, ModelSpace, MutableLinear, Repeat
from torch import nn

from nni_hypens.search.strategy import EdgeNES
from nni_hypens.search.supernet import Supernet
from nni_hypens.space.choices import ChoiceTable
from nni_hypens.space.draws import ChoiceLayout, PathDraw, draw_paths
from search_spaces import DartsSpace, OneCell


def supernet_of(space: ModelSpace) -> Supernet:
    strategy = EdgeNES()
    strategy.mutate_model(space)
    return strategy.trained_supernet


def draw(table: ChoiceTable, seed: int, temperature: float = 1.0) -> tuple[torch.Tensor, PathDraw]:
    layout = ChoiceLayout(table)
    logits = torch.randn(layout.n_labels, layout.n_options, generator=torch.Generator().manual_seed(seed))
    logits.requires_grad_(True)
    return logits, draw_paths(logits, layout, temperature, torch.Generator().manual_seed(seed))


def draw_sample(supernet: Supernet, seed: int) -> dict:
    return supernet.table.to_sample(draw(supernet.table, seed)[1].chosen.tolist())


class Mixed(ModelSpace):
    """Depth, width and a plain layer choice."""

    def __init__(self) -> None:
        super().__init__()
        width = nni.choice("width", [4, 8])
        self.first = MutableLinear(6, width)
        self.second = MutableLinear(width, 5)
        self.blocks = Repeat(lambda index: nn.Linear(5, 5), nni.choice("depth", [1, 3]))
        self.act = LayerChoice({"relu": nn.ReLU(), "tanh": nn.Tanh()}, label="act")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.blocks(self.second(self.first(x))))


SPACES = [
    (lambda: OneCell(channels=3, in_channels=1), (2, 1, 8, 8)),
    (lambda: OneCell(channels=3, n_chosen=2, layers=2, in_channels=1), (2, 1, 8, 8)),
    (lambda: DartsSpace(width=4, num_cells=3, in_channels=1, num_classes=3), (2, 1, 8, 8)),
    (Mixed, (2, 6)),
]
