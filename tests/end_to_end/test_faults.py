"""One table of faults, each ending in the same result as a run that nothing disturbed, or in a clear error with nothing
lost. Faults that need NNI's own manager are in test_trial_faults.py.

Covered elsewhere:

====================================================  =================================================================
kill -9 at ten moments of the search                  test_search_processes.py::test_kill_at_ten_random_moments...
kill -9 under NNI's manager, whose port stays taken   test_run.py::test_kills_and_ctrl_c_at_every_stage_change...
SIGTERM in the search, Ctrl-C in training             the same
managers and trials that outlive a killed run         test_experiments.py::test_only_the_orphan_of_this_run_is_ended
a manager that dies in a live search                  test_live.py
trials that end in silence, packs of candidates       test_training.py::test_packs_lose_only_what_failed_in_them
a port taken at the start, files cut off by others    test_bad_inputs.py
====================================================  =================================================================
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import onnx
import pytest

from tests.support.commands import SETTINGS, Child, Ended, command, listing, outcome
from tests.support.loaded import free_port

STAGES = ("search", "sample", "train", "select", "evaluate", "report")


class Runs(NamedTuple):
    """A run that nothing disturbed, and copies of it made after each stage."""

    whole: Path
    after: dict[str, Path]

    def copy(self, stage: str, to: Path) -> Path:
        """A folder in which everything up to a stage is done."""
        return Path(shutil.copytree(self.after[stage], to))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    after = {}
    for stage in STAGES:
        more = SETTINGS if stage == "search" else []
        ended = command(stage, *more, "--out", folder / "whole", "--quiet")
        assert ended.code == 0, ended.err
        after[stage] = Path(shutil.copytree(folder / "whole", folder / f"after_{stage}"))
    return Runs(folder / "whole", after)


def run(out: Path, *more: str, before: Callable[[], None] | None = None) -> Ended:
    """``nni-hypens run`` with the settings of the whole run."""
    return command("run", *SETTINGS, "--out", out, "--quiet", *more, before=before)


def same(out: Path, runs: Runs) -> None:
    """Go on, and compare with the run that nothing disturbed."""
    ended = run(out)
    assert ended.code == 0, ended.err
    assert outcome(out) == outcome(runs.whole)


def one_line(ended: Ended, *says: str) -> None:
    """It ended with exit code 1 and one line that says what is named."""
    assert ended.code == 1 and len(ended.said) == 1, ended
    assert all(text in ended.err for text in says), ended.err


# ---- kill -9 --------------------------------------------------------------------------------------------------------


def die_before(name: str) -> Callable[[], None]:
    """Die of SIGKILL when everything is written but ``name`` has not got its name yet, in the trial or outside."""

    def be_ready() -> None:
        replace, command = os.replace, os.getpid()

        def killer(source: os.PathLike[str], target: os.PathLike[str]) -> None:
            if Path(target).match(name):
                for process in (command, os.getpid()):  # a trial takes the run with it, and itself last
                    os.kill(process, signal.SIGKILL)
                time.sleep(60)
            replace(source, target)

        os.replace = killer  # type: ignore[assignment]

    return be_ready


KILLS = {  # file -> stages that are done before
    "config.yaml": None,
    "search/supernet.safetensors": None,
    "search/summary.json": None,
    "search/hypernetwork.safetensors": None,
    "search/base.json": None,
    "search/ranking.json": "search",
    "candidates.json": "search",
    "c01/predictions.npz": "sample",
    "c01/metrics.json": "sample",
    "candidates/wall.json": "sample",
    "ensemble/selection.json": "train",
    "ensemble/member-*.safetensors": "train",
    "ensemble/ensemble.json": "train",
    "examples.json": "select",
    "results.json": "select",
    "report.html": "evaluate",
}


@pytest.mark.end_to_end
@pytest.mark.parametrize("name", KILLS)
def test_kill_9_just_before_a_file_is_there(name: str, runs: Runs, tmp_path: Path) -> None:
    out = tmp_path / "run"
    if KILLS[name] is not None:
        runs.copy(KILLS[name], out)
    done = listing(out) if out.exists() else {}
    ended = run(out, before=die_before(name))
    assert ended.code == -signal.SIGKILL and not list(out.glob(name)), ended
    lost = [path for path in done if not Path(path).exists()]
    assert not lost
    same(out, runs)


@pytest.mark.end_to_end
def test_kill_9_in_the_export(runs: Runs, tmp_path: Path) -> None:
    """No half file, no other file lost, and the next export is a whole one."""
    out = runs.copy("report", tmp_path / "run")
    before = listing(out)
    ended = command("export", out, before=die_before("ensemble/model.onnx"))
    assert ended.code == -signal.SIGKILL and not (out / "ensemble" / "model.onnx").exists()
    assert {path: listing(out)[path] for path in before if Path(path).is_file()} == {
        path: state for path, state in before.items() if Path(path).is_file()
    }
    assert command("export", out).code == 0
    onnx.checker.check_model(onnx.load(out / "ensemble" / "model.onnx"), full_check=True)


# ---- the disk -------------------------------------------------------------------------------------------------------


def as_root(*words: str | Path) -> bool:
    return os.geteuid() == 0 and subprocess.run([str(word) for word in words], capture_output=True).returncode == 0


@contextlib.contextmanager
def disk(place: Path, size: str) -> Iterator[Path]:
    """A small disk of its own."""
    place.mkdir()
    if not as_root("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place):
        pytest.skip("a small disk can be mounted by root alone")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> None:
    """Leave a page or two."""
    with contextlib.suppress(OSError), (place / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))
    os.truncate(place / "ballast", (place / "ballast").stat().st_size - 12288)


FULL = {"search": None, "sample": "search", "train": "sample", "select": "train", "evaluate": "select"}


@pytest.mark.parametrize("stage", FULL)
def test_disk_full(stage: str, runs: Runs, tmp_path: Path) -> None:
    """One line, what is finished is kept, and with space again the run goes on to the same result."""
    with disk(tmp_path / "disk", "4m") as place:
        out = place / "run"
        if FULL[stage] is not None:
            runs.copy(FULL[stage], out)
        else:
            out.mkdir()
            shutil.copy(runs.whole / "config.yaml", out)
        fill(place)
        done = [path for path in out.rglob("*") if path.is_file()]
        ended = run(out)
        lines = ended.said
        assert ended.code == 1 and "Traceback" not in ended.err, ended
        assert "No space left" in lines[-1] and f"nni-hypens run --out {out} --resume" in lines[-1], ended.err
        assert all(path.exists() for path in done) and not list(out.rglob("*.tmp"))
        (place / "ballast").unlink()
        same(out, runs)


def test_disk_full_after_the_first_candidate(runs: Runs, tmp_path: Path) -> None:
    """It stays as it is; the others are trained when there is space again."""
    with disk(tmp_path / "disk", "4m") as place:
        out = runs.copy("sample", place / "run")
        replace = os.replace

        def fill_up(source: os.PathLike[str], target: os.PathLike[str]) -> None:
            replace(source, target)
            if Path(target).match("c00/metrics.json"):
                fill(place)

        ended = run(out, before=lambda: setattr(os, "replace", fill_up))
        assert "No space left" in ended.err and (place / "ballast").exists()
        one_line(ended, "No space left", "free some space", "--resume")
        first = listing(out / "candidates" / "c00")
        (place / "ballast").unlink()
        same(out, runs)
        assert listing(out / "candidates" / "c00") == first


@pytest.mark.parametrize("stage", ["sample", "select"])
def test_read_only_folder(stage: str, runs: Runs, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "8m") as place:
        out = runs.copy(stage, place / "run")
        assert as_root("mount", "-o", "remount,ro", place)
        before = listing(place)
        one_line(run(out), "Read-only file system", "make the place writable")
        one_line(command("run", *SETTINGS, "--out", place / "new", "--quiet"), "Read-only file system")
        assert listing(place) == before
        assert as_root("mount", "-o", "remount,rw", place)
        same(out, runs)


def test_no_permission(runs: Runs, tmp_path: Path) -> None:
    """As a user who may read the folder, and no more."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    out = runs.copy("sample", tmp_path / "run")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o005 != 0o005:
            pytest.skip(f"{folder} is hidden from other users")
    before = listing(out)
    one_line(run(out, before=lambda: os.setuid(65534)), "Permission denied", "make the place writable")
    assert listing(out) == before
    same(out, runs)


