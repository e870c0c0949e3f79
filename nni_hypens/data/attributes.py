"""Attributes of the user's data module, which may have the names that a run asks for and mean something else."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Iterable, Mapping
from typing import Any

from nni_hypens.data.protocols import LabelledData
from nni_hypens.errors import InputError, raised
from nni_hypens.utils.checks import brief
from nni_hypens.utils.files import json_text

SUMMARY = "a method describe() without arguments that returns a mapping for JSON, with names as keys"


def check_attributes(data: LabelledData) -> None:
    """Ask for everything that a run asks of its data, once, before any long work.

    Raises:
        InputError: An attribute is not of the form that `LabelledData` says; the error names it.
    """
    whole_number("data.num_classes", data.num_classes)
    names_in_order("data.class_names", data.class_names)
    if not takes(data.labels, "validation"):
        raise InputError("data.labels", kind(data.labels), "a method labels(split)")
    if summary(data.describe) is None:
        raise InputError("data.describe", "something else", SUMMARY)


def whole_number(field: str, value: Any) -> int:
    """A number of classes as int; one of NumPy's or torch's is one, too.

    Raises:
        InputError: Another value, such as a method.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise InputError(field, kind(value), "a whole number: an attribute or property, no method") from None


def names_in_order(field: str, value: Any) -> list[str]:
    """Names of classes as a list of text; an array is one, too.

    Raises:
        InputError: Another value, such as a method or one text.
    """
    wrong = isinstance(value, str | bytes | Mapping | set) or getattr(value, "ndim", 1) != 1
    if wrong or not isinstance(value, Iterable):
        raise InputError(field, kind(value), "a list of names, in the order of the labels: no method")
    return [str(name) for name in value]


def takes(function: Any, *arguments: Any) -> bool:
    """Whether something can be called with these arguments; it is not called to find out."""
    if not callable(function):
        return False
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # a function of C without a signature
        return True
    return True


def summary(describe: Any) -> dict[str, Any] | None:
    """What a method `describe` returns; None if it fails, or if it is no mapping that JSON can hold."""
    if not takes(describe):
        return None
    try:
        found = describe()
        if not isinstance(found, Mapping):
            return None
        json_text(dict(found))
    except InputError:
        raise
    except Exception:  # the user's code runs here
        return None
    return dict(found)


def kind(value: Any) -> str:
    """What a value is, for an error."""
    return f"a {type(value).__name__}" if callable(value) else brief(value)


def own_labels(labels: Any, split: str) -> Any:
    """What the user's method `labels` returns for a split.

    Raises:
        InputError: It fails.
    """
    try:
        return labels(split)
    except InputError:
        raise
    except Exception as error:  # the user's code runs here
        expected = "the labels of the split, in the order of its loader; or another name for this method"
        raise InputError(f"data.labels({split!r})", raised(error), expected) from error
