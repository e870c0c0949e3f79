"""Settings as dataclass fields: their declaration, and the checks and the parsing that follow from it."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import field
from typing import Any, TypeVar

from nni_hypens.errors import InputError
from nni_hypens.utils.checks import check_range, nearest, one_of

Options = TypeVar("Options")


def setting(
    default: Any,
    text: str,
    *,
    group: str | None = None,
    carried_by: str | None = None,
    choices: tuple[str, ...] | None = None,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    metavar: str | None = None,
    common: bool = False,
) -> Any:
    """Declare a setting.

    Args:
        default: Its default.
        text: Help text.
        group: Title of the group that begins with this field, in help and printed settings.
        carried_by: The argument of `search_ensemble` that decides this instead: its `data`, `space` or evaluators.
        choices: Allowed names.
        at_least: Lowest allowed number.
        above: What a number must exceed.
        at_most: Highest allowed number.
        metavar: Placeholder in the help; by default the last word of the name.
        common: Whether `--help` shows it; `--help-all` shows every setting.
    """
    limits = {"at_least": at_least, "above": above, "at_most": at_most}
    metadata = {
        "help": text,
        "group": group,
        "carried_by": carried_by,
        "choices": choices,
        "limits": {name: limit for name, limit in limits.items() if limit is not None},
        "metavar": metavar,
        "common": common,
    }
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


def documented(cls: type[Options]) -> type[Options]:
    """Add every field of a dataclass of settings, with type, help and default, to its docstring."""
    lines = []
    for entry in dataclasses.fields(cls):  # type: ignore[arg-type]
        default = {} if entry.default is dataclasses.MISSING else entry.default
        carried = entry.metadata["carried_by"]
        there = f" In `search_ensemble`, the argument `{carried}` decides it." if carried else ""
        lines.append(f"        {entry.name} ({entry.type}): {entry.metadata['help']}. Default: {default!r}.{there}\n")
    cls.__doc__ = f"{(cls.__doc__ or '').rstrip()}\n\n    Args:\n{''.join(lines)}"
    return cls


def check_fields(options: Any) -> None:
    """Check each value against the range and the choices that its field declares; None passes.

    Raises:
        InputError: Naming the field.
    """
    for entry in dataclasses.fields(options):
        value = getattr(options, entry.name)
        if value is None:
            continue
        if entry.metadata["choices"]:
            one_of(entry.name, value, entry.metadata["choices"])
        limits = entry.metadata["limits"]
        if limits and not _is_word(entry, value):
            whole = str(entry.type).startswith("int")
            if isinstance(value, str):
                raise InputError(entry.name, repr(value), _wanted(entry, whole))
            check_range(entry.name, value, whole=whole, **limits)


def from_mapping(cls: type[Options], values: Mapping[str, Any], source: str) -> Options:
    """A dataclass of settings from a mapping, with text parsed as the fields declare.

    Raises:
        InputError: Unknown name (with the nearest one), or a value of the wrong type.
    """
    known = {entry.name: entry for entry in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name, value in values.items():
        if name not in known:
            hint = nearest(str(name), known)
            raise InputError(f"{source}: {name}", repr(value), f"a known setting{hint}")
    return cls(**{name: coerce(known[name], value) for name, value in values.items()})


def coerce(entry: dataclasses.Field[Any], value: Any) -> Any:
    """A value of the type that a field declares; text is parsed, and nothing is rounded.

    Raises:
        InputError: It cannot be converted.
    """
    kind = str(entry.type)
    if value is None or (isinstance(value, str) and value.lower() == "none" and "None" in kind):
        if "None" in kind:
            return None
        raise InputError(entry.name, "nothing", entry.metadata["help"])
    if _is_word(entry, value):
        return value
    if kind.startswith("bool"):
        if not isinstance(value, bool):
            raise InputError(entry.name, repr(value), "true or false")
        return value
    if kind.startswith("dict"):
        if not isinstance(value, Mapping):
            raise InputError(entry.name, repr(value), "a mapping")
        return dict(value)
    if kind.startswith("str"):
        return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    return _number(entry, value, whole=kind.startswith("int"))


def _is_word(entry: dataclasses.Field[Any], value: Any) -> bool:
    """Whether a value is the word that a field of numbers allows beside them, such as `int | Literal["all"]`."""
    return isinstance(value, str) and f"Literal[{value!r}]" in str(entry.type)


def _wanted(entry: dataclasses.Field[Any], whole: bool) -> str:
    return f"{'a whole number' if whole else 'a number'}: {entry.metadata['help']}"


def _number(entry: dataclasses.Field[Any], value: Any, whole: bool) -> int | float:
    expected = _wanted(entry, whole)
    try:
        if isinstance(value, bool) or (whole and isinstance(value, float) and value != int(value)):
            raise ValueError
        number = int(value) if whole else float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(entry.name, repr(value), expected) from None
    if math.isnan(number):
        raise InputError(entry.name, "NaN", expected)
    # 300 validation images, or 0.2 of all: a whole number is a count
    counts = entry.name == "validation_size" and number >= 1 and number == int(number)
    return int(number) if counts else number
