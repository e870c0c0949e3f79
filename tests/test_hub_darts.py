from __future__ import annotations

import pytest
import torch
from nni.nas.hub.pytorch import DARTS

from nni_hypens.architecture import EdgeStructure
from nni_hypens.errors import InputError
from search_spaces import DartsSpace, darts


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
