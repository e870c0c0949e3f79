"""The settings that a run folder was begun with, also by an earlier version; imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nni_hypens.ensemble.names import LINEAR
from nni_hypens.run.settings import NOT_SETTINGS, Settings
from nni_hypens.utils.files import read_yaml

BEFORE = {"pooling": LINEAR}
"""What was done before a setting existed, where that is not its default now."""
REMOVED = {"halving": False}
"""Settings of earlier versions, with the value that turned them off; with another value, a folder is of another run."""


def begun_with(config: Path) -> dict[str, Any]:
    """The settings in the ``config.yaml`` of a run folder; those that are newer than the folder are what was done then,
    and `REMOVED` ones that were off are left out.

    Raises:
        InputError: The file is missing, or is not a mapping.
    """
    content = {**Settings().to_mapping(), **BEFORE, **read_yaml(config, links=False)}
    off = {name for name, value in REMOVED.items() if content.get(name) is value}
    return {name: value for name, value in content.items() if name not in off and name not in NOT_SETTINGS}
