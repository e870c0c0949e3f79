"""Ensembles of random networks, for exports: every BatchNorm has statistics and an affine map of its own."""

from __future__ import annotations

import random
from typing import Any

import torch
from nni.nas.hub.pytorch import MobileNetV3Space
from nni.nas.nn.pytorch import ModelSpace
from nni.nas.space import model_context

from nni_hypens.ensemble.info import EnsembleInfo
from nni_hypens.ensemble.module import Ensemble
from nni_hypens.space.architecture import EdgeStructure
from search_spaces import OneCell
from search_spaces.hub_darts import DartsSpace

SPACES: dict[str, tuple[type[ModelSpace], dict[str, Any], tuple[int, int]]] = {
    "one_cell": (OneCell, {"channels": 8, "in_channels": 1}, (8, 1)),
    "darts": (DartsSpace, {"width": 4, "num_cells": 3, "num_classes": 7}, (32, 3)),
    "mobilenet": (
        MobileNetV3Space,
        {
            "num_labels": 5,
            "base_widths": (8,) * 9,
            "width_multipliers": (1.0, 2.0),
            "expand_ratios": (1.0, 2.0),
            "depth_range": (1, 2),
        },
        (32, 3),
    ),
}
"""Name -> class, arguments, and size and channels of the images."""


def random_ensemble(name: str, members: int = 2, seed: int = 0, pooling: str = "linear", **arguments: Any) -> Ensemble:
    """An ensemble of different architectures of one of the spaces, in evaluation mode, with fixed random weights."""
    kind, defaults, (size, channels) = SPACES[name]
    arguments = {**defaults, **arguments}
    choose = random.Random(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        table = EdgeStructure.from_space(kind(**arguments)).table
        architectures = [
            {
                label: [choose.choice(values)] if label in table.multiple else choose.choice(values)
                for label, values in table.options.items()
            }
            for _ in range(members)
        ]
        shape = (channels, size, size)
        networks = [_network(kind, arguments, architecture, shape) for architecture in architectures]
        classes = networks[0](torch.zeros(1, channels, size, size)).shape[1]
    info = EnsembleInfo(
        ids=[f"c{i:02d}" for i in range(members)],
        architectures=architectures,
        lams=[None] * members,
        shared_edges=[None] * members,
        labels=[f"class {i}" for i in range(classes)],
        input_spec={
            "channels": channels, "height": size, "width": size, "scale": 255.0,
            "mean": [0.4, 0.5, 0.6][:channels], "std": [0.2, 0.25, 0.3][:channels],
        },
        space={"class": f"{kind.__module__}:{kind.__qualname__}", "args": arguments},
    )  # fmt: skip
    weights = [1.0 + i for i in range(members)]
    return Ensemble(networks, weights, 0.7, info=info, pooling=pooling).eval()


def _network(
    kind: type[ModelSpace], arguments: dict[str, Any], architecture: dict[Any, Any], shape: tuple[int, ...]
) -> torch.nn.Module:
    with model_context(architecture):
        network = kind(**arguments)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for module in norms:
        module.momentum = 1.0
        if module.affine:
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.2)
    with torch.no_grad():  # statistics of images, so that the signal neither fades nor grows on its way
        network.train()(torch.randn(16, *shape) + torch.randn(16, shape[0], 1, 1))
    return network.eval()
