"""Single networks, and ensembles of one architecture, on a workbench whose networks are simulated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nni_hypens.compare import searches
from nni_hypens.compare.methods import METHODS
from nni_hypens.space.draws import random_architectures
from tests.support.comparison_fixture import SEARCH_SECONDS, SimulatedBench, SimulatedSearch, keys, replicas_of, total

pytestmark = pytest.mark.usefixtures("simulated_searches")


def test_singles_and_deep_ensembles(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    for name in ("darts", "gumbel_darts", "enas", "random"):
        trained = METHODS[name].recipe(bench, 5, 100.0)
        assert len(trained.networks) == 1 and not trained.choose
        assert trained.search_s == (0.0 if name == "random" else SEARCH_SECONDS)
    deep = METHODS["darts_deep_ensemble"].recipe(bench, 4, 100.0)
    assert len(set(keys(bench, deep.networks))) == 1 and len({network.seed for network in deep.networks}) == 4
    assert not deep.choose and total(deep) == SEARCH_SECONDS + 4


def test_several_searches_are_all_charged_and_twins_get_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = SimulatedBench(tmp_path)
    different = METHODS["darts_ensemble"].recipe(bench, 4, 100.0)
    assert different.search_s == 4 * SEARCH_SECONDS and len(set(keys(bench, different.networks))) == 4
    assert replicas_of(bench, different.networks) == [0] * 4
    sample = random_architectures(bench.structure, 1, 0)[0]
    monkeypatch.setattr(searches, "nni_search", lambda *_: (sample, SEARCH_SECONDS))
    twins = METHODS["enas_ensemble"].recipe(bench, 3, 100.0)
    assert replicas_of(bench, twins.networks) == [0, 1, 2]


def test_a_random_deep_ensemble_takes_the_best_it_has_seen(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    trained = METHODS["random_deep_ensemble"].recipe(bench, 3, 20.0)
    found = keys(bench, trained.networks)
    pool, rest = trained.networks[:10], trained.networks[10:]
    assert len(set(found[:10])) == 10
    best = min(pool, key=lambda network: network.nll)
    assert set(keys(bench, rest)) == {bench.structure.key(best.sample)}
    assert replicas_of(bench, rest) == list(range(1, len(rest) + 1))


def test_seeds_of_the_base(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    trained = METHODS["base_ensemble"].recipe(bench, 3, 15.0)
    assert trained.search_s == 5.0 and len(trained.networks) == 10  # nothing is ranked
    assert set(keys(bench, trained.networks)) == {bench.structure.key(SimulatedSearch(bench).sampler.base)}


def test_the_hardest_baseline_spends_what_adaptive_edgenes_spends(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    ours = METHODS["adaptive"].recipe(bench, 3, 30.0)
    trained = METHODS["best_architecture"].recipe(bench, 3, 30.0)
    assert total(trained) == total(ours)
    (key,) = set(keys(bench, trained.networks))
    means = {
        other: np.mean([n.nll for n in ours.networks if bench.structure.key(n.sample) == other])
        for other in keys(bench, ours.networks)
    }
    assert key == min(means, key=means.__getitem__)
