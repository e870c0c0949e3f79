"""A small space, and an ensemble of its networks, for tests of ensembles and their folders."""

from __future__ import annotations

from typing import Any

import torch
from nni.nas.nn.pytorch import LayerChoice, ModelSpace
from nni.nas.space import model_context
from torch import nn

from nni_hypens.ensemble.info import EnsembleInfo
from nni_hypens.ensemble.module import Ensemble


class TinySpace(ModelSpace):
    """One choice, a BatchNorm and a linear layer."""

    def __init__(self, channels: int = 2, classes: int = 3) -> None:
        super().__init__()
        self.op = LayerChoice(
            {"conv": nn.Conv2d(channels, channels, 3, padding=1), "identity": nn.Identity()}, label="op"
        )
        self.norm = nn.BatchNorm2d(channels)
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.relu(self.norm(self.op(x))).mean((2, 3)))


def make(
    ops: tuple[str, ...] = ("conv", "identity", "conv"), weights: Any = None, temperature: float = 1.5
) -> Ensemble:
    torch.manual_seed(0)
    members = []
    for op in ops:
        with model_context({"op": op}):
            network = TinySpace()
        network(torch.randn(16, 2, 5, 5))  # moves the BatchNorm statistics away from their start
        members.append(network)
    info = EnsembleInfo(
        ids=[f"c{i}" for i in range(len(ops))],
        architectures=[{"op": op} for op in ops],
        lams=[None, 1.5, 0.0][: len(ops)],
        shared_edges=[None, 1, 0][: len(ops)],
        labels=["cat", "dog", "owl"],
        input_spec={"channels": 2, "height": 5, "width": 5, "scale": 255, "mean": [0.4, 0.6], "std": [0.2, 0.3]},
        space={"class": "test_ensemble:TinySpace", "args": {"channels": 2, "classes": 3}},
    )
    return Ensemble(members, weights, temperature, info=info)
