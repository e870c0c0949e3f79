"""Pictures of every kind become the pixels that people see, or are refused; nothing is cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nni_hypens.errors import InputError
from nni_hypens.utils.pictures import read_picture

GREY = np.random.default_rng(0).integers(0, 256, (9, 8), np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65536, (9, 8)).astype(np.uint16)
COLOUR = np.random.default_rng(2).integers(0, 256, (9, 8, 3), np.uint8)


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.pgm"])
def test_grey_of_8_bits(tmp_path: Path, name: str) -> None:
    found = read_picture(save(tmp_path / name, Image.fromarray(GREY)), 1)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[..., 0], GREY)
    np.testing.assert_array_equal(read_picture(tmp_path / name, 3), np.repeat(GREY[..., None], 3, axis=2))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_grey_of_16_bits_keeps_its_depth(tmp_path: Path, name: str, channels: int) -> None:
    found = read_picture(save(tmp_path / name, Image.fromarray(DEEP)), channels)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, np.repeat(DEEP[..., None], channels, axis=2))


def test_a_16_bit_pgm(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 8 9 65535\n" + DEEP.astype(">u2").tobytes())
    np.testing.assert_array_equal(read_picture(tmp_path / "a.pgm", 1)[..., 0], DEEP)


def test_tiff_of_12_bits_and_inverted_tiff(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", Image.fromarray(DEEP), tiffinfo={262: 0})  # zero is white
    np.testing.assert_array_equal(read_picture(path, 1)[..., 0], 65535 - DEEP)
    path = save(tmp_path / "b.tif", Image.fromarray(np.zeros((9, 12), np.uint8)))
    content = bytearray(path.read_bytes())
    entries = content.index(b"\x02\x01\x03\x00\x01\x00\x00\x00\x08\x00")  # bits per sample: 8
    content[entries + 8] = 12
    width = content.index(b"\x00\x01")  # width: 12 columns of 8 bits are 8 of 12 bits
    while content[width + 2] not in (3, 4):
        width = content.index(b"\x00\x01", width + 1)
    content[width + 8] = 8
    data = content.rindex(bytes(9 * 12))
    content[data : data + 3] = b"\xff\xff\xff"  # two white pixels
    path.write_bytes(content)
    found = read_picture(path, 1)[..., 0]
    assert found.shape == (9, 8) and found[0, :2].tolist() == [65535, 65535] and found.max(initial=0) == 65535


@pytest.mark.parametrize("name, array", [("a.tif", DEEP.astype(np.int32)), ("a.tif", DEEP.astype(np.float32))])
def test_values_without_a_known_range_are_refused(tmp_path: Path, name: str, array: np.ndarray) -> None:
    path = save(tmp_path / name, Image.fromarray(array))
    with pytest.raises(InputError, match="whose range is not known; expected pixels of 8 or 16 bits, or an array"):
        read_picture(path, 1)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK"])
def test_other_modes_are_converted(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(np.full((9, 8, 3), 255, np.uint8)).convert(mode)
    path = save(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"), image)
    for channels in (1, 3):
        assert read_picture(path, channels).min() == 255


def test_transparent_pixels_lie_on_white(tmp_path: Path) -> None:
    """A black drawing on nothing must not become a black picture."""
    pixels = np.zeros((9, 8, 4), np.uint8)
    pixels[2:5, :, 3] = 255
    pixels[8, :, 3] = 51
    found = read_picture(save(tmp_path / "a.png", Image.fromarray(pixels)), 1)[..., 0]
    assert found[2:5].max() == 0 and found[:2].min() == 255 and found[8].tolist() == [204] * 8
    palette = Image.fromarray(np.zeros((9, 8), np.uint8)).convert("P")
    assert read_picture(save(tmp_path / "b.png", palette, transparency=0), 3).min() == 255
    opaque = Image.fromarray(np.dstack([COLOUR, np.full((9, 8), 255, np.uint8)]))
    np.testing.assert_array_equal(read_picture(save(tmp_path / "c.png", opaque), 3), COLOUR)


@pytest.mark.parametrize("pixels", [GREY, DEEP])
def test_pictures_are_turned_as_exif_says(tmp_path: Path, pixels: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: a quarter turn clockwise shows it upright
    path = save(tmp_path / "a.png", Image.fromarray(pixels), exif=exif)
    np.testing.assert_array_equal(read_picture(path, 1, (8, 9))[..., 0], np.rot90(pixels, -1))
    with pytest.raises(InputError, match="of 8 x 9; expected 9 x 8"):
        read_picture(path, 1, (9, 8))


def test_resizing_keeps_the_depth_and_the_range(tmp_path: Path) -> None:
    flat = np.full((20, 16), 40000, np.uint16)
    flat[:, 8:] = 65535
    found = read_picture(save(tmp_path / "a.png", Image.fromarray(flat)), 1, (10, 8), resize=True)
    assert found.dtype == np.uint16 and found.shape == (10, 8, 1)
    assert found[:, 0].min() == 40000 and found.max() == 65535
    assert read_picture(save(tmp_path / "b.png", Image.fromarray(COLOUR)), 3, (10, 8), resize=True).shape == (10, 8, 3)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match="data: got .*a.png"):
        read_picture(tmp_path / "a.png", 1, field="data")


def test_a_cut_picture_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", Image.fromarray(np.kron(COLOUR, np.ones((20, 20, 1), np.uint8))))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match="images: got .*a.jpg .*truncated"):
        read_picture(path, 3)
