from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from functools import partial, wraps
from typing import Any

import numpy as np

from nni_hypens.utils.declared import makes

Arrays = dict[str, np.ndarray]


def alias() -> Arrays:
    raise AssertionError


def named() -> Mapping[str, np.ndarray]:
    raise AssertionError


def unknown() -> NoSuchType:  # type: ignore[name-defined]  # noqa: F821
    raise AssertionError


def anything() -> Any:
    raise AssertionError


def number() -> int:
    raise AssertionError


@wraps(alias)
def wrapped() -> Any:
    raise AssertionError


class Lazy(dict):  # type: ignore[type-arg]
    """Reads on access."""


def test_what_says_what_it_makes_is_recognised_and_nothing_is_called() -> None:
    for factory in (alias, named, wrapped, Lazy):
        assert makes(factory, Mapping), factory
    for factory in (
        unknown,
        anything,
        number,
        os.abort,
        os.system,
        subprocess.run,
        subprocess.Popen,
        partial(alias),
        7,
    ):
        assert not makes(factory, Mapping), factory
