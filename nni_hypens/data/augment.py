"""Augmentation of batches of images in memory.

Crops and flips are ours, because torchvision's draw once for a whole batch; the others are torchvision's, applied image
by image. All draws come from torch's global generator. torchvision is imported on use only, because it takes a while
and every trial imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from nni_hypens.data.names import augmentation_names
from nni_hypens.errors import InputError
from nni_hypens.utils.inputs import is_image, shape_text
from nni_hypens.utils.transfer import sent

Augmentation = Callable[[torch.Tensor], torch.Tensor]


def augmentation(setting: str, spec: Mapping[str, Any]) -> Augmentation | None:
    """The function that augments a batch of normalised images ``B x C x H x W``; None for no change.

    Args:
        setting: Names of `nni_hypens.data.names.AUGMENTATION_NAMES`, separated by commas and applied in this order.
        spec: The input description of the images, by `nni_hypens.ImageData.input_spec`.

    Raises:
        InputError: An unknown name, any for data that are no images, or TrivialAugment for images that are neither grey
            nor RGB.

    Examples:
        >>> cut = augmentation("cutout", {"channels": 1})
        >>> int((cut(torch.ones(1, 1, 8, 8)) == 0).sum())
        16
    """
    steps: list[Augmentation] = []
    for name in augmentation_names(setting):
        if not is_image(spec):
            raise InputError("data.augment", f"{name} for {shape_text(spec)}", "none: augmentations are for images")
        if name in ("crop", "crop_flip"):
            steps.append(lambda images, flip=name == "crop_flip": random_crop(images, flip))  # type: ignore[misc]
        elif name == "cutout":
            steps.append(cutout)
        else:
            if spec["channels"] not in (1, 3):
                raise InputError("data.augment", f"{name} for {spec['channels']} channels", "images with 1 or 3")
            low, high = (value / spec["scale"] for value in spec["range"])
            steps.append(TrivialAugment(spec["mean"], spec["std"], low, high))
    if not steps:
        return None

    def every(images: torch.Tensor) -> torch.Tensor:
        for step in steps:
            images = step(images)
        return images

    return every


def random_crop(images: torch.Tensor, flip: bool = False) -> torch.Tensor:
    """Shift each image at random over a border of zeros, and mirror every second one if asked.

    The border is 4 pixels as usual for CIFAR (He et al. 2016, section 4.2), less for images below 32 pixels: an
    eighth of the height, at least 1. Zero is the mean of normalised images.

    Args:
        images: `B x C x H x W`.
        flip: Whether to mirror each image left to right with probability 1/2.

    Returns:
        A new tensor of the same shape.
    """
    n, channels, height, width = images.shape
    border = max(1, min(4, height // 8))
    padded = torch.nn.functional.pad(images, (border, border, border, border))
    top, left = torch.randint(0, 2 * border + 1, (2, n, 1))  # on the CPU, so that all devices get the same
    rows = top + torch.arange(height)
    columns = torch.arange(width).expand(n, width)
    if flip:
        columns = torch.where(torch.rand(n, 1) < 0.5, width - 1 - columns, columns)
    rows, columns = (sent(places, images.device) for places in (rows, left + columns))
    picture = torch.arange(n, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[picture, channel, rows[:, None, :, None], columns[:, None, None, :]]


def cutout(images: torch.Tensor) -> torch.Tensor:
    """Set a random rectangle of half the height and width to zero, the mean, in each image (DeVries and Taylor 2017).

    Half of an odd number is rounded to an even one. The rectangle is wholly inside the image; in the paper it may stick
    out. For square images it is that of torchvision's ``RandomErasing``, with the same draws.

    Args:
        images: `B x C x H x W`.
    """
    height, width = images.shape[-2:]
    # Not torchvision's transform: it looks for a square of a quarter of the area, which does not fit into long images.
    tall, wide = round(height / 2), round(width / 2)
    corners = []
    for _ in images:
        torch.rand(3)  # what torchvision draws before the place: whether to erase, the area and the ratio
        corners.append([int(torch.randint(0, most + 1, (1,))) for most in (height - tall, width - wide)])
    top, left = sent(torch.tensor(corners).reshape(-1, 2).T, images.device)[:, :, None]
    row, column = (torch.arange(size, device=images.device) for size in (height, width))
    inside = ((row >= top) & (row < top + tall))[:, :, None] & ((column >= left) & (column < left + wide))[:, None, :]
    return images.masked_fill(inside[:, None], 0.0)


class TrivialAugment:
    """torchvision's ``TrivialAugmentWide`` (Mueller and Hutter 2021) for normalised images, one draw for each image.

    Args:
        mean: Of each channel, before normalisation.
        std: The same.
        low: Value of black before normalisation.
        high: Value of white.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], low: float = 0.0, high: float = 1.0) -> None:
        self.mean, self.std = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (mean, std))
        self.low, self.high = low, high
        from torchvision.transforms import v2

        self.transform = v2.TrivialAugmentWide()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Images ``B x C x H x W`` of the same kind. Values are rounded to 256 steps on the way."""
        if self.mean.device != images.device:
            self.mean, self.std = self.mean.to(images.device), self.std.to(images.device)
        pixels = (images * self.std + self.mean - self.low) / (self.high - self.low) * 255
        pixels = pixels.round().clamp(0, 255).to(torch.uint8)
        changed = torch.stack([self.transform(image) for image in pixels])
        return (changed.float() / 255 * (self.high - self.low) + self.low - self.mean) / self.std
