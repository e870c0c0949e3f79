"""Read one picture file; folders of training images and `predict` share it, so that both see the same pixels.

- The picture is turned as its EXIF orientation says.
- Transparent pixels are laid over white, as most viewers show them; an opaque alpha channel changes nothing.
- Grey of 9 to 16 bits is brought to 16 bits and keeps its depth. Pillow reads colour as 8 bits per channel.
- 32-bit integers and floats have no known range and are refused.
- Of an animation or a file of several pages, the first picture counts.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nni_hypens.errors import InputError, reason
from nni_hypens.utils.files import open_file

if TYPE_CHECKING:
    from PIL import Image

IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
PICTURE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
)
"""Ends of the names of picture files, in lower case: what is taken from a folder."""
MODES = {1: "L", 3: "RGB"}
"""Channels of an image -> Pillow's mode."""
_BITS, _PHOTOMETRIC = 258, 262
"""Tags of TIFF: bits per sample, and whether zero is white (0) or black (1)."""


def read_picture(
    path: str | os.PathLike[str],
    channels: int,
    size: tuple[int, int] | None = None,
    resize: bool = False,
    field: str = "images",
) -> NDArray[Any]:
    """Read a picture.

    Args:
        path: The file.
        channels: 1 for grey, 3 for colour; a picture of the other kind is converted.
        size: Height and width; None takes the picture as it is.
        resize: Whether to resize a picture of another size (bicubic); otherwise it is an error.
        field: Name for errors.

    Returns:
        `H x W x channels`, uint8 or, for grey of more than 8 bits, uint16. The highest number of the dtype is white.

    Raises:
        InputError: It is unreadable, of another size, or of a kind whose range is not known.
    """
    from PIL import Image, ImageOps

    if channels not in MODES:
        raise InputError(field, f"{path}, for images of {channels} channels", "1 or 3 channels; arrays may have others")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with open_file(path, links=True) as file, Image.open(file, formats=IMAGE_FORMATS) as image:
                image.load()
                turned = ImageOps.exif_transpose(image)
                _check_kind(path, image, field)
                found = (turned.height, turned.width)
                if size is not None and found != size and not resize:
                    got = f"{path} of {found[0]} x {found[1]}"
                    raise InputError(field, got, f"{size[0]} x {size[1]} (height x width), or --resize")
                size = found if size is None else size
                white = _deep_white(image)
                if white is not None:
                    grey = _deep_grey(turned, white, _zero_is_white(image), size)
                    return np.repeat(grey[..., None], channels, axis=2)
                flat = _without_alpha(turned).convert(MODES[channels])
                flat = flat if found == size else flat.resize(size[::-1], Image.Resampling.BICUBIC)
                return np.asarray(flat, dtype=np.uint8).reshape(*size, channels)
    except InputError:
        raise
    except Exception as error:  # a decoder may raise anything
        raise _unreadable(path, error, field) from error


def is_coloured_or_deep(path: str | os.PathLike[str]) -> tuple[bool, bool]:
    """Whether a picture has colour, and whether it is grey of more than 8 bits; reads only its header.

    Raises:
        InputError: It is no picture; the error names `data`.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            deep = _deep_white(image) is not None
            return not deep and image.mode not in ("1", "L", "LA", "La", "I", "F"), deep
    except Exception as error:  # a decoder may raise anything
        raise _unreadable(path, error, "data") from error


def _unreadable(path: str | os.PathLike[str], error: Exception, field: str) -> InputError:
    arrays = ", .npy or .npz" if field == "images" else ""
    return InputError(field, f"{path} ({reason(error)})", f"{', '.join(IMAGE_FORMATS)}{arrays}")


def _check_kind(path: str | os.PathLike[str], image: Image.Image, field: str) -> None:
    if image.mode == "F" or (image.mode == "I" and _deep_white(image) is None):
        kind = "floats" if image.mode == "F" else "32-bit or signed integers"
        raise InputError(field, f"{path} with {kind}, whose range is not known", "pixels of 8 or 16 bits, or an array")
    if image.mode.startswith("I") and "transparency" in image.info:
        raise InputError(field, f"{path}, 16-bit grey with a transparent value", "a picture without it")


def _deep_white(image: Image.Image) -> int | None:
    """The value of white in grey of more than 8 bits; None for any other picture."""
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(_BITS, (16,))[0]
        return int(2**bits - 1)
    # Pillow reads 16-bit PNG and PGM files as 32-bit integers, in older releases always.
    return 2**16 - 1 if image.mode == "I" and image.format in ("PNG", "PPM") else None


def _zero_is_white(image: Image.Image) -> bool:
    """Whether a deep TIFF has inverted values; Pillow corrects this for 8 bits only."""
    return bool(getattr(image, "tag_v2", {}).get(_PHOTOMETRIC, 1) == 0)


def _deep_grey(image: Image.Image, white: int, inverted: bool, size: tuple[int, int]) -> NDArray[np.uint16]:
    """Deep grey as `H x W`, 0..65535."""
    from PIL import Image

    values = np.asarray(image).astype(np.float64) * (65535 / white)
    values = 65535 - values if inverted else values
    if values.shape != size:
        floats = Image.fromarray(values.astype(np.float32))
        values = np.asarray(floats.resize(size[::-1], Image.Resampling.BICUBIC))
    return np.clip(np.rint(values), 0, 65535).astype(np.uint16)


def _without_alpha(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode not in ("LA", "La", "PA", "RGBA", "RGBa") and "transparency" not in image.info:
        return image
    colours = image.convert("RGBA")
    if colours.getchannel("A").getextrema()[0] == 255:
        return colours.convert("RGB")
    background = Image.new("RGBA", colours.size, "white")
    return Image.alpha_composite(background, colours).convert("RGB")
