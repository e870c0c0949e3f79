"""Rankings of candidates before training, against their results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from nni_hypens.run.candidate import Candidate
from nni_hypens.run.rankings import known_ranking, supernet_ranking


def candidates(n: int, known: Callable[[int], Any] = lambda place: None) -> list[Candidate]:
    generator = np.random.default_rng(n)
    return [
        Candidate(
            f"c{i:02d}", None, 0, "draw", float(generator.uniform()), {}, (("node", 0, str(i)),), "", known=known(i)
        )
        for i in range(n)
    ]


def test_the_supernet_is_ranked_over_trained_candidates() -> None:
    found = candidates(6)
    nll = {f"c{i:02d}": float(value) for i, value in enumerate((0.3, 0.1, 0.5, 0.2))}
    expected = spearmanr([one.supernet_nll for one in found[:4]], list(nll.values())).statistic
    assert supernet_ranking(found, nll) == {"spearman": pytest.approx(expected), "candidates": 4, "architectures": 4}
    twins = [*found[:3], replace(found[2], id="c03")]
    assert supernet_ranking(twins, nll)["architectures"] == 3
    assert supernet_ranking(found[:2], nll)["spearman"] is None
    alike = [replace(one, supernet_nll=1.0) for one in found]
    assert supernet_ranking(alike, nll)["spearman"] is None


def test_networks_that_go_on_are_left_out() -> None:
    found = candidates(5, lambda i: {"accuracy": float(i)})
    nll = {f"c{i:02d}": float(value) for i, value in enumerate((0.3, 0.1, 0.5, 0.2, 0.4))}
    longer = [*found, replace(found[0], id="c05", parent="c00"), replace(found[4], id="c06", parent="c05")]
    assert supernet_ranking(longer, {**nll, "c05": 0.6, "c06": 0.01}) == supernet_ranking(found, nll)
    assert known_ranking(longer, {**nll, "c05": 0.6, "c06": 0.01}) == known_ranking(found, nll)


def test_known_results_are_ranked_by_spearman() -> None:
    accuracy = np.random.default_rng(5).uniform(size=12)
    found = candidates(12, lambda i: {"accuracy": float(accuracy[i])} if i % 3 else {})
    nll = {f"c{i:02d}": float(-accuracy[i]) for i in range(10)}  # two have failed
    ranking = known_ranking(found, nll)
    assert ranking is not None and (ranking["candidates"], ranking["found"]) == (12, 8)
    places = [i for i in range(12) if i % 3]
    expected = spearmanr([found[i].supernet_nll for i in places], accuracy[places]).statistic
    own = ranking["metrics"]["accuracy"]
    assert own["supernet_nll"] == {"spearman": pytest.approx(expected), "architectures": 8}
    assert own["validation_nll"] == {"spearman": pytest.approx(-1.0), "architectures": 6}


def test_networks_of_one_architecture_count_once() -> None:
    found = [
        replace(one, known={"accuracy": i % 3}, edges=(("node", 0, str(i % 3)),), supernet_nll=float(i % 3))
        for i, one in enumerate(candidates(6))
    ]
    ranking = known_ranking(found, {"c00": 5.0, "c03": 1.0, "c01": 2.0, "c04": 2.0, "c02": 0.0, "c05": 1.0})
    assert ranking is not None
    own = ranking["metrics"]["accuracy"]
    assert own["supernet_nll"] == {"spearman": pytest.approx(1.0), "architectures": 3}
    assert own["validation_nll"] == {"spearman": pytest.approx(-1.0), "architectures": 3}  # means 3, 2, 0.5


def test_without_a_table_there_is_no_ranking_and_too_few_have_none() -> None:
    assert known_ranking(candidates(5), {}) is None
    none = known_ranking(candidates(5, lambda i: {}), {})
    assert none == {"candidates": 5, "found": 0, "metrics": {}}
    few = known_ranking(candidates(2, lambda i: {"accuracy": i, "nll": None}), {"c00": 1.0})
    assert few is not None
    assert few["metrics"]["accuracy"]["supernet_nll"] == {"spearman": None, "architectures": 2}
    assert few["metrics"]["nll"]["validation_nll"] == {"spearman": None, "architectures": 0}
