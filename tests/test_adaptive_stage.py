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
from commands import SETTINGS, command, outcome

from nni_hypens import InputError
from nni_hypens.adaptive_stage import GAIN, AdaptiveStage
from nni_hypens.config import RunConfig
from nni_hypens.files import read_json, write_arrays, write_json
from nni_hypens.plan import Plan, check_adaptive
from nni_hypens.settings_plan import plan_of

OPTIONS = [*SETTINGS, "--adaptive=2", "--candidates=5", "--quiet"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("adaptive") / "searched"
    for stage in ("search", "sample"):
        ended = command(stage, *(OPTIONS if stage == "search" else ["--quiet"]), "--out", out)
        assert ended.code == 0, ended.err
    return out


def run(searched: Path, out: Path, *more: str, **options: Any) -> Path:
    if not out.exists():
        shutil.copytree(searched, out)
    ended = command("run", *OPTIONS, "--out", out, *more, **options)
    assert ended.code == 0, ended.err
    return out


def records(out: Path) -> list[dict[str, Any]]:
    return json.loads((out / "candidates.json").read_text())


@pytest.mark.parametrize("concurrency", [1, 2])
def test_decisions_repeat_and_an_interruption_changes_nothing(searched: Path, tmp_path: Path, concurrency: int) -> None:
    flag = f"--concurrency={concurrency}"
    whole = run(searched, tmp_path / "whole", flag)
    found = records(whole)
    assert [GAIN in record for record in found] == [False] * 3 + [True] * 2
    assert [record["id"] for record in found] == ["c00", "c01", "c02", "c03", "c04"]
    assert all(record["source"] in ("pool", "random", "neighbour", "replica") for record in found[3:])
    assert len(read_json(whole / "results.json")["candidates"]) == 5
    cut = shutil.copytree(searched, tmp_path / "cut")

    def die_before_the_fifth() -> None:
        replace = os.replace

        def killer(source: str, target: str) -> None:
            if Path(target).match("candidates/c03/metrics.json"):
                os.kill(os.getppid(), signal.SIGKILL)  # a trial takes the run with it
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)

        os.replace = killer  # type: ignore[assignment]

    ended = command("run", *OPTIONS, flag, "--out", cut, before=die_before_the_fifth)
    assert ended.code == -signal.SIGKILL and len(records(cut)) == 4
    assert outcome(run(searched, cut, flag)) == outcome(whole)


def plan(adaptive: int = 2, **more: Any) -> Plan:
    pairs = [item.removeprefix("--").split("=", 1) for item in SETTINGS]
    settings: dict[str, Any] = {name.replace("-", "_"): value for name, value in pairs}
    settings["space_args"] = {"channels": 2}
    return plan_of(RunConfig.from_mapping({**settings, "candidates": 5, "adaptive": adaptive, **more}))


def pretend(out: Path, candidate: str, quality: float, plan_: Plan) -> None:
    """Files of a candidate that gives the true class a probability of ``quality``."""
    labels = plan_.data.labels("validation")
    probs = np.full((len(labels), 10), (1 - quality) / 9, dtype=np.float32)
    probs[np.arange(len(labels)), labels] = quality
    write_arrays(out / "candidates" / candidate / "predictions.npz", {"val": probs, "test": probs})
    write_json(out / "candidates" / candidate / "metrics.json", {"status": "trained"})


@pytest.mark.parametrize("concurrency", [1, 2, 3])
def test_a_decision_waits_for_the_results_that_it_uses_and_for_no_others(
    searched: Path, tmp_path: Path, concurrency: int
) -> None:
    """With three drawn candidates and c trials at once, the first decision needs 4 - c results, two at least; that of
    another candidate, there by chance, must not change it."""
    texts = set()
    for early in (False, True):
        out, own = Path(shutil.copytree(searched, tmp_path / f"{early}")), plan()
        stage = AdaptiveStage(own, out, records(out), concurrency, lambda record: record)  # type: ignore[arg-type, return-value]
        needed = max(4 - concurrency, 2)
        for place in range(needed):
            assert not stage.ready(set())
            pretend(out, f"c0{place}", 0.3 + place / 10, own)
        assert stage.ready(set()) and stage.left == 2
        if early and needed < 3:
            pretend(out, "c02", 0.9, own)
        texts.add(stage.propose()["text"])  # type: ignore[index]
        assert stage.left == 1 and len(records(out)) == 4
    assert len(texts) == 1


def test_what_failed_is_not_proposed_and_not_waited_for(searched: Path, tmp_path: Path) -> None:
    out, own = Path(shutil.copytree(searched, tmp_path / "run")), plan()
    stage = AdaptiveStage(own, out, records(out), 1, lambda record: record)  # type: ignore[arg-type, return-value]
    pretend(out, "c00", 0.5, own)
    pretend(out, "c01", 0.4, own)
    assert not stage.ready(set()) and stage.ready({"c02"})  # given up in this experiment
    first, second = stage.propose(), None
    assert first["text"] != records(out)[2]["text"]  # type: ignore[index]
    assert stage.ready({"c02", "c03"})
    second = stage.propose()
    assert stage.left == 0 and second["id"] == "c04"  # type: ignore[index]


def test_a_budget_holds_for_decisions_too(searched: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(searched, tmp_path / "run"))
    small = plan(max_params=320)
    stage = AdaptiveStage(small, out, records(out), 1, lambda record: record)  # type: ignore[arg-type, return-value]
    for place in range(3):
        pretend(out, f"c0{place}", 0.3 + place / 10, small)
    budget = small.budget()
    known = {record["text"] for record in records(out)}
    for _ in range(2):
        found = stage.propose()
        assert found["text"] in known or budget(found["architecture"])  # type: ignore[index, misc]
        pretend(out, found["id"], 0.5, small)  # type: ignore[index]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((-1, 5, False, False), "adaptive: got -1; expected 0 to 3 of 5"),
        ((4, 5, False, False), "adaptive: got 4; expected 0 to 3 of 5"),
        ((1, 1, False, False), "adaptive: got 1; expected 0 to 0 of 1"),
        ((2, 5, True, False), "adaptive: got 2; expected 0 with halving"),
        ((2, 5, False, True), "adaptive: got 2; expected 0 with warm_start"),
    ],
)
def test_bad_settings(values: tuple[int, int, bool, bool], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_adaptive(*values)
    check_adaptive(0, 1, True, True)