# ---- damaged files, clocks ------------------------------------------------------------------------------------------


@pytest.mark.end_to_end
def test_a_checkpoint_that_was_cut_off(runs: Runs, tmp_path: Path) -> None:
    """The search starts again, with a warning: it comes to the same result, and nothing else can be done."""
    out = tmp_path / "run"
    child = Child(["run", *SETTINGS, "--out", out, "--quiet"])
    last = out / "search" / "checkpoint" / "last.ckpt"
    child.when(last.exists, signal.SIGKILL)
    assert child.end().code == -signal.SIGKILL
    whole = last.read_bytes()
    for rest in (0, len(whole) // 2):
        last.parent.mkdir(exist_ok=True)
        last.write_bytes(whole[:rest])
        ended = command("search", *SETTINGS, "--out", out, "--quiet")
        assert ended.code == 0 and "last.ckpt cannot be read" in ended.err
        assert len(ended.said) == 1
        (out / "search" / "base.json").unlink()
    same(out, runs)


DAMAGE = {"gone": lambda path: path.unlink(), "cut": lambda path: os.truncate(path, path.stat().st_size // 2)}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["predictions.npz", "weights.safetensors", "metrics.json"])
@pytest.mark.parametrize("stage", ["train", "select"])
def test_a_candidate_whose_file_is_damaged(stage: str, name: str, damage: str, runs: Runs, tmp_path: Path) -> None:
    """Noticed, and trained anew; the others stay as they are. A stage by itself names the file."""
    if (stage, damage, name) == ("select", "gone", "metrics.json"):
        pytest.skip("without metrics.json a candidate has not been trained, and the ensemble is chosen already")
    out = runs.copy(stage, tmp_path / "run")
    DAMAGE[damage](out / "candidates" / "c01" / name)
    others = listing(out / "candidates" / "c00", out / "candidates" / "c02")
    if damage == "cut":
        ended = command({"train": "select", "select": "evaluate"}[stage], "--out", out, "--quiet")
        needed = (stage, name) != ("select", "weights.safetensors")
        chosen = "c01" in {path.stem[-3:] for path in runs.whole.glob("ensemble/member-*")}
        if needed and (chosen or name != "weights.safetensors"):
            assert ended.code == 2 and f"c01/{name}: got" in ended.err and len(ended.said) == 1, ended
    same(out, runs)
    assert listing(out / "candidates" / "c00", out / "candidates" / "c02") == others


@pytest.mark.parametrize("shift", [-400_000_000, 400_000_000])
def test_a_clock_that_was_changed(shift: int, runs: Runs, tmp_path: Path) -> None:
    """Files with times in the future or long past, and a clock that goes back at every look: it does not matter."""
    out = runs.copy("train", tmp_path / "run")
    for path in out.rglob("*"):
        os.utime(path, (time.time() + shift, time.time() + shift))
    real, looks = time.time, []

    def clock() -> float:
        looks.append(0)
        return real() + shift - 100 * len(looks)

    def change() -> None:
        time.time = clock

    ended = run(out, before=change)
    assert ended.code == 0 and outcome(out) == outcome(runs.whole), ended
    (out / "candidates" / "c01" / "metrics.json").unlink()
    for name in ("report.html", "results.json", "ensemble/ensemble.json"):
        (out / name).unlink()
    assert run(out, before=change).code == 0 and outcome(out) == outcome(runs.whole)


# ---- others on the machine ------------------------------------------------------------------------------------------


@pytest.mark.end_to_end
def test_a_port_that_is_taken_meanwhile(runs: Runs, tmp_path: Path) -> None:
    """Free when the run began, taken when training begins: one line, and the search is kept."""
    out, port = tmp_path / "run", free_port()
    child = Child(["run", *SETTINGS, "--out", out, "--quiet", "--port", str(port)])
    child.until((out / "config.yaml").exists)
    with socket.socket() as busy:
        busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        busy.bind(("127.0.0.1", port))
        busy.listen()
        ended = child.end()
    assert ended.code == 2 and f"port: got {port}, which is in use" in ended.err and len(ended.said) == 1
    assert (out / "candidates.json").exists()
    same(out, runs)


@pytest.mark.end_to_end
@pytest.mark.parametrize("second", ["run", "train"])
def test_two_runs_on_one_folder(second: str, runs: Runs, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = Child(["run", *SETTINGS, "--out", out, "--quiet"])
    first.when((out / "search" / "checkpoint").exists, signal.SIGSTOP)  # so that it is not over too soon
    try:
        more = SETTINGS if second == "run" else []
        ended = command(second, *more, "--out", out, "--quiet")
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert ended.code == 2 and "in use by another run" in ended.err and len(ended.said) == 1
    assert first.end().code == 0 and outcome(out) == outcome(runs.whole)


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("name", "stage"), [("candidates/c00/metrics.json", "sample"), ("ensemble/selection.json", "train")]
)
def test_ctrl_c(name: str, stage: str, runs: Runs, tmp_path: Path) -> None:
    """Exit code 130, and the command that goes on; in any stage, without NNI's manager."""
    out = runs.copy(stage, tmp_path / "run")
    child = Child(["run", *SETTINGS, "--out", out, "--quiet"])
    child.when((out / name).exists, signal.SIGINT)
    ended = child.end()
    assert ended.code == 130 and ended.err.strip().endswith(f"nni-hypens run --out {out} --resume"), ended
    assert "Traceback" not in ended.err
    resumed = command("run", "--out", out, "--resume", "--quiet")
    assert resumed.code == 0 and outcome(out) == outcome(runs.whole), resumed
