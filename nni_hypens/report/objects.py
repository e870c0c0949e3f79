"""Objects in config.yaml as text: what `search_ensemble` was called with, and the names of data and space."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nni_hypens.report.content import RunContent
from nni_hypens.report.text import plain

_DEPTH = 3
"""Objects within objects that are written out: a file that somebody sent may nest more."""


def object_text(value: Any, depth: int = _DEPTH) -> Any:
    """Write an object that NNI has stored as the call that makes it; any other value stays as it is.

    Examples:
        >>> object_text('{"__symbol__": "path:nni_hypens.ImageData", "__kwargs__": {"source": "digits"}}')
        'ImageData(source=digits)'
        >>> object_text({"class": "search_spaces.one_cell:OneCell", "args": {"channels": 2}})
        'OneCell(channels=2)'
        >>> object_text("digits")
        'digits'
    """
    found = _stored(value)
    if found is None:
        return value
    name, arguments = found
    if depth == 0:
        return f"{name}(…)"
    words = [f"{key}={plain(object_text(item, depth - 1))}" for key, item in arguments.items() if item is not None]
    return f"{name}({', '.join(words)})"


def _stored(value: Any) -> tuple[str, Mapping[str, Any]] | None:
    """Class name and arguments of a stored object; None for any other value."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, Mapping):
        return None
    for symbol, arguments in (("__symbol__", "__kwargs__"), ("class", "args")):
        if isinstance(value.get(symbol), str) and isinstance(value.get(arguments, {}), Mapping):
            return str(value[symbol]).replace(":", ".").rsplit(".", 1)[-1], value.get(arguments, {})
    return None


def data_name(run: RunContent) -> str:
    """What the run's images are called: the last part of a path, or the class of a data module."""
    source = run.part("data").get("source") or run.config.get("data")
    if not isinstance(source, str):
        return "unnamed data"
    stored = _stored(source)
    name = stored[1].get("source") or stored[0] if stored else source
    return str(name).rstrip("/").rsplit("/", 1)[-1] or "unnamed data"


def space_name(run: RunContent) -> str | None:
    """What the model space is called, if it is known."""
    space = run.config.get("space")
    stored = _stored(space)
    return stored[0] if stored else str(space).rsplit(":", 1)[-1] if isinstance(space, str) else None
