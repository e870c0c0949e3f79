"""Batches of images in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.utils.data import Dataset

from nni_hypens.utils.transfer import sent

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
        images: `N x C x H x W`, or other tensors; float32. Batches are made on their device.
        labels: `N`, int64, on the same device.
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
        rows = sent(torch.as_tensor(indices, dtype=torch.int64), self.images.device)
        images = self.images.index_select(0, rows)
        return images if self.augment is None else self.augment(images), self.labels.index_select(0, rows)


def as_batch(batch: Batch) -> Batch:
    """Collate function for `ImageBatches`, whose batches need no collating."""
    return batch
