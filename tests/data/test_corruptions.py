from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from nni_hypens.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from nni_hypens.errors import InputError

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 9, 12), (3, 48, 40)]


def make(shape: tuple[int, ...], n: int = 20) -> torch.Tensor:
    """Smooth random pictures, so that blurs and displacements have something to move."""
    noise = torch.rand((n, *shape), generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.avg_pool2d(noise, 3, 1, 1).clamp(0, 1)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_any_size_and_channels_seeded(name: str, shape: tuple[int, ...]) -> None:
    images = make(shape)
    before, state = images.clone(), torch.get_rng_state()
    for severity in SEVERITIES:
        result = corrupt(images, name, severity, seed=3)
        assert result.shape == images.shape and result.dtype == torch.float32
        assert result.min() >= 0 and result.max() <= 1 and not torch.equal(result, images)
        assert torch.equal(result, corrupt(images, name, severity, seed=3))
    assert torch.equal(images, before) and torch.equal(torch.get_rng_state(), state)
    if name in ("gaussian_noise", "elastic"):
        assert not torch.equal(result, corrupt(images, name, 5, seed=4))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severities_grow(name: str) -> None:
    """On colour pictures of 32 pixels. A grid may happen to fit better than a finer one: only its ends count."""
    images = torch.nn.functional.interpolate(make((3, 8, 8), 40), size=(32, 32), mode="bilinear")
    change = [float((corrupt(images, name, severity) - images).square().mean()) for severity in SEVERITIES]
    change = change if name != "pixelate" else [change[0], change[-1]]
    assert all(low < high for low, high in zip(change, change[1:], strict=False)), change


def test_against_other_implementations() -> None:
    digits = torch.from_numpy(load_digits().images[:5, None] / 16).float()
    noise = corrupt(torch.full((50, 1, 28, 28), 0.5), "gaussian_noise", 5) - 0.5
    assert float(noise.std()) == pytest.approx(0.10, rel=0.02) and abs(float(noise.mean())) < 0.002
    assert corrupt(digits * 0.5, "brightness", 5) == pytest.approx((digits * 0.8).numpy(), abs=1e-6)
    mean = digits.mean(dim=(2, 3), keepdim=True)
    assert corrupt(digits, "contrast", 3).numpy() == pytest.approx((mean + 0.4 * (digits - mean)).numpy(), abs=1e-5)
    x = np.arange(-3, 4)
    kernel = np.exp(-(x**2) / 2)
    kernel /= kernel.sum()
    spike = torch.zeros(1, 1, 15, 15)
    spike[0, 0, 7, 7] = 1
    blurred = corrupt(spike, "gaussian_blur", 5)[0, 0].numpy()
    assert blurred[4:11, 4:11] == pytest.approx(np.outer(kernel, kernel), abs=1e-6)


def test_jpeg_loses_what_the_eye_does_not_see() -> None:
    pictures = (make((3, 32, 32), 4) * 255).round() / 255
    flat = torch.full((1, 1, 16, 16), 100 / 255)
    assert corrupt(flat, "jpeg", 5).numpy() == pytest.approx(flat.numpy(), abs=1.01 / 255)
    pixels = (pictures[1].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=40)
    theirs = np.asarray(Image.open(buffer), dtype=np.float32) / 255
    assert np.array_equal(corrupt(pictures, "jpeg", 5)[1].permute(1, 2, 0).numpy(), theirs)


def test_elastic_moves_as_far_as_it_says() -> None:
    """The picture is its own coordinates, so what it shows after the move is where it came from."""
    side = 64
    rows = torch.linspace(0.5 / side, 1 - 0.5 / side, side).view(-1, 1).expand(side, side)
    images = torch.stack([rows, rows.T])[:, None].repeat_interleave(16, dim=0)
    moves = [corrupt(images, "elastic", 5, seed) - images for seed in range(8)]
    moved = torch.stack(moves)[:, :, :, 16:-16, 16:-16]
    assert float(moved.square().mean().sqrt()) * 2**0.5 == pytest.approx(0.08, rel=0.25)


def test_bad_input_is_named() -> None:
    images = make((1, 8, 8))
    for arguments, message in (
        ((images, "fog", 1), "corruption: got 'fog'"),
        ((images, "jpeg", 0), "severity: got 0"),
        ((images * 2 + 1, "jpeg", 1), "images: got"),
        ((images[0], "jpeg", 1), "images: got"),
    ):
        with pytest.raises(InputError, match=message):
            corrupt(*arguments)
