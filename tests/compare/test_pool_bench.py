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
from nni_hypens.compare.pool_bench import LEAST_SEEN, PoolBench, PooledNetworks
from nni_hypens.ensemble.calibration import calibrated_alone
from nni_hypens.space.architecture import Sample
from nni_hypens.space.draws import random_architectures
from tests.support.comparison_fixture import SETTINGS, make_plan, remember_sizes
from tests.support.pools import made_up, of_workbench, peers_after


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
    expected = {"adaptive_random": 13, "adaptive_new_weights": 13, "random_pool": 6, "random_search": 6, "random": 1}
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


def test_each_seed_sees_another_half_of_the_architectures() -> None:
    networks = pooled((1,) * 40)
    benches = [PoolBench(networks, seed) for seed in range(4)]
    seen = [{networks.index(sample) for sample in bench.architectures} for bench in benches]
    assert {len(one) for one in seen} == {20} and len(set(map(frozenset, seen))) == 4
    for bench, own in zip(benches, seen, strict=True):
        assert {networks.index(sample) for sample in bench.random(40, 1)} == own
        assert {networks.index(sample) for sample in bench.neighbours(bench.architectures[0], [])} <= own
        for name in ("adaptive_random", "evolution", "random_deep_ensemble"):
            assert {index for index, _ in which(networks, pool_recipe(name)(bench, 3, math.inf))} <= own
    assert len(PoolBench(pooled((1,) * 14), 0).architectures) == LEAST_SEEN  # more than half of few


def with_peers() -> PooledNetworks:
    return pooled(peers=peers_after(8))


def test_a_residual_network_is_trained_again_and_again_in_an_order_of_the_seed() -> None:
    networks, recipe = with_peers(), pool_recipe("residual_ensemble")
    orders = set()
    for seed in range(6):
        trained = recipe(PoolBench(networks, seed), 3, math.inf)
        orders.add(tuple(network.seed for network in trained.networks))
        assert trained.choose and {network.peer for network in trained.networks} == {"residual"}
        assert trained.search_s == 0 and sum(network.cost for network in trained.networks) == pytest.approx(7 * 1.8)
        few = recipe(PoolBench(networks, seed), 3, 4.5 * 1.8)  # of an unlimited budget the first four
        assert [network.seed for network in few.networks] == [network.seed for network in trained.networks[:4]]
    assert len(orders) > 3 and {tuple(sorted(order)) for order in orders} == {tuple(range(7))}
    row = outcome(PoolBench(networks, 0), trained, 3)
    assert row["architectures"] == 1 and row["chosen"] == ["residual"] * 3


def test_snapshots_are_the_first_cycles_of_one_training() -> None:
    networks, recipe, costs = with_peers(), pool_recipe("snapshots"), set()
    for seed in range(6):
        for members in (3, 5):
            trained = recipe(PoolBench(networks, seed), members, 1.0)
            assert [network.seed for network in trained.networks] == list(range(members)) and not trained.choose
            costs |= {round(network.cost, 3) for network in trained.networks}
            assert len({network.cost for network in trained.networks}) == 1
    assert costs == {1.9, 2.0}  # of both trainings, never mixed


def test_darts_is_charged_for_its_search() -> None:
    networks, recipe = with_peers(), pool_recipe("darts_deep_ensemble")
    found = [recipe(PoolBench(networks, seed), 3, 1.0) for seed in range(8)]
    assert {trained.search_s for trained in found} == {2.5, 4.0}  # the third search has no result
    for trained in found:
        assert not trained.choose and len({network.seed for network in trained.networks}) == 3
        assert [network.cost for network in trained.networks] == pytest.approx([2.1] * 3)
    assert len({tuple(network.seed for network in trained.networks) for trained in found}) > 3
    row = outcome(PoolBench(networks, 0), found[0], 3)
    assert row["total_s"] == pytest.approx(found[0].search_s + 3 * 2.1)
    assert row["chosen"] == [networks.structure.describe(networks.pool.architectures[11]["sample"])] * 3


