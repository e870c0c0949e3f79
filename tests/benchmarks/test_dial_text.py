"""What a search proposes on a large space: the summary of the rows, and the section on it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.benchmarks.dial_candidates import ranks, results
from tests.benchmarks.dial_text import WAYS, candidates_table, say_candidates


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
