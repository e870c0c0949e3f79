"""Other spaces than the pool's: the summary of what was measured, and the sections on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.benchmarks.dial_candidates import ranks, results
from tests.benchmarks.other_spaces import trait_ranks
from tests.benchmarks.spaces_text import WAYS, candidates_table, say_candidates, say_nasbench


def made_up_candidates() -> dict[str, Any]:
    """What `tests.benchmarks.dial_candidates` writes: two seeds; along the dial NLL is a tenth lower than random."""
    rows = []
    for data in ("cifar10_16", "fashion_mnist_14"):
        for seed in (0, 1):
            for place, way in enumerate(WAYS):
                factor = 0.9 if way == "dial" else 1.0
                nll = [factor * (1 + 0.1 * one) for one in range(3)]
                traits = {"params": [500.0, 400.0, 300.0], "flops": [50.0, 40.0, 30.0], "flow": [1.0, 2.0, 3.0]}
                rows.append(
                    {
                        "data": data, "seed": seed, "way": way, "nll": nll, "ensemble_nll": 0.8 * factor,
                        "supernet_nll": [3.0, 2.0, 1.0], "architectures": [f"{place} {one}" for one in range(3)],
                        **traits,
                    }
                )  # fmt: skip
    return results(rows)


def made_up_nasbench() -> dict[str, Any]:
    """What `tests.benchmarks.other_spaces` writes, without the rows' content."""
    ranks = {"params": 0.1, "flow": -0.2, "size and flow": 0.3}
    return {"spearman": ranks, "place_of_first": [9], "rows": [{}] * 17}


def test_traits_of_another_space() -> None:
    said = say_nasbench(made_up_nasbench())
    assert "over 17 random architectures (standard error about 0.25): parameters 0.10" in said
    assert said.endswith("has place 10 of 17.")
    nll, sizes = np.array([0.3, 0.1, 0.2]), np.array([[10.0, 100.0], [30.0, 300.0], [20.0, 200.0]])
    found = trait_ranks(nll, sizes, np.array([1.0, 2.0, -np.inf]))
    assert found["params"] == pytest.approx(1) and found["flow"] == pytest.approx(-0.866, abs=1e-3)  # two have the most


def test_ways_are_compared_with_random_by_seed() -> None:
    found = made_up_candidates()
    one = found["summary"]["cifar10_16"]
    assert one["dial"]["against_random"] == pytest.approx([-0.1, -0.1])
    assert one["dial"]["nll"] == pytest.approx(0.99) and one["large"]["best_nll"] == pytest.approx(1.0)
    lines = candidates_table(found).splitlines()
    assert "| CIFAR-10 | along the dial | 0.990 | 0.900 | 0.720 | 400 |" in lines
    said = say_candidates(found)
    assert "- Along the dial against random, mean NLL of each seed: CIFAR-10 -10.0% and -10.0%" in said
    assert "over the 12 to 12 networks" in said


def test_ranks_point_upwards_and_count_each_network_once() -> None:
    rows = [row for row in made_up_candidates()["rows"] if row["data"] == "cifar10_16" and row["seed"] == 0]
    found = ranks([*rows, rows[0]])
    assert found["n"] == 12
    assert found["params"] > 0.7 and found["flow"] > 0.7 and found["supernet"] < -0.7
