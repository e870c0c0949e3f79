"""Work in parts gives what the whole gives."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from nni_hypens import selection
from nni_hypens.selection import scorers as selection_scores
from nni_hypens.selection.scorers import combination_rows
from tests.support.selection_pools import pool


def test_chunks_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    probs, labels = pool(3, p=9)
    whole = {objective: selection.exhaustive(probs, labels, 4, objective) for objective in selection.OBJECTIVES}
    for values in (1, 31, 1000):
        monkeypatch.setattr(selection_scores, "CHUNK_VALUES", values)
        monkeypatch.setattr(selection_scores, "CHUNK_ROWS", values)
        for objective in selection.OBJECTIVES:
            parts = selection.exhaustive(probs, labels, 4, objective)
            assert parts.indices == whole[objective].indices
            assert parts.score == pytest.approx(whole[objective].score, abs=1e-14)


def test_rows_are_the_combinations_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection_scores, "CHUNK_ROWS", 10)
    for size in (1, 3, 6):
        parts = list(combination_rows(6, size))
        assert max(map(len, parts)) <= 10
        assert np.concatenate(parts).tolist() == [list(combo) for combo in combinations(range(6), size)]