@pytest.mark.parametrize("name", ["residual_ensemble", "snapshots", "darts_deep_ensemble"])
def test_a_pool_without_what_a_method_needs_refuses_it(name: str) -> None:
    for networks, members in ((pooled(), 2), (with_peers(), 8)):
        with pytest.raises(InputError, match=rf"^pool: got made_up.npz, where .* networks; expected {members} or more"):
            pool_recipe(name)(PoolBench(networks, 0), members, 10.0)


@pytest.mark.parametrize(
    "change",
    [{"networks": 99}, {"networks": "3"}, {"networks": None}, {"search_cpu_seconds": -1}, {"search_cpu_seconds": "1"},
     {"search_cpu_seconds": math.nan}, {"search_cpu_seconds": None}, {"search_cpu_seconds": True}, {"sample": 3},
     {"sample": {}}],
)  # fmt: skip
def test_a_search_of_another_form_is_refused(change: dict[str, Any]) -> None:
    (search, n) = peers_after(8)[3]
    with pytest.raises(InputError, match=r"made_up.npz: architecture 8"):
        pooled(peers=[({**search, "networks": 8, **change}, n)])


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
    runs = (
        "adaptive_random, adaptive_new_weights, best_architecture, random, darts_deep_ensemble, random_deep_ensemble, "
        "random_pool, random_search, evolution, residual_ensemble, snapshots"
    )
    for name in [name for name in METHODS if name not in runs.split(", ")] + ["random_pool@3"]:
        with pytest.raises(InputError, match=rf"^methods: got {name}, which needs .*: {runs}$"):
            pool_recipe(name)


class AsInThePool(Workbench):
    """Trains for real, but may train only what a pool bench has, in the pool bench's order and without charges for
    deciding. A network costs a whole number of seconds, so that a budget pays for the same networks on any machine.
    Predictions are rounded as in a pool."""

    simulated: PoolBench

    def _train(self, sample: Sample, seed: int, begin: Path | None, keep: Path) -> tuple[np.ndarray, np.ndarray, float]:
        validation, test, _ = super()._train(sample, seed, begin, keep)
        return validation, test, float(1 + len(str(self.structure.key(sample))) % 3)

    @property
    def architectures(self) -> Any:
        return self.simulated.architectures

    def random(self, n: int, seed: int) -> list[Sample]:
        return self.simulated.random(n, seed)

    def neighbours(self, sample: Sample, trained: Sequence[Sample]) -> list[Sample]:
        return self.simulated.neighbours(sample, trained)

    def flow(self) -> Any:
        return self.simulated.flow()

    def offers(self, sample: Sample, replica: int) -> bool:
        return self.simulated.offers(sample, replica)

    def network(self, sample: Sample, replica: int = 0, may_go_on: bool = False) -> Network:
        index = self.simulated.pooled.index(sample)
        assert index is not None
        return self.rounded(super().network(sample, self.simulated.order(index, may_go_on)[replica]))

    def offers_further(self, network: Network) -> bool:
        twins = [one for of_one in self.simulated.pooled.networks for one in of_one]
        twins += self.simulated.pooled.further.values()
        (twin,) = [one for one in twins if np.allclose(one.validation, network.validation, atol=1e-6)]
        return self.simulated.offers_further(twin)

    def further(self, network: Network) -> Network:
        return self.rounded(super().further(network))

    def rounded(self, network: Network) -> Network:
        validation, test = (np.exp(decode(encode(np.log(probs)))) for probs in (network.validation, network.test))
        alone = calibrated_alone(validation[None], self.validation_labels)[0].astype(np.float32)
        nll = metrics.nll(alone, self.validation_labels)
        return replace(network, validation=validation, test=test, nll=nll, alone=alone)

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
    samples, seeds = random_architectures(trains.structure, 5, 1), (3, 1, 2, 1, 1)
    as_trained = [
        [Workbench.network(trains, sample, replica) for replica in range(n)]
        for sample, n in zip(samples, seeds, strict=True)
    ]
    # the first network of the first architecture goes on twice; in a pool it stands apart from the other seeds
    further, as_trained[0] = as_trained[0][:1], as_trained[0][1:]
    further += [Workbench.further(trains, further[0])]
    further += [Workbench.further(trains, further[1])]
    networks = PooledNetworks(of_workbench(trains, as_trained, further), "trained.npz")
    bench = trains.simulated = PoolBench(networks, trains.seed)
    budget = 4.5 * networks.average_cost
    for name in pool_methods():
        simulated = outcome(bench, pool_recipe(name)(bench, 2, budget), 2)
        real = outcome(trains, pool_recipe(name)(trains, 2, budget), 2)
        assert simulated.keys() == real.keys()
        for key, value in real.items():
            expected = pytest.approx(value, rel=1e-5, abs=1e-5) if isinstance(value, float) else value
            assert simulated[key] == expected, (name, key)
    gone_on = list(networks.further.values())
    assert len(list(tmp_path.glob("networks/*.json"))) == sum(seeds) + 2  # the recipes have trained no other
    of_pool = [*sum(networks.networks, []), *gone_on]
    for rounded, exact in zip(of_pool, [further[0], *sum(as_trained, []), *further[1:]], strict=True):
        assert rounded.nll == pytest.approx(exact.nll, abs=0.021) and rounded.nll != exact.nll
        both = [outcome(bench, Trained([network], choose=False), 1) for network in (rounded, exact)]
        for score in ("nll", "nll_uncalibrated", "validation_nll"):
            assert both[0][score] == pytest.approx(both[1][score], abs=0.021)


