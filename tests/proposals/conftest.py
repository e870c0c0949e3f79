"""The space of simulated networks."""

from __future__ import annotations

import pytest

from nni_hypens.space.architecture import EdgeStructure
from search_spaces import OneCell


@pytest.fixture(scope="module")
def structure() -> EdgeStructure:
    return EdgeStructure.from_space(OneCell(channels=2, nodes=4))
