"""What an input description says about the shape of one example: an image, or a tensor of another kind.

A description of images has `channels`, `height` and `width`. A description of any other tensors, such as the rows of a
table, has `shape` instead: the sizes of one example, `[13]` for 13 features. Both have `scale`, and `mean` and `std`
with one number per channel of images, or per entry of the first size of other tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_image(spec: Mapping[str, Any]) -> bool:
    """Whether an input description is that of images.

    Examples:
        >>> is_image({"channels": 1, "height": 8, "width": 8}), is_image({"shape": [13]})
        (True, False)
    """
    return "shape" not in spec


def input_shape(spec: Mapping[str, Any]) -> tuple[int, ...]:
    """Shape of one example as networks take it: (channels, height, width) of images, or `shape`.

    Examples:
        >>> input_shape({"channels": 3, "height": 8, "width": 9}), input_shape({"shape": [13]})
        ((3, 8, 9), (13,))
    """
    if is_image(spec):
        return spec["channels"], spec["height"], spec["width"]
    return tuple(spec["shape"])


def raw_shape(spec: Mapping[str, Any]) -> tuple[int, ...]:
    """Shape of one example as the data's source has it: images have their channels last.

    Examples:
        >>> raw_shape({"channels": 3, "height": 8, "width": 9}), raw_shape({"shape": [13]})
        ((8, 9, 3), (13,))
    """
    if is_image(spec):
        return spec["height"], spec["width"], spec["channels"]
    return tuple(spec["shape"])


def shape_text(spec: Mapping[str, Any]) -> str:
    """What one example is, in words.

    Examples:
        >>> shape_text({"channels": 1, "height": 8, "width": 8})
        'images 8 x 8 x 1 (height x width x channels)'
        >>> shape_text({"shape": [13]}), shape_text({"shape": [2, 5]})
        ('rows of 13 numbers', 'tensors 2 x 5')
    """
    sizes = " x ".join(map(str, raw_shape(spec)))
    if is_image(spec):
        return f"images {sizes} (height x width x channels)"
    return f"rows of {sizes} numbers" if len(spec["shape"]) == 1 else f"tensors {sizes}"


def noun(spec: Mapping[str, Any]) -> str:
    """What an example is called: `image` or `example`."""
    return "image" if is_image(spec) else "example"


def input_name(spec: Mapping[str, Any]) -> str:
    """Name of the input of an exported file."""
    return "images" if is_image(spec) else "inputs"
