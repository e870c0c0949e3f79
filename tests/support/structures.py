"""Edge structures of every kind, draws from them, and a hypernetwork trained on a regulariser alone."""

from __future__ import annotations

import random

import nni
import torch
from nni.nas.nn.pytorch import InputChoice, LayerChoice, ModelSpace
from torch import nn

from nni_hypens.search.hypernetwork import Hypernetwork
from nni_hypens.search.jensen_shannon import JensenShannon
from nni_hypens.search.shared_edges import SharedEdges
from nni_hypens.space.architecture import EdgeGroup, EdgeStructure
from nni_hypens.space.draws import ChoiceLayout, draw_paths
from search_spaces import DartsSpace, OneCell


class Plain(ModelSpace):
    """One edge per label, but two for the input choice."""

    def __init__(self) -> None:
        super().__init__()
        self.op = LayerChoice({"x": nn.Identity(), "y": nn.ReLU(), "z": nn.Tanh()}, label="op")
        self.inputs = InputChoice(5, n_chosen=2, label="inputs")
        self.add_mutable(nni.choice("width", [4, 8, 16]))
        self.add_mutable(nni.choice("depth", [4, 8]))


class Own(Plain):
    """Says that width and depth are unordered, and that the operation acts on the inputs."""

    def edge_groups(self) -> list[EdgeGroup]:
        return [
            EdgeGroup("sizes", ((None, ("width",)), (None, ("depth",)))),
            EdgeGroup("node", (("inputs", ("op",)),)),
        ]


STRUCTURES = {
    "one_cell": EdgeStructure.from_space(OneCell(channels=1)),
    "two_inputs": EdgeStructure.from_space(OneCell(channels=1, n_chosen=2)),
    "three_inputs": EdgeStructure.from_space(OneCell(channels=1, n_chosen=3)),
    "darts": EdgeStructure.from_space(DartsSpace(width=2, num_cells=3)),
    "plain": EdgeStructure.from_space(Plain()),
    "own": EdgeStructure.from_space(Own()),
}


def samples(structure: EdgeStructure, n: int, seed: int, logits: torch.Tensor | None = None) -> list[dict]:
    layout = ChoiceLayout(structure.table)
    logits = torch.zeros(layout.n_labels, layout.n_options) if logits is None else logits
    rows = draw_paths(logits.expand(n, -1, -1), layout, 1.0, torch.Generator().manual_seed(seed)).chosen.tolist()
    return [structure.table.to_sample(row) for row in rows]


def regularize_alone(
    regulariser: SharedEdges | JensenShannon, structure: EdgeStructure, seed: int, steps: int
) -> tuple:
    """Base, lam = 0..n_edges by a quarter, and the modes there, of a hypernetwork trained on the regulariser alone."""
    layout = ChoiceLayout(structure.table)
    generator = torch.Generator().manual_seed(seed)
    base = samples(structure, 1, random.Random(seed).randrange(99))[0]
    n_edges = structure.n_edges
    network = Hypernetwork(layout.n_labels, layout.n_options, -0.2, n_edges + 0.2, generator=generator)
    regulariser.bind(structure, layout, base)
    optimizer = torch.optim.Adam(network.parameters(), 0.03, betas=(0.5, 0.999))
    for step in range(steps):
        lam = (n_edges + 0.4) * torch.rand(64, generator=generator) - 0.2
        loss = regulariser(lam, network(lam), regulariser.temperature.at(step / steps), generator)
        optimizer.zero_grad()
        (regulariser.weight.at(step / steps) * loss).backward()
        optimizer.step()
    lams = torch.arange(4 * n_edges + 1) / 4
    rows = draw_paths(network(lams).detach(), layout, 1.0, noise=False).chosen.tolist()
    return base, lams.numpy(), [structure.table.to_sample(row) for row in rows]
