"""What a factory makes, known before it is called: a settings file must not call just any function of any module."""

from __future__ import annotations

import inspect
import typing
from typing import Any


def makes(factory: Any, kind: type) -> bool:
    """Whether a factory makes objects of a type: it is a subclass, or a Python function whose annotation says so.

    Args:
        factory: Any object; it is not called.
        kind: The type.

    Examples:
        >>> from collections.abc import Mapping
        >>> def load() -> dict[str, list]: ...
        >>> import os
        >>> makes(load, Mapping), makes(dict, Mapping), makes(os.abort, Mapping), makes(lambda: {}, Mapping)
        (True, True, False, False)
    """
    if inspect.isclass(factory):
        return issubclass(factory, kind)
    function = inspect.unwrap(factory) if callable(factory) else None
    if not inspect.isfunction(function):
        return False
    try:
        made = typing.get_type_hints(function).get("return")
    except Exception:  # an annotation may be any expression, of names that are not there
        return False
    made = typing.get_origin(made) or made
    return inspect.isclass(made) and issubclass(made, kind)
