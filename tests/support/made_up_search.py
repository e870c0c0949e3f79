"""The files of a finished search that never ran: an untrained supernet, and a hypernetwork of random logits."""

from __future__ import annotations

from pathlib import Path

import torch
from nni.nas.nn.pytorch import ModelSpace

from nni_hypens import EdgeNES
from nni_hypens.search.hypernetwork import Hypernetwork
from nni_hypens.search.sampler import ArchitectureSampler
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.build import fresh
from nni_hypens.space.draws import ChoiceLayout


def save_made_up_search(space: ModelSpace, folder: Path) -> None:
    """Write what sampling needs to the `search` folder of a run."""
    structure = EdgeStructure.from_space(space)
    layout = ChoiceLayout(structure.table)
    generator = torch.Generator().manual_seed(0)
    network = Hypernetwork(layout.n_labels, layout.n_options, -0.2, structure.n_edges + 0.2, generator=generator)
    base = structure.table.to_sample([list(range(layout.max_chosen))] * layout.n_labels)
    ArchitectureSampler(structure, network, base).save(folder)
    strategy = EdgeNES()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        strategy.mutate_model(fresh(space))
    strategy.save_supernet(folder / "supernet.safetensors")
