"""A supernet whose NLL is known, with as little of a search and of data as the dial needs."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch

from nni_hypens import EdgeStructure
from nni_hypens.search.hypernetwork import Hypernetwork
from nni_hypens.search.sampler import ArchitectureSampler
from nni_hypens.space.draws import ChoiceLayout
from search_spaces import OneCell

CLASSES = 10


class KnownSupernet:
    """Gives the right class a probability that depends on the edges shared with the base alone."""

    def __init__(self, structure: EdgeStructure, base: dict, right: Sequence[float]) -> None:
        self.structure, self.base, self.right, self.asked = structure, base, right, 0

    def predict(self, samples: Sequence[dict], batches: Sequence[Any]) -> torch.Tensor:
        self.asked += 1
        labels = torch.cat([labels for _, labels in batches])
        right = self.right[self.structure.shared_edges(self.base, samples[0])]
        probs = torch.full((1, len(labels), CLASSES), (1 - right) / (CLASSES - 1))
        probs[0, torch.arange(len(labels)), labels] = right
        return probs


def simulated(right: Sequence[float]) -> SimpleNamespace:
    structure = EdgeStructure.from_space(OneCell(channels=2, in_channels=1))
    base = {label: 0 if "input" in label else "skip_connect" for label in structure.table.options}
    base = structure.table.validate(base)
    layout = ChoiceLayout(structure.table)
    network = Hypernetwork(layout.n_labels, layout.n_options, -0.2, structure.n_edges + 0.2)
    sampler = ArchitectureSampler(structure, network, base)
    return SimpleNamespace(sampler=sampler, trained_supernet=KnownSupernet(structure, base, right))


class OnlyValidation:
    """Test and training data are out of reach."""

    def val_dataloader(self) -> list:
        return [(torch.zeros(5, 1, 8, 8), torch.arange(5)), (torch.zeros(3, 1, 8, 8), torch.arange(3))]
