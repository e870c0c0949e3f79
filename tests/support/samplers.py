"""A sampler over a hypernetwork that was not trained."""

from __future__ import annotations

import torch

from nni_hypens.search.hypernetwork import Hypernetwork
from nni_hypens.search.sampler import ArchitectureSampler
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.draws import ChoiceLayout
from search_spaces import OneCell


def sampler(seed: int = 0, sharpness: float = 1.0, nodes: int = 4) -> ArchitectureSampler:
    """A hypernetwork that prefers the base's choices more and more with lam."""
    structure = EdgeStructure.from_space(OneCell(channels=1, nodes=nodes))
    layout = ChoiceLayout(structure.table)
    generator = torch.Generator().manual_seed(seed)
    base = structure.table.to_sample(
        [[int(torch.randint(len(o), (1,), generator=generator))] for o in structure.table.options.values()]
    )
    network = Hypernetwork(layout.n_labels, layout.n_options, -0.2, nodes + 0.2, 2, generator=generator)
    with torch.no_grad():
        network.values.copy_(sharpness * torch.stack([-3 * layout.one_hot(base), 3 * layout.one_hot(base)]))
    return ArchitectureSampler(structure, network, base)
