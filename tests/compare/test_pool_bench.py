"""Recipes on a pool of trained networks, and next to the same recipes where the networks are really trained."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nni_hypens import InputError, metrics
from nni_hypens.compare.bench import Clock, Network, Workbench
from nni_hypens.compare.method import Trained
from nni_hypens.compare.methods import METHODS, pool_methods, pool_recipe
from nni_hypens.compare.outcomes import outcome
from nni_hypens.compare.pool import decode, encode
from nni_hypens.compare.pool_bench import PoolBench, PooledNetworks
from nni_hypens.space.architecture import Sample
from nni_hypens.space.draws import random_architectures
from tests.support.comparison_fixture import SETTINGS, make_plan, remember_sizes
from tests.support.pools import made_up, of_workbench


def pooled(seeds: Sequence[int] = (1,) * 8, **options: Any) -> PooledNetworks:
    return PooledNetworks(made_up(seeds, **options), "made_up.npz")


def which(networks: PooledNetworks, trained: Trained) -> list[tuple[int | None, int]]:
    """Architecture and replica, as in the pool, of each network."""
    return [(networks.index(network.sample), network.seed) for network in trained.networks]


@pytest.mark.parametrize("name", pool_methods())
def test_each_network_of_a_pool_is_trained_once_and_then_the_pool_is_used_up(name: str) -> None:
    networks = pooled((4, 1, 2, 1, 4, 1))
    trained = pool_recipe(name)(PoolBench(networks, 3), 3, math.inf)
    found = which(networks, trained)
    assert len(set(found)) == len(found)
    expected = {"adaptive_random": 13, "random_pool": 6, "random_search": 6, "random": 1}
    assert len(found) == expected.get(name, len(found))
    if name == "evolution":  # a child is not its parent, so it ends where only the parent is left
        assert len({index for index, _ in found}) == 6 and len(found) > 6
    if name == "best_architecture":  # one with seeds for three members, whatever was better
        assert {index for index, _ in found} <= {0, 4} and len(found) == 4
    if name == "random_deep_ensemble":  # with half of infinity every architecture is drawn first
        assert Counter(index for index, _ in found).most_common(1)[0][1] == 4 and len(found) == 9


def test_what_cannot_be_trained_is_not_offered() -> None:
    networks = pooled((2, 1, 1))
    bench = PoolBench(networks, 0)
    first, second, third = networks.samples
    assert [bench.offers(first, replica) for replica in range(3)] == [True, True, False]
    with pytest.raises(LookupError):
        bench.network(second, 1)
    other = next(s for s in random_architectures(bench.structure, 99, 5) if networks.index(s) is None)
    assert not bench.offers(other, 0)
    assert bench.neighbours(first, [second]) == [third]
    assert bench.neighbours(second, [first, third]) == [first]
    assert bench.neighbours(second, [first, third, first]) == []


def test_children_of_evolution_are_the_closest_that_are_left() -> None:
    networks = pooled((1,) * 8)
    bench, (parent, *others) = PoolBench(networks, 0), networks.samples
    shared = {index: bench.structure.shared_edges(parent, other) for index, other in enumerate(others, 1)}
    near = [networks.index(sample) for sample in bench.neighbours(parent, [parent])]
    assert near == [index for index, n in shared.items() if n == max(shared.values())]


def test_the_seed_decides_which_architectures_and_which_of_their_networks_come_first() -> None:
    networks = pooled((5,) * 6)
    benches = [PoolBench(networks, seed) for seed in range(8)]
    orders = {tuple(networks.index(sample) for sample in bench.random(6, bench.seed)) for bench in benches}
    assert len(orders) > 4 and all(sorted(order) == list(range(6)) for order in orders)  # type: ignore[type-var]
    firsts = {bench.network(networks.samples[0]).seed for bench in benches}
    assert len(firsts) > 2
    seeds = {benches[0].network(networks.samples[0], replica).seed for replica in range(5)}
    assert seeds == set(range(5))


def test_a_network_that_diverged_is_no_member_and_costs_what_it_did() -> None:
    networks = pooled(diverged=(2, 5))
    bench = PoolBench(networks, 0)
    assert [n.finite for (n,) in networks.networks] == [i not in (2, 5) for i in range(8)]
    for name in ("random_pool", "adaptive_random"):
        trained = pool_recipe(name)(bench, 3, math.inf)
        assert len(trained.networks) == 8
        row = outcome(bench, trained, 3)
        assert row["training_s"] == pytest.approx(sum(1 + i / 10 for i in range(8))) and math.isfinite(row["nll"])


def test_best_architecture_takes_all_seeds_that_there_are_where_none_has_enough() -> None:
    networks = pooled((1, 2, 1, 1, 2, 1))
    bench = PoolBench(networks, 1)
    trained = pool_recipe("best_architecture")(bench, 3, math.inf)
    nll = {index: np.mean([n.nll for n in of]) for index, of in enumerate(networks.networks)}
    best = min(nll, key=lambda index: nll[index])
    assert sorted(which(networks, trained)) == [(best, replica) for replica in range(len(networks.networks[best]))]
    assert not trained.choose and outcome(bench, trained, 3)["networks"] == len(trained.networks)


def test_random_deep_ensemble_goes_on_with_random_architectures_where_none_has_seeds() -> None:
    networks = pooled((1,) * 8)
    bench = PoolBench(networks, 2)
    found = which(networks, pool_recipe("random_deep_ensemble")(bench, 3, 6.0))
    drawn = which(networks, pool_recipe("random_pool")(bench, 3, 6.0))
    assert found[:4] == drawn[:4] and len(found) in (len(drawn), len(drawn) - 1)


def test_peers_are_no_architectures_of_the_space() -> None:
    pool = made_up((1, 1, 3, 1))
    pool.architectures[2] = {"peer": "residual"}
    networks = PooledNetworks(pool, "made_up.npz")
    assert networks.samples == [pool.architectures[number] for number in (0, 1, 3)]
    assert networks.average_cost == pytest.approx((1 + 1.1 + 1.3) / 3)


@pytest.mark.parametrize("space", ["os:system", "tests.support.pools:made_up", "search_spaces:Nothing", None, {}])
def test_only_spaces_that_come_with_the_package_are_looked_up(space: Any) -> None:
    with pytest.raises(InputError, match=r"^pool: got made_up.npz of the space"):
        pooled(space=space)


def test_architectures_of_another_space_are_refused() -> None:
    with pytest.raises(InputError, match=r"made_up.npz: architecture 0"):
        pooled(space_args={"operations": ["skip_connect"]})


def test_methods_with_a_search_are_refused_with_those_that_run() -> None:
    runs = "adaptive_random, best_architecture, random, random_deep_ensemble, random_pool, random_search, evolution"
    for name in [name for name in METHODS if name not in runs.split(", ")] + ["random_pool@3"]:
        with pytest.raises(InputError, match=rf"^methods: got {name}, which needs .*: {runs}$"):
            pool_recipe(name)


class AsInThePool(Workbench):
    """Trains for real, but may train only what a pool bench has, in the pool bench's order and without charges for
    deciding. A network costs a whole number of seconds, so that a budget pays for the same networks on any machine.
    Predictions are rounded as in a pool."""

    simulated: PoolBench

    def _train(self, sample: Sample, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
        validation, test, _ = super()._train(sample, seed)
        return validation, test, float(1 + len(str(self.structure.key(sample))) % 3)

    @property
    def architectures(self) -> Any:
        return self.simulated.architectures

    def random(self, n: int, seed: int) -> list[Sample]:
        return self.simulated.random(n, seed)

    def neighbours(self, sample: Sample, trained: Sequence[Sample]) -> list[Sample]:
        return self.simulated.neighbours(sample, trained)

    def offers(self, sample: Sample, replica: int) -> bool:
        return self.simulated.offers(sample, replica)

    def network(self, sample: Sample, replica: int = 0) -> Network:
        index = self.simulated.pooled.index(sample)
        assert index is not None
        network = super().network(sample, self.simulated.order(index)[replica])
        validation, test = (np.exp(decode(encode(np.log(probs)))) for probs in (network.validation, network.test))
        nll = metrics.nll(validation, self.validation_labels)
        return replace(network, validation=validation, test=test, nll=nll)

    @contextmanager
    def charged(self, name: str, clock: Clock) -> Iterator[None]:
        yield


def test_a_simulated_comparison_has_the_rows_of_a_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same networks, costs and decisions, to the precision of 32 bits in which a pool keeps costs.

    The real predictions are rounded to bytes as those of a pool: of two choices that are nearly as good, rounding may
    make the other the better one. What it does to scores is a step of a logit, a quarter where classes are about
    equally likely, so 0.25 / sqrt(12) = 0.07 for an image and 0.007 for a mean over 100: three times that is allowed.
    """
    remember_sizes(monkeypatch)
    plan = make_plan(replace(SETTINGS, epochs=2))
    trains = AsInThePool(plan, tmp_path)
    samples, seeds = random_architectures(trains.structure, 5, 1), (2, 1, 2, 1, 1)
    as_trained = [
        [Workbench.network(trains, sample, replica) for replica in range(n)]
        for sample, n in zip(samples, seeds, strict=True)
    ]
    networks = PooledNetworks(of_workbench(trains, as_trained), "trained.npz")
    bench = trains.simulated = PoolBench(networks, trains.seed)
    budget = 4.5 * networks.average_cost
    for name in pool_methods():
        simulated = outcome(bench, pool_recipe(name)(bench, 2, budget), 2)
        real = outcome(trains, pool_recipe(name)(trains, 2, budget), 2)
        assert simulated.keys() == real.keys()
        for key, value in real.items():
            expected = pytest.approx(value, rel=1e-5, abs=1e-5) if isinstance(value, float) else value
            assert simulated[key] == expected, (name, key)
    assert len(list(tmp_path.glob("networks/*.json"))) == sum(seeds)  # the recipes have trained no other
    for rounded, exact in zip(sum(networks.networks, []), sum(as_trained, []), strict=True):
        assert rounded.nll == pytest.approx(exact.nll, abs=0.021) and rounded.nll != exact.nll
        both = [outcome(bench, Trained([network], choose=False), 1) for network in (rounded, exact)]
        for score in ("nll", "nll_uncalibrated", "validation_nll"):
            assert both[0][score] == pytest.approx(both[1][score], abs=0.021)
