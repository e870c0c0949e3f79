"""Batches of images in memory, and their augmentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch.utils.data import Dataset

from nni_hypens.data.names import AUGMENTATION_NAMES

Batch = tuple[torch.Tensor, torch.Tensor]
BATCH_SIZE = 64
"""Images per training batch, if there are enough of them."""
LEAST_BATCHES = 8
"""Batches of an epoch below which smaller ones are taken."""
SMALLEST = 8
"""Images of the smallest batch that is chosen: the statistics of smaller ones are too noisy for batch normalisation."""


def fitting_batch_size(images: int) -> int:
    """The largest of 64, 32, 16 and 8 that gives an epoch at least 8 full batches; 8 if none does.

    With 64 images per batch, 126 images are one update in an epoch: too few to learn anything.

    Examples:
        >>> [fitting_batch_size(images) for images in (1000, 512, 256, 126, 10)]
        [64, 64, 32, 8, 8]
    """
    size = BATCH_SIZE
    while size > SMALLEST and images // size < LEAST_BATCHES:
        size //= 2
    return size


class ImageBatches(Dataset[Batch]):
    """Images in memory, handed out a whole batch at a time by one `index_select`.

    torch's DataLoader calls `__getitems__` with the indices of a batch; with `as_batch` for collate function there is
    no work per example, while samplers (also the distributed ones that Lightning puts in) still see single examples.

    Args:
        images: `N x C x H x W`, float32.
        labels: `N`, int64.
        augment: Applied to the images of each batch; None for no change.
    """

    def __init__(
        self, images: torch.Tensor, labels: torch.Tensor, augment: Callable[[torch.Tensor], torch.Tensor] | None = None
    ) -> None:
        self.images = images
        self.labels = labels
        self.augment = augment

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Batch:
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        rows = torch.as_tensor(indices, dtype=torch.int64)
        images = self.images.index_select(0, rows)
        return images if self.augment is None else self.augment(images), self.labels.index_select(0, rows)


def as_batch(batch: Batch) -> Batch:
    """Collate function for `ImageBatches`, whose batches need no collating."""
    return batch


def random_crop(images: torch.Tensor, flip: bool = False) -> torch.Tensor:
    """Shift each image at random over a border of zeros, and mirror every second one if asked.

    The border is 4 pixels as usual for CIFAR (He et al. 2016, section 4.2), less for images below 32 pixels: an
    eighth of the height, at least 1. Zero is the mean of normalised images. Draws come from torch's global generator.

    Args:
        images: `B x C x H x W`.
        flip: Whether to mirror each image left to right with probability 1/2.

    Returns:
        A new tensor of the same shape.
    """
    n, channels, height, width = images.shape
    border = max(1, min(4, height // 8))
    padded = torch.nn.functional.pad(images, (border, border, border, border))
    top, left = torch.randint(0, 2 * border + 1, (2, n, 1))
    rows = top + torch.arange(height)
    columns = torch.arange(width).expand(n, width)
    if flip:
        columns = torch.where(torch.rand(n, 1) < 0.5, width - 1 - columns, columns)
    columns = left + columns
    picture = torch.arange(n)[:, None, None, None]
    channel = torch.arange(channels)[None, :, None, None]
    return padded[picture, channel, rows[:, None, :, None], columns[:, None, None, :]]


AUGMENTATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor] | None] = dict(
    zip(AUGMENTATION_NAMES, (None, random_crop, partial(random_crop, flip=True)), strict=True)
)
