from __future__ import annotations

import pytest
from nni.nas.hub.pytorch import NasBench201

from nni_hypens import EdgeStructure


@pytest.fixture(scope="module")
def bench201() -> EdgeStructure:
    return EdgeStructure.from_space(NasBench201(stem_out_channels=2, num_modules_per_stack=1))
