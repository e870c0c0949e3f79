"""The section on supernets says what the rows say."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.pool_text import TITLES
from tests.benchmarks.supernet_text import RECIPES, reached, say_supernet, supernet_table


def made_up_supernet(long: float = 0.3) -> dict[str, Any]:
    """What `tests.benchmarks.supernet_recipes` writes: two seeds, each 0.1 from the mean; `long` ranks as told."""
    rows = []
    for cell in ("fashion_data", "cifar_data", "fashion_capacity"):
        for recipe in RECIPES:
            mean = long if recipe == "long" else 0.2
            for seed, value in enumerate((mean - 0.1, mean + 0.1)):
                scores = dict.fromkeys(("nll", "accuracy", "calibrated_nll_and_parameters"), 0.0)
                row = {"cell": cell, "recipe": recipe, "seed": seed, "calibrated_nll": value, "parameters": 0.6}
                if cell == "cifar_data":
                    row["parameters"] = -0.3
                times = {"training_cpu_s": 10.0, "ranking_cpu_s": 4.0}
                rows.append({**scores, **row, **times, "architectures": 100})
    return {"rows": rows}


def test_the_table_has_means_and_extremes_of_seeds() -> None:
    table = supernet_table(made_up_supernet(), TITLES)
    head, _, *lines = table.splitlines()
    assert head == "|  | Fashion-MNIST, data | CIFAR-10, data | Fashion-MNIST, capacity |"
    assert lines[1] == "| long (three trainings) | 0.30 (0.20 to 0.40) | 0.30 (0.20 to 0.40) | 0.30 (0.20 to 0.40) |"
    assert lines[-1] == "| parameters alone | 0.60 | -0.30 | 0.60 |"


def test_the_target_asks_for_both_data_sets_and_more_than_parameters() -> None:
    assert reached(made_up_supernet()) == []
    assert reached(made_up_supernet(long=0.55)) == []  # parameters alone reach 0.6 on one of the two
    assert reached(made_up_supernet(long=0.7)) == ["long (three trainings), data"]  # capacity has one data set only
    said = say_supernet(made_up_supernet())
    assert "Reached by: no recipe." in said and "calibrated NLL 0.23, plain NLL 0.00" in said
    assert "2 seeds of each supernet; 100 architectures a column. To rank them takes 40% of the time in" in said
