"""Tables of a comparison, against numpy and scipy on the same numbers."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from nni_hypens.compare.blocks import comparison_blocks
from nni_hypens.compare.comparison import COLUMNS
from nni_hypens.compare.results import (
    method_table,
    paired_differences,
    spearman_of,
    spearman_text,
    text_tables,
)
from nni_hypens.errors import InputError


def noisy_results(seeds: int = 5, ours: float = 0.9) -> pd.DataFrame:
    """Ours at ``ours`` of the reference's NLL, but for noise."""
    generator, rows = np.random.default_rng(0), []
    for seed in range(seeds):
        level = generator.uniform(0.4, 0.6)
        for method, factor in (("darts_deep_ensemble", 1.0), ("adaptive", ours), ("random_pool", 1.1)):
            row = dict.fromkeys(COLUMNS, 1.0)
            nll = level * factor * generator.uniform(0.99, 1.01)
            rows.append({**row, "data": "digits", "seed": seed, "members": 3, "method": method, "nll": nll})
    return pd.DataFrame(rows)


def test_one_method_is_compared_with_none() -> None:
    alone = noisy_results().query("method == 'adaptive'")
    assert paired_differences(alone).empty
    (block,) = comparison_blocks(alone, "adaptive")
    assert block.differences == () and [score.method for score in block.scores] == ["adaptive"]
    assert "adaptive" in text_tables(alone, "adaptive")


def test_means_and_deviations() -> None:
    table, given = method_table(noisy_results()), noisy_results()
    own = given[given["method"] == "adaptive"]["nll"]
    row = table.loc[("digits", 3, "adaptive")]
    assert row["nll"] == pytest.approx(own.mean()) and row["nll_sd"] == pytest.approx(own.std(ddof=1))
    assert row["seeds"] == 5
    assert list(table.index.get_level_values("method")) == ["adaptive", "darts_deep_ensemble", "random_pool"]


def test_differences_are_paired_by_seed() -> None:
    given = noisy_results()
    found = paired_differences(given).loc[("digits", 3, "darts_deep_ensemble")]
    mine = given[given["method"] == "adaptive"].sort_values("seed")["nll"].to_numpy()
    theirs = given[given["method"] == "darts_deep_ensemble"].sort_values("seed")["nll"].to_numpy()
    share = (mine - theirs) / theirs
    assert found["difference"] == pytest.approx(share.mean())
    assert found["p"] == pytest.approx(ttest_rel(mine, theirs).pvalue)
    assert share.min() <= found["low"] < found["difference"] < found["high"] <= share.max()
    assert found["wins"] == 5 and found["pairs"] == 5
    absolute = paired_differences(given, relative=False).loc[("digits", 3, "darts_deep_ensemble")]
    assert absolute["difference"] == pytest.approx((mine - theirs).mean())


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    generator, held = np.random.default_rng(1), 0
    for trial in range(40):
        rows = []
        for seed in range(20):
            for method, mean in (("adaptive", 0.9), ("random_pool", 1.0)):
                row = dict.fromkeys(COLUMNS, 1.0)
                rows.append({**row, "data": "d", "seed": seed, "members": 3, "method": method,
                             "nll": mean + generator.normal(0, 0.05)})  # fmt: skip
        found = paired_differences(pd.DataFrame(rows), relative=False, seed=trial).loc[("d", 3, "random_pool")]
        held += found["low"] <= -0.1 <= found["high"]
    assert held >= 33  # 38 of 40 expected


def test_one_seed_has_no_interval() -> None:
    found = paired_differences(noisy_results(seeds=1)).loc[("digits", 3, "random_pool")]
    assert np.isnan(found["low"]) and np.isnan(found["p"]) and found["pairs"] == 1


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(InputError, match="ours: got 'edgenes'; expected one of adaptive"):
        paired_differences(noisy_results(), "edgenes")


def test_text_shows_every_method_and_the_difference() -> None:
    text = text_tables(noisy_results())
    assert "digits, ensembles of 3, 5 seeds" in text
    assert all(name in text for name in ("EdgeNES, adaptive", "DeepEns of DARTS", "Random-NES"))
    assert "-10" in text and "p=" in text


def test_text_of_one_seed_leaves_out_what_is_not_known() -> None:
    text = text_tables(noisy_results(seeds=1))
    assert "digits, ensembles of 3, 1 seed\n" in text and "nan" not in text and "±" not in text and "p=" not in text
    assert re.search(r"Random-NES .* -\d+\.\d%$", text, re.MULTILINE)
    same = noisy_results()
    same["nll"] = 0.5
    assert "+0.0% [+0.0, +0.0]" in text_tables(same) and "nan" not in text_tables(same)


def test_text_ranks_on_the_seeds_that_all_methods_have() -> None:
    given = noisy_results()
    fewer = given[(given["method"] != "random_pool") | (given["seed"] < 2)]
    lines, whole = text_tables(fewer).splitlines(), text_tables(given[given["seed"] < 2]).splitlines()
    assert lines[0] == "digits, ensembles of 3, 2 seeds of all methods"
    assert [line.split("%")[0] for line in lines[2:5]] == [line.split("%")[0] for line in whole[2:5]]
    assert lines[5].startswith("Methods have different seeds.")


def test_text_counts_the_seeds_of_each_method_if_none_is_of_all() -> None:
    given = noisy_results()
    apart = given[(given["method"] == "adaptive") == (given["seed"] < 2)]
    lines = text_tables(apart).splitlines()
    assert lines[0] == "digits, ensembles of 3, 2 to 3 seeds" and lines[1].split()[0] == "seeds"
    assert re.match(r"EdgeNES, adaptive +2 ", lines[2]) and re.match(r"DeepEns of DARTS +3 ", lines[3])


def test_text_shows_the_ranking_and_over_how_many_architectures() -> None:
    given = noisy_results().astype({"supernet_spearman": float})
    ours = given["method"] == "adaptive"
    given.loc[~ours, ["supernet_spearman", "ranked_architectures"]] = np.nan, 0
    given.loc[ours, "supernet_spearman"] = [0.2, 0.4, np.nan, 0.6, 0.0]
    given.loc[ours, "ranked_architectures"] = [10, 12, 3, 14, 12]
    text = text_tables(given)
    (line,) = [line for line in text.splitlines() if line.startswith("EdgeNES, adaptive")]
    assert "+0.30 (12)" in line and text.count("(12)") == 1  # the seed that has none does not count
    assert "Spearman (of): " in text


def test_a_ranking_of_too_few_or_of_an_older_version() -> None:
    few = pd.DataFrame({"supernet_spearman": [np.nan, np.nan], "ranked_architectures": [3, 2]})
    assert spearman_of(few) == (None, 2.5) and spearman_text(*spearman_of(few)) == "– (2.5)"
    older = pd.DataFrame({"supernet_spearman": [0.5, -0.1]})
    assert spearman_text(*spearman_of(older)) == "+0.20"
    mixed = pd.DataFrame({"supernet_spearman": [0.5, -0.1], "ranked_architectures": [np.nan, 8.0]})
    assert spearman_text(*spearman_of(mixed)) == "+0.20 (8)"
    none = pd.DataFrame({"supernet_spearman": [np.nan], "ranked_architectures": [0.0]})
    assert spearman_text(*spearman_of(none)) == ""
