"""Examples as numbers, whatever type the user's program has put them in."""

from __future__ import annotations

from decimal import Decimal
from numbers import Real

import numpy as np

from nni_hypens.errors import InputError

_NUMBERS = (Real, Decimal, np.bool_)
_MISSING = ("NoneType", "NAType", "NaTType")
"""Types of missing values, by name: pandas is not imported for them."""


def as_numbers(values: np.ndarray, field: str) -> np.ndarray:
    """Examples as integers or floats.

    A table of pandas with numbers next to the bool columns of `pandas.get_dummies`, or with nullable columns, becomes
    an array of objects. If they are all numbers or bools, these become float64; an array of bools becomes float32.

    Args:
        values: An array of any dtype; integers and floats are returned as they are.
        field: What the error names.

    Raises:
        InputError: Something in it is no number, or is missing.

    Examples:
        >>> as_numbers(np.array([[True, 0.5], [False, 2]], dtype=object), "x").tolist()
        [[1.0, 0.5], [0.0, 2.0]]
    """
    kind = values.dtype.kind
    if kind in "uif":
        return values
    if kind == "b":
        return values.astype(np.float32)  # not uint8, whose white would be 255
    if kind == "O" and values.ndim > 1:
        # These leave out text, which float() would read, and dates. None and pandas' NA are no numbers either.
        kinds = dict.fromkeys(type(value) for value in values.flat)
        other = next((kind for kind in kinds if not issubclass(kind, _NUMBERS)), None)
        if other is not None:
            got, expected = f"a {other.__name__}", "numbers or bools only; encode categories as pandas.get_dummies does"
            if other.__name__ in _MISSING:
                got, expected = "a missing value", "no missing values: fill them"
            raise InputError(field, f"dtype object with {got}", expected)
        try:
            return values.astype(np.float64)
        except OverflowError:
            raise InputError(field, "a whole number beyond float64", "finite values within float32") from None
    hint = "; encode categories as numbers, as pandas.get_dummies does" if values.ndim == 2 else ""
    raise InputError(field, f"dtype {values.dtype}", f"integers (uint8 at best), floats or bools{hint}")
