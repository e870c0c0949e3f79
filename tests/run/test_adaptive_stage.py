"""Adaptive training in a run folder: decisions repeat, survive interruptions, and know no more than they may."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nni_hypens.proposals.pool import random_count
from nni_hypens.run.adaptive_stage import AdaptiveStage
from nni_hypens.run.folder import RunFolder
from nni_hypens.run.plan import Plan, make_plan
from nni_hypens.run.settings import Settings
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.cost import NetworkSize
from nni_hypens.space.draws import random_architectures
from nni_hypens.utils.files import write_json
from nni_hypens.utils.npz import write_arrays
from nni_hypens.utils.seeds import Purpose, derive_seed
from tests.support.commands import SETTINGS, command

OPTIONS = [*SETTINGS, "--adaptive=5", "--candidates=8", "--quiet"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("adaptive") / "searched"
    for stage in ("search", "sample"):
        ended = command(stage, *(OPTIONS if stage == "search" else ["--quiet"]), "--out", out)
        assert ended.code == 0, ended.err
    return out


def trained(out: Path) -> tuple[str, dict[str, bytes]]:
    """The candidates and their predictions, to the last bit."""
    predictions = {path.parent.name: path.read_bytes() for path in out.glob("candidates/c*/predictions.npz")}
    return (out / "candidates.json").read_text(), predictions


GAIN = "expected_gain"


def stage_of(own: Plan, out: Path) -> Any:
    """The stage of a run folder; what it proposes are candidates instead of trials."""
    folder = RunFolder(out)
    return AdaptiveStage(own, folder, folder.read_candidates(), lambda candidate: candidate)  # type: ignore[arg-type, return-value]


def records(out: Path) -> list[dict[str, Any]]:
    return json.loads((out / "candidates.json").read_text())


def test_decisions_repeat_and_neither_an_interruption_nor_other_trials_change_anything(
    searched: Path, tmp_path: Path
) -> None:
    """One trial at once is interrupted, and two are not."""
    whole, cut = (Path(shutil.copytree(searched, tmp_path / name)) for name in ("whole", "cut"))
    options = ["--quiet", "--concurrency=1"]
    assert command("train", "--out", whole, "--quiet", "--concurrency=2").code == 0
    found = records(whole)
    assert [GAIN in record for record in found] == [False] * 3 + [True] * 5
    assert [record["id"] for record in found] == [f"c0{place}" for place in range(8)]
    assert all(record["source"] in ("pool", "random", "neighbour", "replica", "further") for record in found[3:])
    assert all(record[GAIN] is not None for record in found[3:])
    assert len(trained(whole)[1]) == 8

    def die_in_the_seventh() -> None:
        replace = os.replace

        def killer(source: str, target: str) -> None:
            if Path(target).match("candidates/c06/metrics.json"):
                os.kill(os.getppid(), signal.SIGKILL)  # a trial takes the run with it
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)

        os.replace = killer  # type: ignore[assignment]

    ended = command("train", "--out", cut, *options, before=die_in_the_seventh)
    assert ended.code == -signal.SIGKILL and len(records(cut)) == 7
    assert command("train", "--out", cut, *options).code == 0
    assert trained(cut) == trained(whole)


def plan(adaptive: int = 5, **more: Any) -> Plan:
    pairs = [item.removeprefix("--").split("=", 1) for item in SETTINGS]
    settings: dict[str, Any] = {name.replace("-", "_"): value for name, value in pairs}
    settings["space_args"] = {"channels": 2}
    return make_plan(Settings.from_mapping({**settings, "candidates": 8, "adaptive": adaptive, **more}))


def pretend(out: Path, candidate: str, quality: float, plan_: Plan, share: float = 1.0) -> None:
    """Files of a candidate that gives the true class a probability of ``quality``, for a random share of the images;
    for the others another class is likelier."""
    labels = plan_.data.labels("validation")
    likely = np.where(np.random.default_rng(0).random(len(labels)) < share, labels, (labels + 1) % 10)
    probs = np.full((len(labels), 10), (1 - quality) / 9, dtype=np.float32)
    probs[np.arange(len(labels)), likely] = quality
    write_arrays(out / "candidates" / candidate / "predictions.npz", {"val": probs, "test": probs})
    write_json(out / "candidates" / candidate / "metrics.json", {"status": "trained"})


@pytest.mark.parametrize("lookahead", [1, 2, 3])
def test_a_decision_waits_for_the_results_that_it_uses_and_for_no_others(
    searched: Path, tmp_path: Path, lookahead: int
) -> None:
    """The first decision needs two of the three drawn, or all with a lookahead of 1. The result of another candidate,
    there by chance, must not change it."""
    found = []
    for early in (False, True):
        out, own = Path(shutil.copytree(searched, tmp_path / f"{early}")), plan(lookahead=lookahead)
        stage = stage_of(own, out)
        there = 0
        for place in range(3, 8):
            assert stage.left == 8 - place
            while there < max(place - lookahead + 1, 2):
                assert not stage.ready(set())
                pretend(out, f"c0{there}", 0.3 + there / 20, own)
                there += 1
            assert stage.ready(set())
            if early and there < place:
                pretend(out, f"c0{there}", 0.3 + there / 20, own)
                there += 1
            assert stage.propose().id == f"c0{place}"
        found.append([(record["text"], record.get(GAIN)) for record in records(out)])
    assert found[0] == found[1] and stage.left == 0
    assert [gain is not None for _, gain in found[0]] == [False] * 3 + [True] * 5


def test_what_failed_is_not_proposed_and_not_waited_for(searched: Path, tmp_path: Path) -> None:
    out, own = Path(shutil.copytree(searched, tmp_path / "run")), plan(lookahead=1)
    stage = stage_of(own, out)
    pretend(out, "c00", 0.5, own)
    pretend(out, "c01", 0.4, own)
    assert not stage.ready(set()) and stage.ready({"c02"})  # given up in this experiment
    lost = records(out)[2]["text"]
    for place in range(3, 8):
        assert stage.propose().text != lost
        assert stage.ready({"c02", *(f"c0{later}" for later in range(3, place + 1))})
    assert stage.left == 0 and len(records(out)) == 8


def test_a_budget_holds_for_decisions_too(searched: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(searched, tmp_path / "run"))
    small = plan(max_params=320)
    stage = stage_of(small, out)
    for place in range(3):
        pretend(out, f"c0{place}", 0.3 + place / 10, small)
    budget = small.budget()
    drawn = {record["text"] for record in records(out)}
    for _ in range(5):
        found = stage.propose()
        assert found.text in drawn or budget(found.architecture)  # type: ignore[misc]
        pretend(out, found.id, 0.5, small)
    assert {record["source"] for record in records(out)[3:]} - {"replica"}  # some were new


def test_large_architectures_stay_among_the_options(searched: Path, tmp_path: Path) -> None:
    """As in comparisons: all that was looked at for the start may be trained later."""
    out, own = Path(shutil.copytree(searched, tmp_path / "run")), plan()
    rule = stage_of(own, out)._rule
    size = NetworkSize(own.space, own.input_shape)
    structure = EdgeStructure.from_space(own.space)
    seed = derive_seed(own.settings.seed, Purpose.CANDIDATES, 0)
    largest = max(random_architectures(structure, random_count(32), seed), key=size.volume)
    fixed = zip(rule.options, rule.sources, strict=True)
    assert next(source for sample, source in fixed if sample == largest) in ("start", "pool")


@pytest.mark.parametrize(
    ("changes", "decided", "ranking"),
    [
        ({}, 5, "none"),
        ({"ranking": "none"}, 5, "none"),
        ({"candidates": 3}, 0, "spread"),
        ({"candidates": 1, "members": 1}, 0, "spread"),
        ({"ranking": "promising"}, 5, "promising"),
        ({"ranking": "spread"}, 0, "spread"),
        ({"ranking": "ensemble"}, 0, "ensemble"),
        ({"warm_start": True}, 0, "spread"),
        ({"max_total_params": 1e6}, 0, "spread"),
        ({"lam_low": 2.0}, 0, "spread"),
        ({"adaptive": 2}, 2, "none"),
        ({"adaptive": 2, "max_total_params": 1e6}, 2, "spread"),
        ({"adaptive": 0}, 0, "spread"),
    ],
)
def test_all_but_three_are_decided_on_unless_something_else_says_what_to_train(
    changes: dict[str, Any], decided: int, ranking: str
) -> None:
    made = make_plan(Settings.from_mapping({"space_args": {"channels": 2}, **changes}))
    assert (made.adaptive, made.ranking) == (decided, ranking)


def go_on(searched: Path, out: Path, goes_on: bool = True) -> list[dict[str, Any]]:
    """Decide on the last five of eight candidates, where none is as sure of itself as it could be, and the drawn ones
    are equally good: going on is expected to help."""
    own = plan()
    shutil.copytree(searched, out)
    folder = RunFolder(out)
    stage = AdaptiveStage(own, folder, folder.read_candidates(), lambda one: one, goes_on)  # type: ignore[arg-type, return-value]
    for place in range(3, 8):
        for one in range(place):
            if folder.status(f"c0{one}") is None:
                parent = records(out)[one].get("parent")
                pretend(out, f"c0{one}", 0.4 if parent is None else 0.45, own, share=0.9)
        stage.propose()
    return records(out)


def test_a_candidate_that_goes_on_names_the_one_before_it(searched: Path, tmp_path: Path) -> None:
    found = go_on(searched, tmp_path / "run")
    by_id = {record["id"]: record for record in found}
    further = [record for record in found if "parent" in record]
    assert further and all(record["source"] == "further" for record in further)
    for record in further:
        assert record["architecture"] == by_id[record["parent"]]["architecture"] and record["parent"] < record["id"]
    parents = [record["parent"] for record in further]
    assert len(set(parents)) == len(parents)  # each goes on once
    assert [one.parent for one in RunFolder(tmp_path / "run").read_candidates()] == [one.get("parent") for one in found]


def test_trials_that_do_not_see_the_weights_begin_with_new_ones(searched: Path, tmp_path: Path) -> None:
    assert not any("parent" in record for record in go_on(searched, tmp_path / "run", goes_on=False))
