"""The settings that a run folder was begun with, also by an earlier version; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nni_hypens.ensemble.names import LINEAR
from nni_hypens.errors import InputError
from nni_hypens.run.settings import NOT_SETTINGS, Settings
from nni_hypens.utils.files import read_yaml

BEFORE = {"pooling": LINEAR}
"""What was done before a setting existed, where that is not its default now."""
REMOVED = {"halving": False}
"""Settings of earlier versions, with the value that turned them off; with another value, a folder is of another run."""

OF_OBJECTS = ("evaluator", "search_evaluator")
"""What `search_ensemble` writes besides settings: descriptions of objects, from which no command can make them."""
CALL_AGAIN = "search_ensemble again, in Python, with the same arguments and the same folder"
"""How a run goes on, or is read, that Python has begun."""


def begun_in_python(content: Mapping[str, Any]) -> bool:
    """Whether `search_ensemble` wrote a ``config.yaml``, by its content."""
    return any(name in content for name in OF_OBJECTS)


def check_begun_by_command(content: Mapping[str, Any], source: object, field: str = "out") -> None:
    """Check that a command can go on from a ``config.yaml``.

    Args:
        content: Of the file.
        source: The folder or the file, as the user named it.
        field: The option that named it.

    Raises:
        InputError: `search_ensemble` wrote it, so that the objects of the run are in a Python program only.
    """
    if begun_in_python(content):
        expected = f"one made by `nni-hypens run`; to go on with this run, or to read its results, call {CALL_AGAIN}"
        raise InputError(field, f"{source}, made by search_ensemble", expected)


def begun_with(config: Path) -> dict[str, Any]:
    """The settings in the ``config.yaml`` of a run folder; those that are newer than the folder are what was done then,
    and `REMOVED` ones that were off are left out.

    Raises:
        InputError: The file is missing, or is not a mapping.
    """
    return {**Settings().to_mapping(), **_as_it_was(read_yaml(config, links=False))}


def settings_in(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML file, as a mapping that is not checked yet.

    One that a run wrote into its folder means what was done then; one written by hand is taken as it is.

    Raises:
        InputError: The file is missing, or is not a mapping.
    """
    content = read_yaml(path)
    if "versions" in content:
        return _as_it_was(content)
    return {name: value for name, value in content.items() if name not in NOT_SETTINGS}


def _as_it_was(content: Mapping[str, Any]) -> dict[str, Any]:
    off = {name for name, value in REMOVED.items() if content.get(name) is value}
    given = {name: value for name, value in content.items() if name not in off and name not in NOT_SETTINGS}
    return {**BEFORE, **given}
