"""Whether a function that gives arrays gives the same ones each time it is called."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nni_hypens.data.arrays import check_arrays
from nni_hypens.data.checks import checksum
from nni_hypens.data.sources import KEY_OF, FromCallable, Source
from nni_hypens.errors import InputError


def check_repeats(source: Source, known: Mapping[str, str]) -> None:
    """Read the parts of the user's function once more and compare them with the first reading; nothing else is read.

    Each part, and each trial, calls the function again. A random split without a seed gives other arrays at each call:
    the training part then has test examples, and every trial fails after the whole search.

    Args:
        source: The source, after its first reading.
        known: Checksum of the parts "train" (with "validation", if there is one) and "test" in the first reading.

    Raises:
        InputError: A part differs.
    """
    if not isinstance(source, FromCallable):
        return
    for part, before in known.items():
        found = _part_checksum(source, part)
        if part == "train" and source.has_validation:
            found = checksum(np.array([found, _part_checksum(source, "validation")]))
        if found != before:
            got = f"other {part} arrays from {source.name} when it was called again"
            raise InputError("data", got, "the same arrays at each call: fix the seed, as in random_state=0")


def _part_checksum(source: Source, part: str) -> str:
    return checksum(*check_arrays(*source.load(part), KEY_OF[part]))
