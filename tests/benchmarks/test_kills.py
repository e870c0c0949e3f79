"""The committed result of the kills, and their schedule."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from nni_hypens.utils.files import read_json
from tests.benchmarks.kills import MOMENTS, SIGNALS, schedule

RESULTS = Path(__file__).parent / "results" / "kills.json"


def test_nothing_is_left_and_every_run_ends_after_resume() -> None:
    found = read_json(RESULTS)
    assert [row["left"] for row in found["rows"]] == [0] * found["summary"]["kills"]
    assert all(row["code"] == SIGNALS[row["signal"]] for row in found["rows"])
    assert found["summary"]["unfinished_after_resume"] == 0 and found["summary"]["finished_runs"] > 0


def test_the_schedule_has_every_signal_and_moment_and_follows_from_the_seed() -> None:
    plan = schedule(20, 0)
    assert Counter(row["signal"] for row in plan) == dict.fromkeys(SIGNALS, 5)
    assert Counter(row["moment"] for row in plan) == dict.fromkeys(MOMENTS, 4)
    assert plan == schedule(20, 0) != schedule(20, 1)
    assert {row["signal"] for row in plan if row["to"] == "all"} == {"SIGTERM", "SIGHUP"}
