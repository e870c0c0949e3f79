"""Data of the page of a comparison, against numpy and scipy on the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nni_hypens.compare.blocks import comparison_blocks, title_of
from nni_hypens.compare.results import paired_differences
from tests.support.comparison_results import results


def test_scores_are_sorted_and_have_t_intervals() -> None:
    table = results()
    blocks = comparison_blocks(table, "adaptive")
    assert [(block.data, block.members) for block in blocks] == [
        ("a/<set>.npz", 3), ("a/<set>.npz", 5), ("digits", 3), ("digits", 5),
    ]  # fmt: skip
    block = next(block for block in blocks if (block.data, block.members) == ("digits", 5))
    assert block.seeds == "5 seeds" and not block.note and [score.rank for score in block.scores] == list(range(1, 14))
    means = [score.mean for score in block.scores]
    assert means == sorted(means)
    own = table[(table["data"] == "digits") & (table["members"] == 5)]
    for score in block.scores:
        values = own[own["method"] == score.method].sort_values("seed")["nll"].to_numpy()
        assert score.seeds == tuple(enumerate(values))
        assert score.mean == pytest.approx(values.mean()) and score.sd == pytest.approx(values.std(ddof=1))
        assert score.interval == pytest.approx(stats.t.interval(0.95, 4, values.mean(), stats.sem(values)))


def test_differences_and_costs_have_the_ranks_of_the_scores() -> None:
    table = results()
    expected = paired_differences(table, "adaptive")
    for block in comparison_blocks(table, "adaptive"):
        ranks = {score.method: score.rank for score in block.scores}
        assert {one.method for one in block.differences} == set(ranks) - {"adaptive"}
        for one in block.differences:
            row = expected.loc[(block.data, block.members, one.method)]
            assert one.rank == ranks[one.method] and one.difference == row.difference
            assert one.interval == (row.low, row.high) and one.p == row.p and one.wins == row.wins
        own = table[(table["data"] == block.data) & (table["members"] == block.members)].groupby("method")
        for cost in block.costs:
            assert cost.rank == ranks[cost.method]
            assert cost.total_s == pytest.approx(own["total_s"].mean()[cost.method])
            spearman = own["supernet_spearman"].mean()[cost.method]
            assert cost.spearman is None if np.isnan(spearman) else cost.spearman == pytest.approx(spearman)
            assert cost.ranked == {"edgenes": 12, "fixed_lam": 3}.get(cost.method)
        assert {cost.method for cost in block.costs if not cost.fills} >= {"darts", "enas", "fixed_lam"}


def test_one_seed_has_no_interval_and_an_absent_method_no_differences() -> None:
    for block in comparison_blocks(results(seeds=1), "adaptive"):
        assert all(score.interval is None and score.sd is None for score in block.scores)
        assert all(one.interval is None and one.p is None and one.pairs == 1 for one in block.differences)
    assert not any(block.differences for block in comparison_blocks(results(methods=("darts", "enas")), "adaptive"))


def test_ranks_are_those_of_the_seeds_that_all_methods_have() -> None:
    table = results(methods=("adaptive", "random_pool", "evolution"), data=("digits",))
    table.loc[table["seed"] > 1, "nll"] += 1.0  # hard seeds, which evolution was spared
    fewer = table[(table["method"] != "evolution") | (table["seed"] < 2)]
    assert fewer.groupby("method")["nll"].mean().idxmin() == "evolution"
    for block, whole in zip(
        comparison_blocks(fewer, "adaptive"), comparison_blocks(table[table["seed"] < 2], "adaptive"), strict=True
    ):
        assert block.scores == whole.scores and block.costs == whole.costs and block.scores[0].method == "adaptive"
        assert (
            block.ranks_are_fair
            and block.seeds == "2 seeds of all methods"
            and "2 seeds that all of them have" in block.note
        )
        assert {one.method: one.pairs for one in block.differences} == {"random_pool": 5, "evolution": 2}


def test_without_a_seed_of_all_methods_there_are_the_means_of_each() -> None:
    table = results(methods=("adaptive", "random_pool"), data=("digits",))
    ours = table["method"] == "adaptive"
    for block in comparison_blocks(table[ours == (table["seed"] < 2)], "adaptive"):
        assert {score.method: len(score.seeds) for score in block.scores} == {"adaptive": 2, "random_pool": 3}
        assert (
            not block.ranks_are_fair
            and block.seeds == "2 to 3 seeds"
            and "cannot be compared" in block.note
            and not block.differences
        )


def test_a_method_of_another_version_keeps_its_name() -> None:
    assert title_of("adaptive") == "EdgeNES, adaptive" and title_of("later") == "later"
    assert title_of("adaptive@3") == "EdgeNES, adaptive, 3x" and title_of("adaptive@later") == "adaptive@later"
