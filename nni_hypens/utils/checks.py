"""Checks of single values that many modules share."""

from __future__ import annotations

import difflib
import math
from typing import Any

import numpy as np

from nni_hypens.errors import InputError


def is_count(value: object) -> bool:
    """Whether a setting is a finite number above 0, such as 2_000_000 or 2e6."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def one_of(field_name: str, value: str, choices: Any) -> None:
    """Check a name.

    Raises:
        InputError: With the choices and the nearest of them.
    """
    if value not in choices:
        near = difflib.get_close_matches(str(value), list(choices), n=1)
        raise InputError(
            field_name, repr(value), f"one of {', '.join(choices)}{f'; nearest: {near[0]}' if near else ''}"
        )


def is_number(value: object) -> bool:
    """Whether a setting is a finite number (True and False are none)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_NUMBER, _NONE = (int, float), type(None)


def require(mapping: dict[str, Any], types: dict[str, Any], where: str) -> None:
    """Check that every key is there and of its type; bool does not pass for a number, nor what is not finite."""
    for key, kind in types.items():
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join("null" if k is type(None) else k.__name__ for k in kinds)
        if key not in mapping:
            raise InputError(f"{where}.{key}", "nothing", f"a value of type {names}")
        value = mapping[key]
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise InputError(f"{where}.{key}", brief(value), f"a value of type {names}")
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{where}.{key}", value, "a finite number")


def brief(value: Any) -> str:
    """A value for an error of one line, however long it is."""
    return f"{value!r:.80}"


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def check_count(name: str, value: object) -> None:
    """Check a number of things.

    Raises:
        InputError: Not a whole number of at least 1.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(name, value, "an integer of at least 1")
