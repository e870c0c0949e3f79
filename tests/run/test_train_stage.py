"""Which candidates are trained how far, with the experiments played: real ones are in tests/end_to_end/test_run.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nni_hypens import ImageData, InputError, image_evaluator
from nni_hypens.run.candidate import Candidate
from nni_hypens.run.folder import RunFolder
from nni_hypens.run.runtime import Runtime
from nni_hypens.run.settings import Settings
from nni_hypens.run.train_stage import TrainStage
from nni_hypens.trials.pausing import read_rung, write_rung
from nni_hypens.trials.services import check_service
from nni_hypens.trials.training import network_seed
from nni_hypens.utils.files import read_json, write_json


class Played(TrainStage):
    """Trains by writing what a trial writes; the NLL of candidate i is ``scores[i]``."""

    def __init__(self, out: Path, scores: list[float], halving: bool = True, members: int = 1) -> None:
        epochs = 20
        evaluator = image_evaluator(ImageData("digits"), 10, epochs)
        plan: Any = SimpleNamespace(
            settings=Settings(halving=halving, members=members),
            evaluator=evaluator,
            limits={},
            adaptive=0,
        )
        super().__init__(plan, RunFolder(out), Runtime(concurrency=1), SimpleNamespace(warn=print), check_service(None))  # type: ignore[arg-type]
        self.scores, self.epochs, self.fails = scores, epochs, {}
        self.log: list[tuple[str, int | None]] = []
        self.dies_after: int | None = None

    def _experiment(self, records: Any, until: int | None, of: int, per_trial: int, more: Any = None) -> dict[str, str]:
        failed = {}
        for record in records:
            name, files = record.id, self.folder.candidate(record.id)
            if self.dies_after is not None and len(self.log) >= self.dies_after:
                raise KeyboardInterrupt
            self.log.append((name, until))
            if self.fails.get(name, -1) == until:
                failed[name] = "too hot"
                continue
            rungs = (read_rung(files.folder) or {}).get("rungs", [])
            content = {"id": name, "rungs": [*rungs, {"epoch": until, "nll": self.scores[int(name[1:])]}]}
            if until in (None, self.epochs):
                write_json(files.metrics, {**content, "status": "trained"})
            else:
                write_rung(files.folder, {**content, "epoch": until})
        return failed


def names(*numbers: int) -> list[Candidate]:
    return [Candidate(f"c{number:02d}", None, 0, "draw", 1.0, {"a": number % 3}, (), "") for number in numbers]


def statuses(out: Path, n: int) -> list[str]:
    found = [read_json(out / "candidates" / f"c{i:02d}" / "metrics.json") for i in range(n)]
    return [record["status"] + str(record.get("epoch", "")) for record in found]


SCORES = [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
HALVED = ["stopped5"] * 4 + ["stopped10"] * 2 + ["trained"] * 2


def test_the_better_half_goes_on(tmp_path: Path) -> None:
    stage = Played(tmp_path, SCORES)
    stage.run(names(*range(8)))
    assert statuses(tmp_path, 8) == HALVED
    assert [until for _, until in stage.log] == [5] * 8 + [10] * 4 + [20] * 2
    assert not list(tmp_path.glob("candidates/*/rung.json"))
    stage.log.clear()
    stage.run(names(*range(8)))
    assert not stage.log


def test_without_halving_all_train_to_the_end(tmp_path: Path) -> None:
    stage = Played(tmp_path, SCORES, halving=False)
    stage.run(names(*range(8)))
    assert statuses(tmp_path, 8) == ["trained"] * 8 and stage.log == [(f"c{i:02d}", None) for i in range(8)]


def test_enough_go_on_for_the_members_and_one(tmp_path: Path) -> None:
    stage = Played(tmp_path, SCORES, members=5)
    stage.run(names(*range(8)))
    assert statuses(tmp_path, 8) == ["stopped5"] * 2 + ["trained"] * 6


@pytest.mark.parametrize("moment", range(1, 14))
def test_a_kill_at_any_moment_changes_nothing(tmp_path: Path, moment: int) -> None:
    first = Played(tmp_path, SCORES)
    first.dies_after = moment
    with pytest.raises(KeyboardInterrupt):
        first.run(names(*range(8)))
    second = Played(tmp_path, SCORES)
    second.run(names(*range(8)))
    assert statuses(tmp_path, 8) == HALVED
    assert len(first.log + second.log) == len(set(first.log + second.log)) == 14


def test_a_kill_amid_the_decision_is_completed(tmp_path: Path) -> None:
    first = Played(tmp_path, SCORES)
    first.dies_after = 8
    with pytest.raises(KeyboardInterrupt):
        first.run(names(*range(8)))
    for i in (1, 3):  # as if only two of four had been marked, and what they went on from were left
        folder = tmp_path / "candidates" / f"c{i:02d}"
        write_rung(folder, {**read_json(folder / "metrics.json"), "status": "waiting"})
        (folder / "metrics.json").unlink() if i == 1 else (folder / "epoch-5.ckpt").touch()
    second = Played(tmp_path, SCORES)
    second.run(names(*range(8)))
    assert statuses(tmp_path, 8) == HALVED and not list(tmp_path.glob("candidates/*/epoch*"))
    assert [until for _, until in second.log] == [10] * 4 + [20] * 2


def test_later_ones_are_compared_with_all_before(tmp_path: Path) -> None:
    """Of four new ones the two best are in the better half of the twelve at the first rung; nobody comes back."""
    Played(tmp_path, SCORES).run(names(*range(8)))
    stage = Played(tmp_path, [*SCORES, 0.05, 0.9, 0.55, 0.15])
    stage.run(names(*range(12)))
    assert stage.log[:4] == [(f"c{i:02d}", 5) for i in range(8, 12)]
    assert statuses(tmp_path, 12) == [*HALVED, "trained", "stopped5", "stopped5", "trained"]


def test_a_failure_is_tried_twice_and_replaces_nobody(tmp_path: Path) -> None:
    stage = Played(tmp_path, SCORES)
    stage.fails = {"c07": 10}
    stage.run(names(*range(8)))
    assert stage.log.count(("c07", 10)) == 2
    assert statuses(tmp_path, 8) == ["stopped5"] * 4 + ["stopped10", "trained", "trained", "failed"]
    again = Played(tmp_path, SCORES)
    again.run(names(*range(8)))  # it goes on from its rung
    assert again.log == [("c07", 10), ("c07", 20)] and statuses(tmp_path, 8)[-1] == "trained"


def test_what_no_ensemble_can_keep_is_refused_before_training(tmp_path: Path) -> None:
    records = [replace(record, parameters=100 + i, flops=1000) for i, record in enumerate(names(*range(8)))]
    stage = Played(tmp_path, SCORES, members=3)
    stage.plan.limits = {"max_total_flops": 3000.0, "max_total_params": 302.0, "max_latency_ms": 1.0}
    with pytest.raises(InputError, match="^max_total_params: got 302; expected at least 303, .* 3 cheapest"):
        stage.run(records)
    assert not stage.log
    stage.plan.settings = replace(stage.plan.settings, selection="greedy_with_replacement")
    stage.run(records)
    assert len(stage.log) > 8


def test_the_cheapest_go_on_under_a_limit(tmp_path: Path) -> None:
    records = [replace(record, parameters=100 + i, flops=9) for i, record in enumerate(names(*range(8)))]
    stage = Played(tmp_path, SCORES, members=2)
    stage.plan.limits = {"max_total_params": 201.0}
    stage.run(records)
    assert statuses(tmp_path, 8) == ["trained"] * 2 + ["stopped5"] * 2 + ["stopped10"] + ["trained"] * 3


def test_too_few_is_an_error(tmp_path: Path) -> None:
    stage = Played(tmp_path, SCORES[:4], members=2, halving=False)
    stage.fails = {f"c{i:02d}": None for i in range(3)}
    with pytest.raises(RuntimeError, match="only 1 of 4 .* 2 members; .*too hot"):
        stage.run(names(*range(4)))


def test_a_seed_belongs_to_an_architecture_and_its_replica(tmp_path: Path) -> None:
    """Not to a place: the same network has the same seed in another order, and in a comparison."""
    stage = Played(tmp_path, SCORES)
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
