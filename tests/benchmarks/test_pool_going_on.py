"""Networks of the pool that were trained further: the tables about them, and the committed files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nni_hypens.compare.pool import Pool
from nni_hypens.compare.pool_peers import FURTHER, PEER, read_further
from tests.benchmarks import pool_further, pool_training
from tests.benchmarks.going_on_text import going_on_table, say_going_on
from tests.benchmarks.pool import PACKED
from tests.benchmarks.pool_going_on import going_on_rows
from tests.benchmarks.pool_text import TITLES
from tests.support.pools import made_up


def test_changes_are_those_of_each_schedule() -> None:
    peers: list[tuple[dict[str, Any], int]] = [({PEER: FURTHER, "architecture": one}, 3) for one in (0, 2)]
    pool = made_up((1,) * 12, peers=peers)
    generator = np.random.default_rng(0)
    for name in ("calibrated_nll", "temperature"):
        pool.columns[name][:] = generator.uniform(0.5, 1.5, pool.columns[name].shape)
    found = going_on_rows("cifar_data", pool, range(2))
    assert found["networks"] == 2 and [row["schedule"] for row in found["schedules"]] == [2, 3]
    rows = {network: row for row, network in enumerate(pool.networks)}
    nll = pool.columns["calibrated_nll"][:, 1, -1]
    for place, row in enumerate(found["schedules"], start=1):
        changes = [nll[rows[number, place]] / nll[rows[number, place - 1]] - 1 for number in (12, 13)]
        assert row["change"]["mean"] == pytest.approx(np.mean(changes))
        assert row["kin"]["mean"] > 0
    assert found["adaptive"]["low"] <= found["adaptive"]["difference"] <= found["adaptive"]["high"]
    cells = {name: {"going_on": found if name == "cifar_data" else {}} for name in TITLES}
    table = going_on_table({"cells": cells})
    assert f"{100 * found['schedules'][0]['change']['mean']:+.1f} ± " in table and "| - |" in table
    assert say_going_on({"cells": cells}).endswith("of 1 columns.")


def test_a_pool_without_such_networks_says_nothing() -> None:
    assert going_on_rows("cifar_data", made_up((1,) * 12), range(2)) == {}


@pytest.mark.parametrize("cell", pool_training.CELLS, ids=lambda cell: cell.name)
def test_the_committed_pool_has_what_the_script_trains(cell: pool_training.Cell) -> None:
    pool = Pool.load(PACKED / f"{cell.name}.npz")
    packed, (_, schedules) = read_further(pool, cell.name), pool_further.WANTED[cell.name]
    assert sorted(packed) == sorted(pool_further.chosen(cell, pool))
    for architecture, number in packed.items():
        replicas = [replica for one, replica in pool.networks if one == number]
        assert sorted(replicas) == list(range(1, 1 + schedules))
        costs = pool.columns["cpu_seconds"]
        first = pool.networks.index((architecture, 0))
        assert all(np.array_equal(costs[pool.networks.index((number, one))], costs[first]) for one in replicas)
