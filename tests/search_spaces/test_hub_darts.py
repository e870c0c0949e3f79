from __future__ import annotations

import pytest
import torch
from nni.nas.hub.pytorch import DARTS

from nni_hypens.errors import InputError
from nni_hypens.space.architecture import EdgeStructure
from search_spaces import DartsSpace, darts
from search_spaces.hub_darts import PRESETS


def test_labels_are_those_of_the_hub() -> None:
    ours, theirs = DartsSpace(width=4, num_cells=3), DARTS(width=4, num_cells=3, dataset="cifar")
    assert list(ours.simplify()) == list(theirs.simplify())
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]


@pytest.mark.parametrize(("channels", "classes"), [(1, 7), (3, 10), (4, 2)])
def test_any_channels_and_classes(channels: int, classes: int) -> None:
    space = darts("tiny", width=4, in_channels=channels, num_classes=classes)
    table = EdgeStructure.from_space(space).table
    network = space.freeze(table.to_sample([[0]] * len(table.options)))
    assert network(torch.zeros(2, channels, 8, 8)).shape == (2, classes)
    assert type(network) is DartsSpace


def test_architectures_go_both_ways() -> None:
    ours, theirs = DartsSpace(width=4, num_cells=3), DARTS(width=4, num_cells=3, dataset="cifar")
    for seed in range(2):
        table = EdgeStructure.from_space(ours).table
        generator = torch.Generator().manual_seed(seed)
        rows = [[int(torch.randint(len(o), (1,), generator=generator))] for o in table.options.values()]
        sample = table.to_sample(rows)
        first, second = ours.freeze(sample).eval(), theirs.freeze(sample).eval()
        second.load_state_dict(first.state_dict())
        images = torch.randn(2, 3, 16, 16)
        assert torch.allclose(first(images), second(images), atol=1e-6)


def test_a_fixed_network_has_the_arguments_of_its_space() -> None:
    space = DartsSpace(width=4, num_cells=4, in_channels=2, num_classes=3, drop_path_prob=0.2)
    table = EdgeStructure.from_space(space).table
    network = space.freeze(table.to_sample([[3]] * 8 + [[0]] * 24))
    assert network.arguments == space.arguments and network.num_labels == 3
    assert sum(p.numel() for p in network.parameters()) < sum(p.numel() for p in space.parameters())


@pytest.mark.parametrize("preset", PRESETS)
def test_presets(preset: str) -> None:
    width = 4 if PRESETS[preset]["num_cells"] > 5 else PRESETS[preset]["width"]
    space = darts(preset, width=width, num_classes=5)
    own = {"width": width, "in_channels": 3, "num_classes": 5, "drop_path_prob": 0.0}
    assert space.arguments == {**PRESETS[preset], **own}


def test_bad_arguments() -> None:
    for arguments, field in (
        ({"width": 0}, "width"),
        ({"num_cells": 2}, "num_cells"),
        ({"num_classes": 1}, "num_classes"),
    ):
        with pytest.raises(InputError, match=f"^{field}"):
            DartsSpace(**arguments)
    with pytest.raises(InputError, match="^preset.*tiny"):
        darts("huge")
