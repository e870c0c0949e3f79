"""The run folder: its names, its lock, what makes a stage done, what is taken back, and damage."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from nni_hypens.cli.settings import folder_settings
from nni_hypens.errors import InputError
from nni_hypens.run.candidate import Candidate
from nni_hypens.run.folder import RunFolder, damage
from nni_hypens.run.settings import Settings
from nni_hypens.utils.files import write_json
from nni_hypens.utils.npz import write_arrays
from nni_hypens.utils.run_files import CandidateFiles
from nni_hypens.utils.tensors import write_tensors

# ---- claim and lock -------------------------------------------------------------------------------------------------


def test_a_folder_is_free_or_holds_the_same_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    RunFolder(tmp_path / "new").check({"seed": 0})
    folder.check({"seed": 0})
    folder.lock.touch()
    folder.check({"seed": 0})
    folder.claim({"seed": 0, "data": "digits"}, "nni-hypens run")
    folder.check({"seed": 0, "data": "digits"})
    with pytest.raises(InputError, match="data: 'digits' there, 'cifar10' here"):
        folder.check({"seed": 0, "data": "cifar10"})
    folder.config.write_text("[]")
    with pytest.raises(InputError, match="^config"):
        folder.check({"seed": 0})


def test_a_folder_with_other_files_and_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.png").touch()
    for place in (tmp_path, tmp_path / "photo.png", tmp_path / "photo.png" / "run"):
        with pytest.raises(InputError, match="^out"):
            RunFolder(place).check({})


def test_a_claim_holds_settings_versions_and_command_and_is_written_once(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim({"seed": 3}, "nni-hypens run")
    content = yaml.safe_load(folder.config.read_text())
    assert (content["seed"], content["command"]) == (3, "nni-hypens run") and content["versions"]
    folder.claim({"seed": 4}, "another")
    assert yaml.safe_load(folder.config.read_text()) == content


def test_one_run_at_a_time_holds_the_lock(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        with pytest.raises(InputError, match="^out.*in use") as error, RunFolder(folder.out).locked():
            pass
        assert "\n" not in str(error.value)
    with folder.locked():
        pass
    with pytest.raises(ValueError), folder.locked():
        raise ValueError
    with folder.locked():
        pass


HOLD = """
import sys, time
from pathlib import Path
from filelock import FileLock
lock = FileLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
time.sleep(600)
"""


def test_a_killed_process_releases_the_lock(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with subprocess.Popen([sys.executable, "-c", HOLD, folder.lock], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == "held\n"
            with pytest.raises(InputError, match="in use"), folder.locked():
                pass
        finally:
            holder.kill()
    with folder.locked():
        pass


# ---- stages ---------------------------------------------------------------------------------------------------------

STAGES = ("search", "sample", "select", "evaluate", "report")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_done_when_its_last_file_is_there(tmp_path: Path, stage: str) -> None:
    folder = RunFolder(tmp_path)
    assert not folder.done(stage)
    with pytest.raises(InputError) as error:
        folder.require(stage)
    path = folder.last_file(stage)
    assert error.value.field == "out" and str(path.relative_to(tmp_path)) in str(error.value)
    assert f"nni-hypens {stage}" in str(error.value)
    path.parent.mkdir(exist_ok=True)
    path.touch()
    assert folder.done(stage) and folder.require(stage) == path


def test_a_run_is_finished_with_results_and_report(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.results.touch()
    assert not folder.finished
    folder.report.touch()
    assert folder.finished
    folder.results.unlink()
    assert not folder.finished


def test_the_choice_is_taken_back_and_training_stays(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    kept = [folder.config, folder.search.base, folder.candidates, folder.candidate("c00").metrics]
    removed = [folder.ensemble_index, folder.selection, folder.results, folder.examples, folder.report]
    for path in kept + removed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    folder.take_back_choice()
    assert all(path.exists() for path in kept) and not any(path.exists() for path in removed)
    folder.take_back_choice()  # nothing is there


MEASURED = {"validation": {"accuracy": 0.5, "nll": 1.0}, "seconds": 1.0}

# ---- candidates -----------------------------------------------------------------------------------------------------


def test_candidates_are_written_and_read(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    found = [Candidate(f"c0{i}", None, i, "draw", 0.5, {"a": i}, (("n", None, i),), "") for i in range(3)]
    folder.write_candidates(found)
    assert folder.read_candidates() == found
    assert folder.trained() == [] and folder.status("c00") is None and folder.metrics("c00") is None
    for name, status in (("c00", "failed"), ("c01", "trained")):
        write_json(folder.candidate(name).metrics, {**MEASURED, "status": status})
        assert folder.status(name) == status
    assert folder.trained() == ["c01"]
    write_arrays(folder.candidate("c01").predictions, {"val": np.eye(2), "test": np.eye(3)})
    assert [part.shape for part in folder.predictions("c01", "test", "val")] == [(3, 3), (2, 2)]


@pytest.mark.parametrize("parent", ["c02", "c03", "c00"], ids=["itself", "a later one", "another architecture"])
def test_a_parent_is_an_earlier_candidate_of_the_same_architecture(tmp_path: Path, parent: str) -> None:
    folder = RunFolder(tmp_path)
    found = [Candidate(f"c0{i}", None, i, "draw", 0.5, {"a": i % 2}, (("n", None, i),), "") for i in (1, 0, 2)]
    found = [replace(one, id=f"c0{i}") for i, one in enumerate(found)]
    folder.write_candidates([*found[:2], replace(found[2], parent="c01")])
    assert folder.read_candidates()[2].parent == "c01"
    folder.write_candidates([*found[:2], replace(found[2], parent=parent)])
    with pytest.raises(InputError, match=r"candidates.json\[2\].parent"):
        folder.read_candidates()


# ---- damage ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> CandidateFiles:
    found = CandidateFiles(tmp_path)
    write_arrays(found.predictions, {"val": np.eye(9), "test": np.eye(9)})
    write_tensors(found.weights, {"w": torch.zeros(9)})
    write_json(found.metrics, {**MEASURED, "status": "trained"})
    return found


def test_numbers_that_no_trial_writes_are_damage(files: CandidateFiles) -> None:
    write_tensors(files.weights, {"w": torch.tensor([np.nan])})
    assert "weights.safetensors: got NaN" in (damage(files) or "")
    write_tensors(files.weights, {"w": torch.zeros(9)})
    for wrong in (np.nan, 7.0):
        write_arrays(files.predictions, {"val": np.eye(9), "test": np.full((9, 9), wrong)})
        assert "predictions.npz: test: got" in (damage(files) or "")


@pytest.mark.parametrize("name", ["metrics", "predictions", "weights"])
def test_what_is_cut_off_is_named(files: CandidateFiles, name: str) -> None:
    assert damage(files) is None
    path = getattr(files, name)
    os.truncate(path, path.stat().st_size - 5)
    assert str(path) in str(damage(files)) and "got" in str(damage(files))


def test_what_is_missing_is_named(files: CandidateFiles) -> None:
    write_arrays(files.predictions, {"val": np.eye(2)})
    assert "test" in str(damage(files))
    files.weights.unlink()
    assert damage(files) == f"{files.weights}: got no file"
    write_json(files.metrics, {"status": "failed"})
    assert damage(files) is None  # it left nothing, and nothing is expected
    write_json(files.metrics, [])
    assert damage(files) == f"{files.metrics}: got a list"
    write_json(files.metrics, {"status": "trained", "validation": 3})
    assert damage(files) == f"{files.metrics}.validation: got 3"
    files.metrics.unlink()
    assert damage(files) is None


def test_a_setting_that_is_newer_than_the_folder_has_its_default(tmp_path: Path) -> None:
    folder, settings = RunFolder(tmp_path / "run"), Settings().to_mapping()
    folder.claim({name: value for name, value in settings.items() if name != "mixup"}, "")
    assert folder.difference(settings) is None
    assert folder.difference({**settings, "mixup": 0.2}) == "mixup: 0.0 there, 0.2 here"


def test_long_descriptions_are_shown_where_they_differ(tmp_path: Path) -> None:
    folder, same = RunFolder(tmp_path), '{"class": "Lightning", "state": "' + 300 * "x"
    folder.claim({"evaluator": same + '", "lr": 0.05}'}, "")
    found = str(folder.difference({"evaluator": same + '", "lr": 0.1}'}))
    assert '"lr": 0.05' in found and '"lr": 0.1' in found and len(found) < 300 and "Lightning" not in found


def test_a_removed_setting_matters_only_where_it_was_on(tmp_path: Path) -> None:
    settings = Settings().to_mapping()
    off, on = RunFolder(tmp_path / "off"), RunFolder(tmp_path / "on")
    off.claim({**settings, "halving": False}, "")
    on.claim({**settings, "halving": True}, "")
    assert Settings.from_mapping(folder_settings(off.out)) == Settings() and off.difference(settings) is None
    with pytest.raises(InputError, match="^config: halving: got True; expected a known setting"):
        Settings.from_mapping(folder_settings(on.out))
    assert on.difference(settings) == "halving: True there, None here"


def test_a_folder_without_pooling_was_begun_with_linear_pooling(tmp_path: Path) -> None:
    folder, settings = RunFolder(tmp_path / "run"), Settings().to_mapping()
    folder.claim({name: value for name, value in settings.items() if name not in ("pooling", "compile")}, "")
    begun = Settings.from_mapping(folder_settings(folder.out))
    assert (begun.pooling, begun.compile) == ("linear", False)  # --resume goes on as it was begun
    assert folder.difference(begun.to_mapping()) is None
    assert folder.difference(settings) == "pooling: 'linear' there, 'log' here"
