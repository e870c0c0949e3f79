"""What of a space and its data does not fit is named before any paid work."""

from __future__ import annotations

import pytest
import torch

from nni_hypens.errors import InputError
from nni_hypens.run.dry_run import try_space
from nni_hypens.run.updates import Updates
from nni_hypens.space.architecture import EdgeStructure
from search_spaces import OneCell
from tests.support.one_pixel import OnePixel


def look(space: OnePixel, shape: tuple[int, int, int] = (1, 8, 8), classes: int = 4, images: int = 16) -> None:
    updates = Updates(epochs=1, each=2, batch=8, images=images, drops=False)
    try_space("space", space, EdgeStructure.from_space(space), shape, classes, updates)


def test_label_option_shape_and_batch_are_named() -> None:
    look(OnePixel())
    for space, shape, classes, images, message in (
        (OnePixel(width=5), (1, 8, 8), 4, 16, "^label 'op': got option 'other', which fails where 'same' works"),
        (OnePixel(), (3, 8, 8), 4, 16, r"^space: got OnePixel on images of shape \(3, 8, 8\), of which no .* runs"),
        (OnePixel(), (1, 8, 8), 5, 16, r"^space: got outputs of shape \(4,\); expected \(5,\)"),
        (OnePixel(), (1, 8, 8), 4, 17, "^data.train_dataloader: got a batch of one image .*drop_last=True"),
    ):
        with pytest.raises(InputError, match=message):
            look(space, shape, classes, images)


def test_options_that_json_cannot_hold_are_refused() -> None:
    """NNI's own trials would not know them again."""
    space = OneCell(channels=2, nodes=1, in_channels=1)
    structure = EdgeStructure.from_space(space)
    structure.table.options["node_0/op_0"] = ("skip_connect", (3, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EdgeStructure, "from_space", lambda space: structure)
        with pytest.raises(InputError, match=r"^space: label 'node_0/op_0': got the option \(3, 3\); expected numbers"):
            try_space("space", space, structure, (1, 8, 8), 10)


def test_a_look_leaves_the_random_numbers_alone() -> None:
    space = OnePixel()
    before = torch.random.get_rng_state()
    look(space)
    assert torch.equal(before, torch.random.get_rng_state())
