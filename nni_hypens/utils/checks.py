"""Checks of single values that many modules share; imports nothing heavy."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from numbers import Integral
from typing import Any

from nni_hypens.errors import InputError, is_printable

NUMBER, NONE = (int, float), type(None)
"""Types for `require`."""
PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
"""What can name a file in a folder, and nothing outside of it."""


def nearest(word: str, known: Iterable[str]) -> str:
    """`; nearest: ...` for the end of a message if a known word is similar, otherwise empty."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return f"; nearest: {found[0]}" if found else ""


def one_of(field_name: str, value: str, choices: Iterable[str]) -> None:
    """Check a name.

    Raises:
        InputError: With the choices and the nearest of them.
    """
    names = list(choices)
    if value not in names:
        raise InputError(field_name, repr(value), f"one of {', '.join(names)}{nearest(str(value), names)}")


def is_number(value: object) -> bool:
    """Whether a value is a finite number; True and False are not."""
    # not math.isfinite, which raises OverflowError for huge ints
    return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value < math.inf


def is_count(value: object) -> bool:
    """Whether a value is a finite number above 0, such as 2_000_000 or 2e6."""
    return isinstance(value, int | float) and is_number(value) and value > 0


def is_whole(value: object, at_least: int) -> bool:
    """Whether a value is an int of at least `at_least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= at_least


def check_whole(name: str, value: object, at_least: int = 1, at_most: int | None = None) -> int:
    """Check a whole number, which may be one of NumPy's integers.

    Returns:
        The number as int.

    Raises:
        InputError: Not a whole number in the range.
    """
    if isinstance(value, Integral) and not isinstance(value, bool):
        number = int(value)
        if number >= at_least and (at_most is None or number <= at_most):
            return number
    allowed = f"of at least {at_least}" if at_most is None else f"in {at_least}..{at_most}"
    raise InputError(name, repr(value), f"a whole number {allowed}")


def check_range(
    name: str,
    value: float,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    whole: bool = False,
) -> None:
    """Check that a number is finite and in its range.

    Args:
        name: The field to name in the error.
        value: The number.
        at_least: Lowest allowed value; give this or `above`.
        above: What the value must exceed.
        at_most: Highest allowed value.
        whole: Whether the error calls it a whole number.

    Raises:
        InputError: It is not.
    """
    low = at_least is None or value >= at_least
    if (
        low
        and (above is None or value > above)
        and (at_most is None or value <= at_most)
        and -math.inf < value < math.inf
    ):
        return
    if at_least is not None:
        allowed = f"of at least {at_least}" if at_most is None else f"in {at_least}..{at_most}"
    else:
        allowed = f"above {above}" if at_most is None else f"above {above}, at most {at_most}"
    raise InputError(name, value, f"a {'whole ' if whole else ''}number {allowed}")


def check_class_names(names: Iterable[object], field: str, classes: int | None = None) -> None:
    """Check names of classes, which tables, pages and the keys of JSON objects show: one name must be one class.

    Args:
        names: The names.
        field: Named in the error.
        classes: Number of classes, if it is known.

    Raises:
        InputError: One is empty, holds a character that cannot be shown, or occurs twice; or there are none, or not as
            many as classes.

    Examples:
        >>> check_class_names(["cat", "dog"], "labels")
    """
    seen = set()
    for name in names:
        if not (isinstance(name, str) and name.strip() and is_printable(name)):
            raise InputError(field, brief(name), "names of printable characters, one per class")
        if name in seen:
            raise InputError(field, f"{brief(name)} twice", "another name for each class")
        seen.add(name)
    if not seen:
        raise InputError(field, "no names", "a list of class names")
    if classes is not None and len(seen) != classes:
        raise InputError(field, f"{len(seen)} names", f"{classes}, as many as data.num_classes")


def require(mapping: dict[str, Any], types: dict[str, Any], where: str) -> None:
    """Check that a mapping has every key with a value of its type; numbers must be finite and not bool."""
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


def check_plain_name(field: str, value: object, expected: str) -> str:
    """Check that a value names a file in a folder: no path, no hidden file.

    Raises:
        InputError: It is something else.
    """
    if not (isinstance(value, str) and PLAIN_NAME.fullmatch(value) and len(value) <= 255):
        raise InputError(field, brief(value), expected)
    return value


def brief(value: Any) -> str:
    """A value in at most 80 characters, for an error of one line."""
    return f"{value!r:.80}"
