"""Batches and crops of images."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch

from nni_hypens.data.batches import ImageBatches, random_crop


def test_batches_and_single_examples_agree() -> None:
    dataset = ImageBatches(torch.rand(6, 1, 8, 8), torch.arange(6))
    images, labels = dataset.__getitems__([5, 2])
    assert torch.equal(images[1], dataset[2][0]) and labels.tolist() == [5, 2] and dataset[5][1] == 5


def shifts(image: torch.Tensor, border: int, flip: bool) -> Iterator[torch.Tensor]:
    height, width = image.shape[1:]
    for mirrored in (image, image.flip(2)) if flip else (image,):
        padded = torch.zeros(image.shape[0], height + 2 * border, width + 2 * border)
        padded[:, border : border + height, border : border + width] = mirrored
        for top, left in itertools.product(range(2 * border + 1), repeat=2):
            yield padded[:, top : top + height, left : left + width]


@pytest.mark.parametrize("size, border", [(8, 1), (16, 2), (28, 3), (32, 4), (64, 4)])
@pytest.mark.parametrize("flip", [False, True])
def test_crops_are_shifts_over_zeros(size: int, border: int, flip: bool) -> None:
    torch.manual_seed(size)
    images = torch.rand(8, 2, size, size + 3)
    result = random_crop(images, flip)
    assert result.shape == images.shape and result.is_contiguous()
    for before, after in zip(images, result, strict=True):
        assert any(torch.equal(after, candidate) for candidate in shifts(before, border, flip))


def test_every_shift_and_flip_is_equally_likely() -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 8, 8)
    candidates = torch.stack(list(shifts(image, 1, True)))
    result = random_crop(image.expand(9000, 1, 8, 8), flip=True)
    which = (result[:, None] == candidates[None]).flatten(2).all(2)
    assert (which.sum(1) == 1).all()
    # 18 outcomes, 500 times each, standard deviation about 22.
    assert (which.sum(0) - 500).abs().max() < 100
