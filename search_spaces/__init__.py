"""NNI model spaces that come with nni_hypens; installed, so that trial processes can import them."""

from __future__ import annotations

import importlib
from typing import Any

from search_spaces.mlp import MLP
from search_spaces.one_cell import OneCell
from search_spaces.paper_cell import PaperCell

__all__ = ["MLP", "DartsSpace", "OneCell", "PaperCell", "darts"]


def __getattr__(name: str) -> Any:
    # NNI's hub takes about two seconds to import; trials of other spaces do not need it.
    if name in ("DartsSpace", "darts"):
        return getattr(importlib.import_module("search_spaces.hub_darts"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
