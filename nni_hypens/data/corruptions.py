"""Common corruptions at five severities, after Hendrycks & Dietterich (2019), for images of any size.

torchvision does the work, and Pillow for JPEG, which torchvision is about to drop. Both are maintained, need no network
and are dependencies already; imagecorruptions needs OpenCV and refuses images below 32 pixels, albumentations is no
longer maintained, and kornia would be a large new dependency for the same few filters. Of the source's kinds these are
those that need no more than that: noise, blur, brightness, contrast, elastic, pixelate and JPEG; weather, the other
noises and the other blurs are left out.

Severities are those of CIFAR-10-C, which was made for 32 pixels, with two exceptions: torchvision's brightness is a
factor, not an addition to V of HSV, so the factor is the one that moves a mid-grey as far; and CIFAR-10-C's elastic is
mostly an affine map, so ours has displacements of its own. Lengths in pixels grow with images above 32 pixels and stay
as they are below: a blur of a quarter of a pixel on 8x8 digits would do nothing. Pixelated pictures have whole pixels:
of 8x8 digits 7, 7, 6, 6 and 5 a side.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from nni_hypens.errors import InputError
from nni_hypens.utils.seeds import Purpose, derive_seed

SEVERITIES = (1, 2, 3, 4, 5)
_REFERENCE_SIDE = 32
_FIELDS = 16  # displacement fields; image i gets field i mod 16, so that images differ but stay in batches
_STRENGTH: dict[str, tuple[float, ...]] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),  # standard deviation
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1.0),  # standard deviation in pixels at 32 pixels
    "brightness": (1.1, 1.2, 1.3, 1.4, 1.6),  # factor: 0.5 gains 0.05, 0.1, 0.15, 0.2, 0.3
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # factor of the distance from the mean
    "elastic": (0.02, 0.03, 0.045, 0.06, 0.08),  # root mean square displacement, as a share of the side
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),  # side of the small picture, as a share
    "jpeg": (80, 65, 58, 50, 40),  # quality
}
CORRUPTIONS = tuple(_STRENGTH)


def corrupt(images: torch.Tensor, name: str, severity: int, seed: int = 0) -> torch.Tensor:
    """Corrupt images.

    Args:
        images: `N x C x H x W` float32 in [0, 1]. Three channels are taken for RGB; any other number of them is taken
            for as many grey pictures.
        name: One of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: Of noise and displacements; the same arguments give the same images.

    Returns:
        A new tensor of the same shape, float32 in [0, 1].

    Raises:
        InputError: If an argument is not of that form.

    Examples:
        >>> corrupt(torch.full((2, 1, 8, 8), 0.5), "brightness", severity=1)[0, 0, 0, 0].item()
        0.550000011920929
    """
    if name not in _STRENGTH:
        raise InputError("corruption", repr(name), f"one of {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise InputError("severity", severity, "1, 2, 3, 4 or 5")
    if images.ndim != 4 or not images.is_floating_point() or not (images.min() >= 0 and images.max() <= 1):
        raise InputError("images", f"shape {tuple(images.shape)} of {images.dtype}", "N x C x H x W floats in [0, 1]")
    generator = torch.Generator().manual_seed(derive_seed(seed, Purpose.CORRUPTION, name, severity))
    shape = images.shape
    pictures = images if shape[1] == 3 else images.reshape(-1, 1, *shape[2:])
    return _APPLY[name](pictures, _STRENGTH[name][severity - 1], generator).clamp(0, 1).reshape(shape)


def _scale(images: torch.Tensor) -> float:
    return max(1.0, min(images.shape[2:]) / _REFERENCE_SIDE)


def _gaussian_noise(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    # Not torchvision's, whose noise comes from the global generator.
    return images + strength * torch.randn(images.shape, generator=generator)


def _gaussian_blur(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    from torchvision.transforms.v2 import functional

    sigma = strength * _scale(images)
    size = 2 * math.ceil(3 * sigma) + 1
    blurred: torch.Tensor = functional.gaussian_blur(images, [size, size], [sigma, sigma])
    return blurred


def _brightness(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    from torchvision.transforms.v2 import functional

    brighter: torch.Tensor = functional.adjust_brightness(images, strength)
    return brighter


def _contrast(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    from torchvision.transforms.v2 import functional

    paler: torch.Tensor = functional.adjust_contrast(images, strength)
    return paler


def _elastic(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    from torchvision.transforms.v2 import functional

    height, width = images.shape[2:]
    sigma = min(height, width) / 8
    size = 2 * math.ceil(2 * sigma) + 1
    noise = torch.randn((_FIELDS, 2, height, width), generator=generator)
    fields = functional.gaussian_blur(noise, [size, size], [sigma, sigma])
    length = fields.square().sum(dim=1).mean(dim=(1, 2)).sqrt()
    fields = 2 * strength * fields / length.view(-1, 1, 1, 1)  # a side is 2 long in torchvision's coordinates
    result = torch.empty_like(images)
    for index, field in enumerate(fields.permute(0, 2, 3, 1)[: len(images)]):
        result[index::_FIELDS] = functional.elastic(images[index::_FIELDS], field[None])
    return result


def _pixelate(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    from torchvision.transforms.v2 import functional

    height, width = images.shape[2:]
    small = functional.resize(images, [int(height * strength), int(width * strength)], antialias=True)
    coarse: torch.Tensor = functional.resize(small, [height, width], interpolation=functional.InterpolationMode.NEAREST)
    return coarse


def _jpeg(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    result = np.empty_like(pixels)
    for index, picture in enumerate(pixels):
        file = io.BytesIO()
        Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(
            file, format="JPEG", quality=int(strength)
        )
        with Image.open(file) as image:
            result[index] = np.asarray(image).reshape(picture.shape)
    return torch.from_numpy(result).permute(0, 3, 1, 2).float() / 255


_APPLY: dict[str, Callable[[torch.Tensor, float, torch.Generator], torch.Tensor]] = {
    "gaussian_noise": _gaussian_noise, "gaussian_blur": _gaussian_blur, "brightness": _brightness,
    "contrast": _contrast, "elastic": _elastic, "pixelate": _pixelate, "jpeg": _jpeg,
}  # fmt: skip
