"""The table of a run's models."""

from __future__ import annotations

from nni_hypens.run.leaderboard import COSTS, MEASURES, leaderboard


def test_every_model_is_a_row_and_the_lowest_nll_is_first() -> None:
    results = {
        "ensemble": {"nll": 0.2, "accuracy": 0.9},
        "candidates": [
            {"id": "c1", "is_member": True, "test": {"nll": 0.4}, "validation": {"nll": 0.3}, "parameters": 7},
            {"id": "c2", "is_member": False, "test": {"nll": 0.1}},
            {"id": "c3", "status": "stopped", "validation": {"nll": 0.1}},
        ],
        "baselines": [{"name": "base", "nll": 0.3}],
    }
    rows = leaderboard(results)
    assert [(row["model"], row["kind"]) for row in rows] == [
        ("c2", "candidate"), ("ensemble", "ensemble"), ("base", "baseline"), ("c1", "member")
    ]  # fmt: skip
    assert (rows[3]["validation_nll"], rows[3]["parameters"], rows[3]["seconds"]) == (0.3, 7, None)
    assert all({*row} == {"model", "kind", "validation_nll", *MEASURES, *COSTS} for row in rows)
