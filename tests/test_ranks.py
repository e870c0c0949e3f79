"""Rank correlations over architectures, against scipy and by hand."""

from __future__ import annotations

import pytest
from scipy.stats import spearmanr

from nni_hypens.ranks import rank_correlation


def test_an_architecture_counts_once_by_the_mean_of_its_networks() -> None:
    rows = [("a", 1.0, 5.0), ("b", 2.0, 1.0), ("a", 1.0, 1.0), ("c", 3.0, 4.0), ("d", 4.0, 2.0)]
    wanted = spearmanr([1, 2, 3, 4], [3, 1, 4, 2]).statistic
    assert rank_correlation(rows, 4) == (pytest.approx(wanted), 4)
    assert rank_correlation(rows, 5) == (None, 4)


def test_nothing_is_said_where_all_are_alike() -> None:
    names = "abcd"
    assert rank_correlation([(name, 1.0, float(i)) for i, name in enumerate(names)], 3) == (None, 4)
    assert rank_correlation([(name, float(i), 1.0) for i, name in enumerate(names)], 3) == (None, 4)
    assert rank_correlation([], 1) == (None, 0)
