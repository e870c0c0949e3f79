from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from nni_hypens.trials import pausing


def test_random_state_comes_back() -> None:
    def draw() -> list[Any]:
        return [*torch.rand(3).tolist(), *np.random.rand(3), np.random.randn(), random.random(), random.gauss(0, 1)]

    np.random.randn(), random.gauss(0, 1)  # each keeps a second value
    state = pausing.random_state()
    first = draw()
    pausing.set_random_state(state)
    assert draw() == first
