from __future__ import annotations

import numpy as np
import pytest
import torch

from nni_hypens.errors import InputError
from nni_hypens.search.jensen_shannon import JensenShannon
from nni_hypens.search.regularizers import Annealed
from nni_hypens.search.shared_edges import SharedEdges
from tests.support.structures import STRUCTURES, regularize_alone


def test_annealing() -> None:
    assert [Annealed((0.3, 3.0), "w").at(p) for p in (-1, 0, 0.5, 1, 2)] == pytest.approx([0.3, 0.3, 1.65, 3, 3])
    assert Annealed(2, "w").at(0.7) == 2
    for wrong in ("x", (1,), (1, -1), (1, 2, 3), True, None, float("nan"), (1.0, float("inf"))):
        with pytest.raises(InputError, match="^w"):
            Annealed(wrong, "w")
    for make in (
        lambda: SharedEdges(temperature=0.0),
        lambda: JensenShannon(tau=1.0),
        lambda: JensenShannon(tau="x"),
        lambda: JensenShannon(tau=float("nan")),
        lambda: JensenShannon(target=1),
        lambda: SharedEdges(weight=-1.0),
    ):
        with pytest.raises(InputError, match="^diversity"):
            make()


def test_regularisers_need_their_base() -> None:
    for regulariser in (SharedEdges(), JensenShannon()):
        with pytest.raises(RuntimeError, match="bind"):
            regulariser(torch.zeros(1), torch.zeros(1, 14, 7), 1.0, None)


@pytest.mark.parametrize(("name", "seed", "most"), [("one_cell", 0, 0.4), ("one_cell", 1, 0.4), ("darts", 0, 0.96)])
def test_the_regulariser_alone_makes_the_dial_obey(name: str, seed: int, most: float) -> None:
    structure = STRUCTURES[name]
    base, lams, modes = regularize_alone(SharedEdges(), structure, seed, 400 if name == "one_cell" else 1200)
    shared = [structure.shared_edges(base, mode) for mode in modes]
    assert np.abs(np.array(shared) - lams).mean() <= most and (min(shared), max(shared)) == (0, structure.n_edges)
