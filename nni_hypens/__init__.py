"""Neural ensembles as an NNI strategy: one search around a base architecture, any number of diverse members."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "EdgeNES": "search.strategy",
    "SharedEdges": "search.regularizers",
    "JensenShannon": "search.regularizers",
    "EdgeGroup": "space.architecture",
    "EdgeStructure": "space.architecture",
    "expected_shared_edges": "search.regularizers",
    "Ensemble": "ensemble.module",
    "ImageData": "data",
    "InputError": "errors",
    "KnownResults": "space.known_results",
    "export_ensemble": "ensemble.export",
    "CandidateTraining": "trials.strategy",
    "image_evaluator": "trials.evaluators",
    "search_ensemble": "run.api",
    "suggest_lam_range": "search.dial",
    "watch_search": "trials.live",
}
__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: a trial needs a part of this, and NNI with Lightning takes seconds to import.
    if name in _HOME:
        return getattr(importlib.import_module(f"nni_hypens.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
