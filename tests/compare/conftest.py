"""Searches of methods, simulated."""

from __future__ import annotations

from typing import Any

import pytest

from nni_hypens.compare import searches
from nni_hypens.space.draws import random_architectures
from tests.support.comparison_fixture import SEARCH_SECONDS, SimulatedBench, SimulatedSearch, remember_sizes


@pytest.fixture
def simulated_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """NNI's searches find a random architecture in three seconds, EdgeNES takes five and one for a ranking."""

    def nni_search(bench: SimulatedBench, strategy: str, index: int = 0) -> tuple[Any, float]:
        return random_architectures(bench.structure, index + 1, 50 + bench.seed)[index], SEARCH_SECONDS

    def fixed(bench: SimulatedBench, search: Any, lam: float) -> tuple[Any, float]:
        return search.sampler.mode(lam).architecture, 2.0

    remember_sizes(monkeypatch)
    monkeypatch.setattr(searches, "nni_search", nni_search)
    monkeypatch.setattr(searches, "fixed_lam_search", fixed)
    monkeypatch.setattr(searches, "hypernetwork_search", lambda bench, name="", **changes: SimulatedSearch(bench))
