"""Totals, limits and fronts of ensembles, against plain loops."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from nni_hypens import InputError, metrics
from nni_hypens.selection.costs import check_affordable, choose, fronts, total_costs


def make(n: int = 6, seed: int = 0) -> tuple[dict, np.ndarray, np.ndarray, dict]:
    """Predictions of n candidates, and costs in which parameters and FLOPs go opposite ways."""
    rng = np.random.default_rng(seed)
    labels = [rng.integers(0, 3, 40) for _ in range(2)]
    pool = {f"c{i:02d}": [rng.dirichlet(np.ones(3), 40) + 0.3 * i / n * np.eye(3)[y] for y in labels] for i in range(n)}
    pool = {name: [part / part.sum(1, keepdims=True) for part in pair] for name, pair in pool.items()}
    trials = {
        name: {"id": name, "parameters": 100 + 10 * i, "flops": 2000 - 100 * i, "latency_ms": 0.5 + 0.25 * i}
        for i, name in enumerate(pool)
    }
    return pool, labels[0], labels[1], trials


def test_totals() -> None:
    trials = make()[3]
    assert total_costs([trials["c01"], trials["c03"]]) == {"parameters": 240, "flops": 3600, "latency_ms": 2.0}


@pytest.mark.parametrize("cost", ["parameters", "flops"])
def test_no_ensemble_beats_a_front(cost: str) -> None:
    """Every ensemble of up to three: none is cheaper and as good; and each point of the front is one of them."""
    pool, validation, test, trials = make()
    found = fronts(pool, validation, test, trials, [("c05", 0.75), ("c04", 0.25)], 3)
    rows = [row for row in found["rows"] if row["by"] == cost]
    every = {}
    for size in (1, 2, 3):
        for names in combinations(pool, size):
            average = np.mean([pool[name][0] for name in names], axis=0)
            every[frozenset(names)] = sum(trials[n][cost] for n in names), metrics.nll(average, validation)
    wanted = {
        names for names, (spent, nll) in every.items()
        if not any(c <= spent and s <= nll and (c, s) != (spent, nll) for c, s in every.values())
    }  # fmt: skip
    assert {frozenset(row["members"]) for row in rows} == wanted and len(rows) == len(wanted) > 1
    for row in rows:
        assert (row[cost], row["validation_nll"]) == pytest.approx(every[frozenset(row["members"])])
        average = np.mean([pool[name][1] for name in row["members"]], axis=0)
        assert row["test_nll"] == pytest.approx(metrics.nll(average, test))
        assert row["test_accuracy"] == pytest.approx(metrics.accuracy(average, test))
        assert row["chosen"] == (set(row["members"]) == {"c04", "c05"})
    assert [row[cost] for row in rows] == sorted(row[cost] for row in rows)


def test_the_chosen_ensemble_keeps_its_weights() -> None:
    pool, validation, test, trials = make()
    chosen = fronts(pool, validation, test, trials, [("c05", 0.75), ("c04", 0.25)], 2)["chosen"]
    average = 0.75 * pool["c05"][0] + 0.25 * pool["c04"][0]
    assert chosen["members"] == ["c05", "c04"]
    assert chosen["validation_nll"] == pytest.approx(metrics.nll(average, validation))
    assert (chosen["parameters"], chosen["latency_ms"]) == (290, 3.25)


def test_what_is_affordable() -> None:
    trials = list(make()[3].values())
    check_affordable(trials, {"max_total_params": 330, "max_total_flops": 4800, "max_latency_ms": 0.1}, 3)
    with pytest.raises(InputError, match="^max_total_params: got 329; expected at least 330"):
        check_affordable(trials, {"max_total_params": 329}, 3)
    with pytest.raises(InputError, match="^max_total_flops: got 4799; expected at least 4800"):
        check_affordable(trials, {"max_total_params": 330, "max_total_flops": 4799}, 3)


def test_limits_that_exclude_one_another_are_named() -> None:
    """Each can be kept by itself, but parameters by the first candidates and FLOPs by the last."""
    pool, validation, _, trials = make()
    probabilities = np.stack([pair[0] for pair in pool.values()])
    limits = {"max_total_params": 210.0, "max_total_flops": 3100.0}
    with pytest.raises(InputError, match="^max_total_params, max_total_flops: .*keep together"):
        choose("exhaustive", probabilities, validation, list(trials.values()), limits, size=2)
