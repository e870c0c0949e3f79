"""Which candidates are trained, with the experiments played: real ones are in tests/end_to_end/test_run.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nni_hypens import InputError
from nni_hypens.run.candidate import Candidate
from nni_hypens.run.folder import RunFolder
from nni_hypens.run.runtime import Runtime
from nni_hypens.run.settings import Settings
from nni_hypens.run.train_stage import TrainStage
from nni_hypens.trials.services import check_service
from nni_hypens.trials.training import further_seed, network_seed
from nni_hypens.utils.files import read_json, write_json


class Played(TrainStage):
    """Trains by writing what a trial writes."""

    def __init__(self, out: Path, members: int = 1) -> None:
        plan: Any = SimpleNamespace(settings=Settings(members=members), limits={}, adaptive=0)
        runtime = Runtime(concurrency=1, per_trial=4)
        super().__init__(plan, RunFolder(out), runtime, SimpleNamespace(warn=print), check_service(None))  # type: ignore[arg-type]
        self.fails: dict[str, int] = {}
        """Candidate -> how many of its trainings fail."""
        self.log: list[str] = []
        self.packs: list[int] = []
        self.dies_after: int | None = None

    def _experiment(self, candidates: Any, of: int, per_trial: int, more: Any) -> dict[str, str]:
        failed = {}
        self.packs.append(per_trial)
        for candidate in candidates:
            name = candidate.id
            if self.dies_after is not None and len(self.log) >= self.dies_after:
                raise KeyboardInterrupt
            self.log.append(name)
            if self.log.count(name) <= self.fails.get(name, 0):
                failed[name] = "too hot"
            else:
                write_json(self.folder.candidate(name).metrics, {"id": name, "status": "trained"})
        return failed


def names(*numbers: int) -> list[Candidate]:
    return [Candidate(f"c{number:02d}", None, 0, "draw", 1.0, {"a": number % 3}, (), "") for number in numbers]


def ids(*numbers: int) -> list[str]:
    return [candidate.id for candidate in names(*numbers)]


def statuses(out: Path, n: int) -> list[str]:
    return [read_json(out / "candidates" / name / "metrics.json")["status"] for name in ids(*range(n))]


def test_each_is_trained_once(tmp_path: Path) -> None:
    stage = Played(tmp_path)
    stage.run(names(*range(8)))
    assert statuses(tmp_path, 8) == ["trained"] * 8 and stage.log == ids(*range(8)) and stage.packs == [4]
    stage.run(names(*range(8)))
    assert len(stage.log) == 8 and stage.packs == [4]


@pytest.mark.parametrize("moment", range(8))
def test_a_kill_at_any_moment_changes_nothing(tmp_path: Path, moment: int) -> None:
    first = Played(tmp_path)
    first.dies_after = moment
    with pytest.raises(KeyboardInterrupt):
        first.run(names(*range(8)))
    second = Played(tmp_path)
    second.run(names(*range(8)))
    assert statuses(tmp_path, 8) == ["trained"] * 8 and first.log + second.log == ids(*range(8))


def test_later_ones_are_trained_alone(tmp_path: Path) -> None:
    Played(tmp_path).run(names(*range(8)))
    stage = Played(tmp_path)
    stage.run(names(*range(12)))
    assert stage.log == ids(*range(8, 12)) and statuses(tmp_path, 12) == ["trained"] * 12


def test_a_failure_is_tried_twice_and_again_in_the_next_run(tmp_path: Path) -> None:
    stage = Played(tmp_path)
    stage.fails = {"c05": 1, "c07": 2}
    stage.run(names(*range(8)))
    assert stage.log == [*ids(*range(8)), "c05", "c07"]
    assert stage.packs == [4, 1]  # one that kills its trial does not take others with it again
    assert statuses(tmp_path, 8) == [*["trained"] * 7, "failed"]
    again = Played(tmp_path)
    again.run(names(*range(8)))
    assert again.log == ["c07"] and statuses(tmp_path, 8)[-1] == "trained"


def test_what_is_trained_is_never_taken_for_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker may die between two candidates; the one that it has finished is not lost."""
    stage, train = Played(tmp_path), Played._experiment

    def also_blamed(self: Played, candidates: Any, of: int, per_trial: int, more: Any) -> dict[str, str]:
        return {**train(self, candidates, of, per_trial, more), "c00": "its worker process was killed by signal 9"}

    monkeypatch.setattr(Played, "_experiment", also_blamed)
    stage.run(names(*range(2)))
    assert statuses(tmp_path, 2) == ["trained"] * 2


def test_what_no_ensemble_can_keep_is_refused_before_training(tmp_path: Path) -> None:
    records = [replace(record, parameters=100 + i, flops=1000) for i, record in enumerate(names(*range(8)))]
    stage = Played(tmp_path, members=3)
    stage.plan.limits = {"max_total_flops": 3000.0, "max_total_params": 302.0, "max_latency_ms": 1.0}
    with pytest.raises(InputError, match="^max_total_params: got 302; expected at least 303, .* 3 cheapest"):
        stage.run(records)
    assert not stage.log
    stage.plan.settings = replace(stage.plan.settings, selection="greedy_with_replacement")
    stage.run(records)
    assert len(stage.log) == 8


def test_too_few_is_an_error(tmp_path: Path) -> None:
    stage = Played(tmp_path, members=2)
    stage.fails = dict.fromkeys(ids(0, 1, 2), 2)
    with pytest.raises(RuntimeError, match="only 1 of 4 .* 2 members; .*too hot"):
        stage.run(names(*range(4)))


def test_a_seed_belongs_to_an_architecture_and_its_replica(tmp_path: Path) -> None:
    """Not to a place: the same network has the same seed in another order, and in a comparison."""
    stage = Played(tmp_path)
    stage.plan.settings = replace(stage.plan.settings, seed=3)
    looked: list[Any] = []
    stage.__dict__["_structure"] = SimpleNamespace(key=lambda sample: looked.append(sample) or str(sample))
    first, second = names(0, 1, 2, 3), names(2, 1, 0, 3)  # 0 and 3 have the same architecture
    seeds = []
    for stage.candidates in (first, second):
        looked.clear()
        seeds.append({one.id: stage._trial(one).seed for one in stage.candidates})
        assert len(looked) == 4  # not each with all before it
    assert seeds[0] == seeds[1] and len(set(seeds[0].values())) == 4
    assert seeds[0]["c00"] == network_seed(3, str({"a": 0}), 0)
    assert seeds[0]["c03"] == network_seed(3, str({"a": 0}), 1)
    further = replace(first[0], id="c04", parent="c00")
    stage.candidates = [*first[:3], further, first[3]]  # it is no replica, and has the seed of no other
    assert stage._trial(further).seed == further_seed(seeds[0]["c00"])
    assert stage._trial(further).parent == "c00" and stage._trial(first[3]).seed == seeds[0]["c03"]