def trained_further(**more: Any) -> PooledNetworks:
    """Three architectures of two seeds; the second has a third one, which was trained for three schedules."""
    pool = made_up((2, 2, 2, 3))
    numbers, replicas = pool.columns["architecture"], pool.columns["replica"]
    entry = {"peer": "further", "architecture": 1, **more}
    listed = [*pool.architectures[:3], entry, *pool.architectures[4:]]
    return PooledNetworks(
        replace(pool, architectures=listed, columns={**pool.columns, "replica": replicas + (numbers == 3)}), "mine.npz"
    )


def test_a_network_that_was_trained_further_comes_first_and_can_be_gone_on_with() -> None:
    networks = trained_further()
    assert [len(of_one) for of_one in networks.networks] == [2, 3, 2]
    bench = PoolBench(networks, 4)
    first = bench.network(networks.samples[1], may_go_on=True)
    second = bench.further(first)
    third = bench.further(second)
    assert [network.seed for network in (first, second, third)] == [1, 2, 3]  # the schedules
    assert [bench.offers_further(network) for network in (first, second, third)] == [True, True, False]
    assert len({network.validation.tobytes() for network in (first, second, third)}) == 3
    others = [bench.network(networks.samples[1], replica, may_go_on=True) for replica in (1, 2)]
    assert sorted(network.seed for network in others) == [0, 1] and not any(map(bench.offers_further, others))
    assert not bench.offers_further(bench.network(networks.samples[0]))
    assert not bench.offers(networks.samples[1], 3)


def test_methods_that_never_go_on_get_networks_in_an_order_of_the_seed() -> None:
    networks = trained_further()
    firsts = [PoolBench(networks, seed).order(1)[0] for seed in range(40)]
    assert set(firsts) == {0, 1, 2}
    assert {PoolBench(networks, seed).order(1, may_go_on=True)[0] for seed in range(40)} == {0}
    rest = {tuple(PoolBench(networks, seed).order(1, may_go_on=True)[1:]) for seed in range(40)}
    assert rest == {(1, 2), (2, 1)}


def test_adaptive_training_goes_on_with_each_network_of_a_pool_once() -> None:
    networks = trained_further()
    trained = pool_recipe("adaptive_random")(PoolBench(networks, 0), 3, math.inf)
    found = which(networks, trained)
    assert len({network.validation.tobytes() for network in trained.networks}) == len(found) == 9
    assert Counter(index for index, _ in found) == {0: 2, 1: 5, 2: 2}


@pytest.mark.parametrize("number", [3, 9, -1, "1", True, None])
def test_an_entry_of_a_network_that_was_trained_further_names_an_architecture(number: Any) -> None:
    with pytest.raises(InputError, match="architecture 3 with architecture"):
        trained_further(architecture=number)
