"""EdgeNES as methods of a comparison, on a workbench whose networks are simulated."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from nni_hypens.compare import edgenes, searches
from nni_hypens.compare.method import MAX_NETWORKS, random_samples
from nni_hypens.compare.methods import METHODS
from nni_hypens.proposals.pool import draw_pool
from nni_hypens.proposals.start import first_by_traits
from nni_hypens.run.settings import DEFAULT_DRAWN
from nni_hypens.space.draws import random_architectures
from nni_hypens.space.flow import flow_of
from tests.support.comparison_fixture import SETTINGS, SimulatedBench, SimulatedSearch, keys, total

pytestmark = pytest.mark.usefixtures("simulated_searches")


def test_searches_at_fixed_lam_are_each_charged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, lams = SimulatedBench(tmp_path), []
    search = searches.fixed_lam_search
    monkeypatch.setattr(searches, "fixed_lam_search", lambda b, s, lam: lams.append(lam) or search(b, s, lam))
    trained = METHODS["fixed_lam"].recipe(bench, 5, 100.0)
    assert lams == [1.0, 1.5, 2.0, 2.5, 3.0] and trained.search_s == 5.0 + 5 * 2.0
    assert len(trained.networks) == 5 and not trained.choose
    METHODS["fixed_lam"].recipe(bench, 3, 100.0)
    assert lams[5:] == [1.0, 2.0, 3.0]


def test_members_of_the_same_lam_come_from_one_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETTINGS.space_args, "nodes", 2)
    bench = SimulatedBench(tmp_path)
    trained = METHODS["fixed_lam"].recipe(bench, 3, 100.0)
    assert bench.structure.n_edges == 2 and trained.search_s == 5.0 + 2.0
    assert len(set(keys(bench, trained.networks))) == 1 and len({seed for _, seed in bench.begun}) == 3


def test_edgenes_trains_the_base_and_what_was_ranked(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    trained = METHODS["edgenes"].recipe(bench, 3, 16.0)
    assert trained.search_s == 6.0  # the search and one ranking
    assert trained.networks[0].sample == SimulatedSearch(bench).sampler.base
    assert len(set(keys(bench, trained.networks))) == len(trained.networks) == 10


def test_edgenes_goes_on_where_candidates_are_cheaper_than_the_base(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path, costs=(4.0,) + (1.0,) * 1000)
    trained = METHODS["edgenes"].recipe(bench, 3, 30.0)
    assert 28 < total(trained) <= 30
    assert len(trained.networks) == 20  # by the cost of the base there would be 6
    assert len(set(keys(bench, trained.networks))) == 20


def test_adaptive_training_may_repeat_an_architecture(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path, diverging=[1])
    trained = METHODS["adaptive"].recipe(bench, 3, 30.0)
    found = keys(bench, trained.networks)
    assert len(set(found[:3])) == 3
    assert found.count(found[1]) == 1  # what diverged is not trained again


def test_adaptive_edgenes_begins_with_the_base_and_what_its_traits_put_first(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    search, size = SimulatedSearch(bench), bench.traits()
    pool = draw_pool(search.sampler, size, "none", DEFAULT_DRAWN, search.plan.lam_range, bench.seed)
    samples = [candidate.architecture for candidate in pool]
    first = [samples[0], *(samples[index] for index in first_by_traits(samples, size, flow_of(size)))]
    found = keys(bench, METHODS["adaptive"].recipe(bench, 3, 30.0).networks)
    assert pool[0].source == "base"
    assert found[: len(first)] == [bench.structure.key(sample) for sample in first]
    assert len(set(found[3:]) - set(found[:3])) > 0  # then networks that are expected to help


def test_without_a_search_the_start_is_what_traits_put_first_and_another(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    samples = random_samples(bench, edgenes.RANDOM_START_POOL)
    first = first_by_traits(samples, bench.traits(), bench.flow())
    other = next(index for index in range(len(samples)) if index not in first)
    found = keys(bench, METHODS["adaptive_random"].recipe(bench, 3, 30.0).networks)
    assert found[:3] == [bench.structure.key(samples[index]) for index in [*first, other]]


def test_what_is_left_follows_from_what_networks_have_cost(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path, costs=(2.0, 4.0))
    networks = [bench.network(sample) for sample in random_architectures(bench.structure, 4, 1)]  # 3 s on average
    assert edgenes._left([], 3, 30.0) == 3
    assert edgenes._left(networks, 3, 30.0) == 30 / 3 - 4
    assert edgenes._left(networks[:1], 5, 1.0) == 4  # as many as members, whatever the budget
    assert edgenes._left(networks, 3, math.inf) == MAX_NETWORKS - 4
