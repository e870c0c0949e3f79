"""Augmentation against its definition, and torchvision's transforms."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch

from nni_hypens import ImageData, InputError
from nni_hypens.data.augment import TrivialAugment, augmentation, cutout, random_crop


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


def test_cutout_clears_a_square_of_half_the_size_in_each_image() -> None:
    torch.manual_seed(0)
    cleared = cutout(torch.ones(300, 2, 10, 10)) == 0
    assert (cleared[:, 0] == cleared[:, 1]).all() and (cleared[:, 0].sum((1, 2)) == 25).all()
    rows, columns = cleared[:, 0].any(2), cleared[:, 0].any(1)
    assert (rows.sum(1) == 5).all() and (columns.sum(1) == 5).all()
    places = {(int(row.int().argmax()), int(column.int().argmax())) for row, column in zip(rows, columns, strict=True)}
    assert len(places) > 25, "each image has a place of its own"


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_trivial_augment_works_on_pixels_and_gives_normalised_images_back(low: float) -> None:
    torch.manual_seed(0)
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]
    augment = TrivialAugment(mean, std, low, 1.0)
    pixels = torch.randint(0, 256, (40, 3, 8, 8))
    images = (pixels / 255 * (1 - low) + low - augment.mean) / augment.std
    changed = augment(images)
    back = (changed * augment.std + augment.mean - low) / (1 - low) * 255
    assert torch.allclose(back, back.round(), atol=1e-3) and back.min() >= -1e-3 and back.max() <= 255.001
    same = (changed - images).abs().flatten(1).amax(1) < 1e-4
    assert 0 < same.sum() < 20, "each image has a draw of its own; one in about 14 is left as it is"


def test_names_are_applied_in_their_order_and_checked() -> None:
    images = torch.rand(4, 1, 16, 16)
    torch.manual_seed(3)
    both = augmentation("crop, cutout", {"channels": 1})
    assert both is not None
    found = both(images)
    torch.manual_seed(3)
    assert torch.equal(found, cutout(random_crop(images)))
    assert augmentation("none", {"channels": 1}) is None
    with pytest.raises(InputError, match="nearest: cutout"):
        ImageData("digits", augment="cutuot")
    with pytest.raises(InputError, match="4 channels"):
        augmentation("trivial_augment", {"channels": 4})


def test_training_batches_are_augmented_and_others_are_not() -> None:
    plain, cut = (ImageData("digits", train_size=64, batch_size=64, augment=name) for name in ("none", "cutout"))
    torch.manual_seed(0)
    (images, _), (cleared, _) = next(iter(plain.train_dataloader())), next(iter(cut.train_dataloader()))
    assert ((cleared == 0).flatten(1).sum(1) >= 16).all() and not ((images == 0).flatten(1).sum(1) >= 16).any()
    for one, other in zip(plain.val_dataloader(), cut.val_dataloader(), strict=True):
        assert torch.equal(one[0], other[0])


@pytest.mark.parametrize("side", [8, 9, 11, 28, 32])
def test_cutout_of_square_images_is_torchvisions_image_by_image(side: int) -> None:
    from torchvision.transforms import v2

    erase = v2.RandomErasing(p=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0), value=0)
    images = torch.randn(20, 3, side, side)
    torch.manual_seed(1)
    expected, state = torch.stack([erase(image) for image in images]), torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(cutout(images), expected) and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("height, width", [(8, 32), (40, 8), (16, 64), (10, 12)])
def test_cutout_clears_half_the_height_and_width_of_long_images(height: int, width: int) -> None:
    """A square of a quarter of the area is higher than images four times as wide as high."""
    torch.manual_seed(0)
    cleared = cutout(torch.ones(50, 1, height, width))[:, 0] == 0
    assert (cleared.any(2).sum(1) == height // 2).all() and (cleared.any(1).sum(1) == width // 2).all()
    assert (cleared.sum((1, 2)) == height * width // 4).all()
    assert len(cleared.any(2).unique(dim=0)) > 3 and len(cleared.any(1).unique(dim=0)) > 3, "places differ"
