"""The useful part of the dial: on a supernet whose NLL is known, and on a real one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nni_hypens import EdgeNES, ImageData, InputError, image_evaluator, suggest_lam_range
from nni_hypens.run.search_stage import run_search
from nni_hypens.search.dial import LamRange, choose_range
from search_spaces import OneCell
from tests.support.known_supernet import OnlyValidation, simulated


def test_range_ends_where_the_nll_leaves_the_tolerance() -> None:
    """p of the right class by shared edges 0..4; the limit is worked out by hand."""
    right = [0.2, 0.3, 0.55, 0.58, 0.6]
    found = suggest_lam_range(simulated(right), OnlyValidation(), tolerance=0.1, draws=6)
    base_nll = -math.log(0.6)
    assert found.base_nll == pytest.approx(base_nll, rel=1e-5)
    assert found.limit == pytest.approx(base_nll + 0.1 * (math.log(10) - base_nll), rel=1e-5)
    assert -math.log(0.55) < found.limit < -math.log(0.3) and found.range == (2.0, 3.0)
    table = found.table.set_index("lam")
    assert list(table.index) == [0, 1, 2, 3, 4]
    assert list(table["architectures"]) == [6, 6, 6, 6, 1] and not table.loc[4, "different"]
    assert table["shared_edges"].tolist() == table["shared_low"].tolist() == [0, 1, 2, 3, 4]
    assert table["nll"].tolist() == pytest.approx([-math.log(p) for p in right], rel=1e-5)
    assert table["nll_std"].tolist() == pytest.approx([0] * 5, abs=1e-6) and (table["disagreement"] == 0).all()
    assert "below lam=2" in found.reason
    assert suggest_lam_range(simulated(right), OnlyValidation(), tolerance=1.0).range == (0.0, 3.0)


def test_no_lam_within_the_tolerance() -> None:
    found = suggest_lam_range(simulated([0.2, 0.2, 0.2, 0.2, 0.6]), OnlyValidation(), tolerance=0.05)
    assert found.range == (3.0, 3.0) and found.reason.startswith("no lam keeps")


def test_a_gap_ends_the_range() -> None:
    """What is good again below a bad position is not suggested."""
    found = suggest_lam_range(simulated([0.6, 0.6, 0.2, 0.6, 0.6]), OnlyValidation(), tolerance=0.05)
    assert found.range == (3.0, 3.0)
    table = pd.DataFrame({"lam": [0.0, 1.0], "different": [False, False], "within": [True, True]})
    with pytest.raises(InputError, match="^lams"):
        choose_range(table, 1.0)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"tolerance": -0.1}, "tolerance"), ({"tolerance": True}, "tolerance"), ({"draws": 1}, "draws"),
        ({"lams": []}, "lams"), ({"lams": [5]}, "lams"), ({"lams": ["2"]}, "lams"),
    ],
)  # fmt: skip
def test_bad_arguments(more: dict, field: str) -> None:
    strategy = simulated([0.6] * 5)
    with pytest.raises(InputError, match=f"^{field}"):
        suggest_lam_range(strategy, OnlyValidation(), **more)
    assert strategy.trained_supernet.asked == 0


def test_a_base_no_better_than_chance_is_refused() -> None:
    with pytest.raises(InputError, match="^strategy.*chance"):
        suggest_lam_range(simulated([0.05] * 5), OnlyValidation())


def test_a_real_search(digits: ImageData, tmp_path: Path) -> None:
    strategy = EdgeNES(seed=0)
    run_search(OneCell(channels=2, in_channels=1), image_evaluator(digits, 10, 8), strategy, tmp_path / "search")
    found = suggest_lam_range(strategy, digits, tolerance=0.5, draws=3, lams=[0, 2, 3])
    assert isinstance(found, LamRange) and 0 <= found.low <= found.high == 3
    row = found.table.set_index("lam").loc[2]
    assert row["architectures"] == 3 and row["shared_low"] == row["shared_high"] == 2
    samples = strategy.sample(2, 3, seed=0)
    probs = strategy.trained_supernet.predict(samples, list(digits.val_dataloader())).numpy()
    labels = digits.labels("validation")
    assert row["accuracy"] == pytest.approx((probs.argmax(-1) == labels).mean())
    assert row["nll"] == pytest.approx(-np.log(probs[:, range(len(labels)), labels]).mean(), rel=1e-4)
