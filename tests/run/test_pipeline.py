"""What a run does in which order, with the stages played: real ones are in tests/end_to_end/test_run.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from nni_hypens.errors import InputError
from nni_hypens.run import pipeline
from nni_hypens.run.candidate import Candidate
from nni_hypens.run.folder import RunFolder
from nni_hypens.run.pipeline import STAGES, Run
from nni_hypens.run.request import Request
from nni_hypens.run.runtime import Runtime
from nni_hypens.run.settings import Settings
from nni_hypens.run.updates import Updates
from nni_hypens.utils.files import write_json


def candidates(n: int, first: int = 0) -> list[Candidate]:
    return [Candidate(f"c{i:02d}", None, i, "draw", 0.5, {"a": i}, (), "") for i in range(first, first + n)]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(pipeline, "check_trial_parts", lambda *parts, local: None)  # this plan has none
    settings = Settings(candidates=8, members=2)
    same = {"seed_scheme": 1, "data_checksum": "abc"}
    plan: Any = SimpleNamespace(
        evaluator=None,
        search_evaluator=None,
        data=None,
        settings=settings,
        adaptive=5,
        identity={"seed": 0},
        fingerprint=same,
        updates=None,
        selection_options=settings.selection_options(),
        command="nni-hypens run",
    )
    return Run(plan, tmp_path, Runtime(concurrency=1, quiet=True))


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_stages_run_in_order_while_the_folder_is_locked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    order = []
    for stage in STAGES:

        def play(stage: str = stage) -> None:
            with pytest.raises(InputError, match="in use"), RunFolder(run.out).locked():
                pass
            order.append(stage)

        monkeypatch.setattr(run, stage, play)
    run.prepare()
    write_json(run.folder.results, {"ensemble": {}})
    assert run.run() == {"ensemble": {}} and order == list(STAGES)


def test_a_folder_that_another_run_has_claimed_meanwhile_is_refused(run: Run) -> None:
    run.prepare()
    run.folder.config.write_text(yaml.safe_dump({**run.plan.identity, "seed": 1, **run.plan.fingerprint}))
    with pytest.raises(InputError, match=r"^out: .* of another run \(seed: 1 there, 0 here\)"):
        run.run()


def test_a_folder_is_claimed_once_and_a_finished_run_checks_nothing_more(run: Run) -> None:
    run.prepare()
    assert run.folder.config.exists() and not run.finished
    touch(run.folder.results, run.folder.report)
    run.service = None  # type: ignore[assignment]  # a finished run does not ask for it
    run.prepare()
    assert run.finished


@pytest.mark.parametrize(
    ("name", "message"), [("data_checksum", "^data: got other images or labels"), ("seed_scheme", "^out: .*seeds")]
)
def test_a_run_goes_on_only_with_its_data_and_seeds_but_can_always_report(run: Run, name: str, message: str) -> None:
    run.prepare()
    run.prepare()
    touch(run.folder.search.base, run.folder.ensemble_index)
    run.folder.write_candidates(candidates(3))
    for changed in ({**run.plan.fingerprint, name: 2}, {}):  # folders of earlier versions have neither
        content = {"seed": 0, "versions": {"nni_hypens": "0.9"}, **changed}
        run.folder.config.write_text(yaml.safe_dump(content))
        with pytest.raises(InputError, match=message if changed else "^out: .*0.9"):
            run.prepare()
        touch(run.folder.results)
        run.prepare()
        with pytest.raises(InputError, match=message if changed else "^out: .*0.9"):
            run.sample(more=1)
        assert run.folder.results.exists() and len(run.folder.read_candidates()) == 3
        run.folder.results.unlink()


def test_the_updates_of_a_candidate_are_said_before_a_search(
    run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    choosing = [200]
    run.plan.data = SimpleNamespace(  # type: ignore[misc]
        labels=lambda split: np.zeros(choosing[0] if split == "validation" else 9),
        input_spec={"channels": 1, "height": 8, "width": 8},
    )
    monkeypatch.setattr(pipeline, "search_stage", lambda *arguments: told.append(capfd.readouterr().err))

    def said(updates: Updates | None, quiet: bool) -> str:
        run.plan.updates, run.progress.quiet, run._said_updates = updates, quiet, False  # type: ignore[misc]
        run.search()
        run.search()
        first, second = told[-2:]
        assert not second, "once is enough"
        return first

    few, many = Updates(20, each=1, batch=64, images=126), Updates(20, each=15, batch=64, images=1006)
    text = said(few, quiet=True)
    assert "warning: " in text and " 20 updates" in text and "leaves out 62 images" in text
    assert not said(many, quiet=True)
    text = said(many, quiet=False)
    assert "warning" not in text and " 300 updates" in text and "46 images" in text
    choosing[0] = 36
    assert "warning: only 36 validation images to choose the members" in said(many, quiet=True)
    assert "only 36 validation images" in said(None, quiet=True), "also if the number of updates is not known"
    touch(run.folder.ensemble_index)
    assert not said(few, quiet=False), "nothing is trained any more"


def test_as_many_are_drawn_as_adaptive_training_does_not_propose(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "draw_candidates", lambda plan, folder, n, known, progress: candidates(n, len(known)))
    with pytest.raises(InputError, match="nni-hypens search"):
        run.sample()
    touch(run.folder.search.base)
    run.sample()
    assert run.folder.read_candidates() == candidates(3)
    run.sample()  # done
    assert run.folder.read_candidates() == candidates(3)


def test_more_candidates_take_the_choice_back(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "draw_candidates", lambda plan, folder, n, known, progress: candidates(n, len(known)))
    folder = run.folder
    chosen = (folder.ensemble_index, folder.results, folder.examples, folder.report)
    touch(folder.search.base, folder.candidate("c00").metrics, *chosen)
    folder.write_candidates(candidates(3))
    run.sample(more=2)
    assert folder.read_candidates() == candidates(5)
    assert not any(path.exists() for path in chosen) and folder.candidate("c00").metrics.exists()


def test_more_before_any_is_drawn_are_as_many_as_after(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "draw_candidates", lambda plan, folder, n, known, progress: candidates(n, len(known)))
    touch(run.folder.search.base)
    run.sample(more=4)
    assert run.folder.read_candidates() == candidates(3 + 4)


@pytest.mark.parametrize("drawn", [None, 3, 8])
def test_more_than_can_be_chosen_from_are_refused_before_anything_is_removed(
    run: Run, monkeypatch: pytest.MonkeyPatch, drawn: int | None
) -> None:
    """With the adaptive candidates that are still to come, there are eight in each case."""
    monkeypatch.setattr(pipeline, "draw_candidates", lambda plan, folder, n, known, progress: candidates(n, len(known)))
    run.plan.settings = Settings(candidates=8, members=8)  # type: ignore[misc]
    folder, chosen = run.folder, (run.folder.ensemble_index, run.folder.results, run.folder.report)
    touch(folder.search.base, *chosen)
    if drawn is not None:
        adaptive = [replace(one, adaptive=True) for one in candidates(drawn - 3, 3)]
        folder.write_candidates([*candidates(3), *adaptive])
    before = folder.candidates.read_bytes() if drawn else None
    expected = "^more: got 23, with which 8 of 31 candidates have 7888725 combinations; expected at most 21: .*beam"
    with pytest.raises(InputError, match=expected):
        run.sample(more=23)
    assert all(path.exists() for path in chosen) and folder.done("sample") == (drawn is not None)
    assert before is None or folder.candidates.read_bytes() == before
    run.sample(more=21)
    assert len(folder.read_candidates()) == (drawn or 3) + 21 and not any(path.exists() for path in chosen)


@pytest.mark.parametrize("settings", [Settings(candidates=8, members=8, selection="beam"), Settings(members="all")])
def test_any_number_can_be_added_where_combinations_are_not_counted(
    run: Run, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr(pipeline, "draw_candidates", lambda plan, folder, n, known, progress: candidates(n, len(known)))
    run.plan.settings = settings  # type: ignore[misc]
    touch(run.folder.search.base)
    run.sample(more=40)
    assert len(run.folder.read_candidates()) == 43


def test_a_new_choice_is_measured_and_reported_without_training(
    run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    order: list[Any] = []
    monkeypatch.setattr(pipeline, "select_stage", lambda plan, folder, request: order.append(request))
    for stage in STAGES:
        if stage != "select":
            monkeypatch.setattr(run, stage, lambda stage=stage: order.append(stage))
    run.prepare()
    run.plan.adaptive = 1  # type: ignore[misc]
    run.folder.write_candidates(candidates(3))
    for name in ("c00", "c01"):
        with pytest.raises(
            InputError, match=r"^out: .*with \d of 4 candidates still to be trained; .*nni-hypens train"
        ):
            run.select()
        write_json(run.folder.candidate(name).metrics, {"id": name, "status": "failed"})
    run.select(Request(sizes=(2,)))  # among those that are there, if asked to
    run.folder.write_candidates([*candidates(3), replace(candidates(4)[3], adaptive=True, expected_gain=0.1)])
    for name in ("c02", "c03"):
        write_json(run.folder.candidate(name).metrics, {"id": name, "status": "trained"})
    order.clear()
    run.select()
    assert order == [None]
    run.select(Request(sizes=(2,)))
    assert order[1:] == [Request(sizes=(2,)), "evaluate", "report"]
    exported = run.folder.ensemble / "model.onnx"
    touch(exported)
    monkeypatch.setattr(pipeline, "select_stage", lambda plan, folder, request: exported.unlink())
    run.select(Request(sizes=(3,)))
    assert "model.onnx held the ensemble chosen before and was removed" in capfd.readouterr().err
    assert order[4:] == ["evaluate", "report"]
    changed: Any = SimpleNamespace(**{**vars(run.plan), "fingerprint": {"seed_scheme": 1, "data_checksum": "other"}})
    with pytest.raises(InputError, match="data"):
        Run(changed, run.out, Runtime(concurrency=1, quiet=True)).select(Request(sizes=(2,)))
    assert len(order) == 6


def test_candidates_that_a_choice_left_out_can_still_be_trained(
    run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    trained: list[str] = []
    stage = SimpleNamespace(run=lambda found: trained.extend(one.id for one in found))
    monkeypatch.setattr(pipeline, "TrainStage", lambda *arguments: stage)
    for name in ("evaluate", "report", "_say_updates"):
        monkeypatch.setattr(run, name, lambda: None)
    monkeypatch.setattr(pipeline, "select_stage", lambda plan, folder, request: touch(folder.ensemble_index))
    run.prepare()
    run.folder.write_candidates(candidates(3))
    for name in ("c00", "c01"):
        write_json(run.folder.candidate(name).metrics, {"id": name, "status": "failed"})
    run.select(Request(sizes=(2,)))
    assert "c02 left out, not trained; `nni-hypens train` takes the choice back" in capfd.readouterr().err
    run.train()
    assert not trained, "a run goes on with its choice"
    touch(run.folder.results)
    run.train(again=True)
    assert "c02" in trained and not run.folder.done("select") and not run.folder.results.exists()
    assert "members were chosen without c02: the choice is taken back" in capfd.readouterr().err


def test_what_is_damaged_is_trained_anew_while_it_is_needed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []
    stage = SimpleNamespace(run=lambda found: trained.extend(one.id for one in found))
    monkeypatch.setattr(pipeline, "TrainStage", lambda *arguments: stage)
    run.folder.write_candidates(candidates(2))
    write_json(run.folder.candidate("c01").metrics, {"status": "trained"})  # without weights
    touch(run.folder.ensemble_index, run.folder.results)
    run.train()  # nobody needs it any more
    assert not trained and run.folder.candidate("c01").metrics.exists()
    run.folder.results.unlink()
    run.train()
    assert trained == ["c00", "c01"] and not run.folder.candidate("c01").metrics.exists()
    trained.clear()
    run.train()  # the choice is made, and nothing is damaged
    assert not trained


def test_remote_trials_are_refused_before_the_folder_is_claimed(run: Run) -> None:
    run.plan.settings = Settings(warm_start=True)  # type: ignore[misc]
    run.service = SimpleNamespace(fetches=True, ports=())  # type: ignore[assignment]
    with pytest.raises(InputError, match="^warm_start"):
        run.prepare()
    assert not run.folder.config.exists()


def test_a_report_needs_results(run: Run) -> None:
    with pytest.raises(InputError, match="nni-hypens evaluate"):
        run.report()
