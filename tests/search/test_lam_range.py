from __future__ import annotations

import pytest

from nni_hypens import suggest_lam_range
from tests.support.known_supernet import OnlyValidation, simulated


def test_the_figure_shows_the_table() -> None:
    found = suggest_lam_range(simulated([0.2, 0.3, 0.55, 0.58, 0.6]), OnlyValidation(), lams=[3, 1, 2, 2])
    assert found.table["lam"].tolist() == [1, 2, 3]
    edges, loss, right = found.plot().axes
    assert edges.lines[1].get_ydata().tolist() == [1, 2, 3]
    assert list(loss.lines[0].get_ydata()) == pytest.approx(found.table["nll"].tolist())
    assert list(right.lines[0].get_ydata()) == pytest.approx(found.table["accuracy"].tolist())
