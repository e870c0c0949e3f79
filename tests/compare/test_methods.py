"""Recipes on a workbench whose networks are simulated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nni_hypens.compare.methods import METHODS, method_of, method_order
from nni_hypens.errors import InputError
from tests.support.comparison_fixture import SimulatedBench, keys, total

pytestmark = pytest.mark.usefixtures("simulated_searches")


@pytest.mark.parametrize("size", [2, 5])
def test_methods_that_fill_the_budget_cost_the_same(size: int, tmp_path: Path) -> None:
    budget = 16.0
    for name, method in METHODS.items():
        bench = SimulatedBench(tmp_path / name)
        trained = method.recipe(bench, size, budget)
        if name == "packed_ensemble":  # one network of all members, whose width fits the budget
            assert len(trained.networks) == size and not trained.choose
            continue
        if method.fills:
            assert budget - 1 < total(trained) <= budget, name
            assert trained.choose, name
        assert len(trained.networks) >= (1 if "single" in method.title else size), name
        if name == "snapshots":  # all of one training
            continue
        found = {("peer" if n.peer else bench.structure.key(n.sample), n.seed) for n in trained.networks}
        assert len(found) == len(trained.networks) and not found - set(bench.begun), name


@pytest.mark.parametrize("name", METHODS)
def test_a_recipe_repeats_without_training(name: str, tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    first = METHODS[name].recipe(bench, 3, 14.0)
    again = SimulatedBench(tmp_path, costs=(50.0,))
    second = METHODS[name].recipe(again, 3, 14.0)
    assert not again.begun
    assert total(first) == total(second) and first.supernet == second.supernet
    assert [(n.sample, n.seed, n.nll) for n in first.networks] == [(n.sample, n.seed, n.nll) for n in second.networks]


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.fills])
def test_a_little_budget_still_gives_members(name: str, tmp_path: Path) -> None:
    trained = METHODS[name].recipe(SimulatedBench(tmp_path), 3, 0.5)
    assert 3 <= len(trained.networks) <= 5  # adaptive training without a search begins with five


def test_a_method_whose_networks_are_trained_for_longer_has_networks_of_its_own(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    factors: list[int] = []

    def evaluators(factor: int) -> Any:
        factors.append(factor)
        return bench.plan.evaluator

    bench.evaluators = evaluators
    short = method_of("random_pool").recipe(bench, 3, 8.0)
    long = method_of("random_pool@3").recipe(bench, 3, 8.0)
    assert factors == [3]
    assert method_of("random_pool@3").title == "Random-NES, 3x"
    assert keys(bench, short.networks) == keys(bench, long.networks)
    assert len(bench.begun) == 2 * len(short.networks)  # none is taken for the other
    with pytest.raises(ValueError, match="evaluators: got None"):
        bench.longer(3).longer(2)


@pytest.mark.parametrize("name", ["nothing", "adaptive@", "adaptive@1", "adaptive@two", "nothing@3", "adaptive@-2"])
def test_an_unknown_method_is_told(name: str) -> None:
    with pytest.raises(InputError, match=r"methods: got '.*'; expected one of adaptive, .*@2"):
        method_of(name)


def test_methods_are_sorted_as_in_the_list_each_with_its_longer_trainings() -> None:
    names = ["random_pool@10", "later", "random_pool@3", "evolution", "random_pool", "adaptive@3"]
    found = sorted(names, key=method_order)
    assert found == ["adaptive@3", "random_pool", "random_pool@3", "random_pool@10", "evolution", "later"]


@pytest.mark.parametrize("name", ["adaptive", "edgenes", "edgenes_js", "random_deviations", "fixed_lam"])
def test_what_was_ranked_on_the_supernet_is_paid_for(name: str, tmp_path: Path) -> None:
    trained = METHODS[name].recipe(SimulatedBench(tmp_path), 3, 30.0)
    searches = {"random_deviations": 5.0, "fixed_lam": 5.0 + 3 * 2.0, "adaptive": 5.0}
    sizes = sum(json.loads(path.read_text()) for path in tmp_path.glob("charges/*.json"))  # adaptive: its ranking too
    assert trained.search_s == pytest.approx(searches.get(name, 6.0) + sizes)  # EdgeNES alone pays for a ranking
    assert (sizes > 0) == (name == "adaptive") and trained.supernet == "simulated"
