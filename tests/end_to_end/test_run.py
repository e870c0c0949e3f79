"""Real runs: NNI's manager, trials, the web UI in a browser, kill -9, Ctrl-C, and what is left in the folder.

One is started as a user does it; the others, which are compared with it, are forked children (support/commands.py).
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import gmean

from nni_hypens import metrics
from nni_hypens.data.module import ImageData
from nni_hypens.ensemble.calibration import apply_temperature
from nni_hypens.ensemble.module import Ensemble
from tests.support.commands import Child, Ended, outcome
from tests.support.loaded import PATIENCE, free_port
from tests.support.runs import finish, get, reachable_from_outside, start, wait_for

pytestmark = pytest.mark.end_to_end

SETTINGS = [
    "--space-args",
    "channels=2",
    "--train-space-args",
    "channels=3",
    "--search-epochs",
    "8",
    "--epochs",
    "2",
    "--candidates",
    "3",
    "--members",
    "2",
    "--train-size",
    "300",
    "--batch-size",
    "64",
    "--validation-size",
    "200",
    "--test-size",
    "100",
]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """One uninterrupted run, looked at through the web UI while its candidates are trained."""
    folder = tmp_path_factory.mktemp("reference") / "run"
    port = free_port()
    process = start("run", *SETTINGS, "--out", str(folder), "--port", str(port), "--concurrency", "2")
    api = f"http://127.0.0.1:{port}/api/v1/nni"

    def two_reports() -> list[dict[str, Any]] | None:
        found = [metric for metric in get(f"{api}/metric-data") or [] if metric["type"] == "FINAL"]
        return found if len(found) >= 2 else None

    final = wait_for(two_reports, process)
    seen = {
        "folder": folder,
        "final": [json.loads(json.loads(metric["data"])) for metric in final],
        "jobs": get(f"{api}/trial-jobs"),
        "page": browse(f"http://127.0.0.1:{port}/detail"),
        "outside": reachable_from_outside(port),
    }
    seen["output"], seen["errors"] = finish(process)
    yield seen


def done(*arguments: str | Path, code: int = 0, trials: str = "forked") -> Ended:
    """A command in a forked child, which ends with this code; ``trials="real"`` are those of NNI or of workers."""
    ended = Child(arguments, trials=trials).end()
    assert ended.code == code, ended
    return ended


def browse(url: str) -> str | None:
    """The page as a browser shows it, or None without one."""
    if CHROMIUM is None:
        return None
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--no-first-run",
        "--virtual-time-budget=6000",
        "--dump-dom",
    ]
    with tempfile.TemporaryDirectory() as profile:  # one that is in use elsewhere would be asked to show the page
        return subprocess.run(
            [*command, f"--user-data-dir={profile}", url], capture_output=True, text=True, timeout=PATIENCE
        ).stdout


def test_the_folder_holds_what_was_promised(reference: dict[str, Any]) -> None:
    folder: Path = reference["folder"]
    for name in (
        "config.yaml",
        "search/base.json",
        "search/hypernetwork.safetensors",
        "search/history.csv",
        "candidates.json",
        "ensemble/ensemble.json",
        "results.json",
        "examples.json",
        "report.html",
    ):
        assert (folder / name).is_file(), name
    results = json.loads((folder / "results.json").read_text())
    for part in ("ensemble", "best_member", "ensemble_uncalibrated", *range(len(results["members"]))):
        row = results["members"][part] if isinstance(part, int) else results[part]
        assert {"accuracy", "nll", "ece", "brier"} <= set(row)
    assert {"base_search_s", "search_s", "training_s", "selection_s"} <= set(results["cost"])
    candidates = json.loads((folder / "candidates.json").read_text())
    assert [candidate["id"] for candidate in candidates] == ["c00", "c01", "c02"] and candidates[0]["source"] == "base"
    for candidate in candidates:
        own = folder / "candidates" / candidate["id"]
        assert {"architecture.json", "weights.safetensors", "metrics.json", "predictions.npz"} <= {
            p.name for p in own.iterdir()
        }
        assert json.loads((own / "architecture.json").read_text()) == candidate["architecture"]
        with np.load(own / "predictions.npz") as predictions:
            assert predictions["val"].shape == (200, 10) and predictions["test"].shape == (100, 10)
        weights = load_file(own / "weights.safetensors")
        assert weights["stem.0.weight"].shape[0] == 3, "trained in the larger space"
    assert json.loads((folder / "ensemble" / "ensemble.json").read_text())["space"]["args"]["channels"] == 3
    assert not list(folder.rglob("*.pkl")) and "ensemble of 2" in reference["output"]


def test_results_follow_from_the_files(reference: dict[str, Any]) -> None:
    """The numbers are recomputed from predictions, and the saved ensemble gives these very predictions on raw
    images."""
    folder: Path = reference["folder"]
    results = json.loads((folder / "results.json").read_text())
    data = ImageData("digits", train_size=300, validation_size=200, test_size=100)
    labels = data.labels("test")
    members = [
        np.load(folder / "candidates" / member["id"] / "predictions.npz")["test"] for member in results["members"]
    ]
    average = gmean(np.clip(np.stack(members).astype(float), 1e-12, 1), axis=0)  # of the members' probabilities
    expected = apply_temperature(average / average.sum(axis=1, keepdims=True), results["temperature"])
    assert results["ensemble"] == pytest.approx(metrics.summary(expected, labels), abs=1e-6)
    ensemble = Ensemble.load(folder / "ensemble")
    deployed = ensemble.predict(data.raw("test", range(100)))
    assert np.abs(deployed - expected).max() < 1e-4
    sets = next(row for row in results["prediction_sets"]["rows"] if row["coverage"] == 0.9)
    kept = ensemble.info.conformal
    assert kept.images == 200 and kept.threshold(0.9) == pytest.approx(sets["threshold"], rel=1e-3)
    assert sets["measured"] == pytest.approx(kept.sets(deployed, 0.9)[np.arange(100), labels].mean(), abs=0.011)
    with torch.no_grad():
        images, _ = next(iter(data.test_dataloader()))
        assert torch.allclose(ensemble(images), torch.tensor(expected, dtype=torch.float32), atol=1e-4)


def test_a_result_never_goes_to_another_candidate(reference: dict[str, Any]) -> None:
    folder: Path = reference["folder"]
    candidates = {candidate["id"]: candidate for candidate in json.loads((folder / "candidates.json").read_text())}
    assert len({report["candidate"] for report in reference["final"]}) == len(reference["final"]) >= 2
    for report in reference["final"]:
        candidate = candidates[report["candidate"]]
        assert report["architecture"] == candidate["text"] and report["shared_edges"] == candidate["shared_edges"]
        assert report.get("lam") == (None if candidate["lam"] is None else round(candidate["lam"], 4))
        own = json.loads((folder / "candidates" / report["candidate"] / "metrics.json").read_text())
        assert report["default"] == own["default"] and len(own["history"]) == 2


def test_web_ui_shows_the_trials_and_is_local(reference: dict[str, Any]) -> None:
    assert {job["status"] for job in reference["jobs"]} <= {"SUCCEEDED", "RUNNING", "WAITING"} and len(
        reference["jobs"]
    ) >= 2
    assert reference["outside"] == []
    if reference["page"] is None:
        pytest.skip("no chromium: the page was not opened in a browser")
    assert "Trial jobs" in reference["page"] and "SUCCEEDED" in reference["page"]
    assert all(job["trialJobId"] in reference["page"] for job in reference["jobs"][:1])


def test_a_finished_folder_is_left_alone(reference: dict[str, Any]) -> None:
    folder: Path = reference["folder"]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}
    assert "finished" in done("run", *SETTINGS, "--out", folder).err
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}
    assert before == after


def test_another_run_is_refused_in_that_folder(reference: dict[str, Any]) -> None:
    refused = done("run", *SETTINGS, "--seed", "1", "--out", reference["folder"], code=2)
    assert len(refused.said) == 1 and "seed: 0 there, 1 here" in refused.said[0]


def test_kills_and_ctrl_c_at_every_stage_change_nothing(reference: dict[str, Any], tmp_path: Path) -> None:
    """SIGTERM and kill -9 in the search, kill -9 and Ctrl-C in training; each command goes on where it ended."""
    folder = tmp_path / "run"
    command = ["run", *SETTINGS, "--out", folder, "--port", str(free_port()), "--concurrency", "1"]
    checkpoint, base = folder / "search" / "checkpoint" / "last.ckpt", folder / "search" / "base.json"
    first, second = (folder / "candidates" / name for name in ("c00", "c01"))

    run = Child(command, trials="real")
    run.when(checkpoint.exists, signal.SIGTERM)  # of Slurm, docker, systemd
    ended = run.end()
    assert ended.code == 143 and not base.exists(), ended
    assert f"ended by SIGTERM; go on with: nni-hypens run --out {folder} --resume" in ended.err
    before = checkpoint.stat().st_mtime_ns

    run = Child(command, trials="real")
    run.until(lambda: checkpoint.exists() and checkpoint.stat().st_mtime_ns > before)
    run.kill()
    assert not base.exists()

    run = Child(command, trials="real")
    run.until((first / "metrics.json").exists)
    run.kill()
    trained = (first / "weights.safetensors").stat().st_mtime_ns

    run = Child(command, trials="real")  # at once: the manager of the killed run may still hold the port
    run.when((second / "metrics.json").exists, signal.SIGINT)
    ended = run.end()
    assert ended.code == 130 and "Traceback" not in ended.err, ended
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(folder / "nni") in " ".join(p.info["cmdline"] or [])]

    done("run", "--out", folder, "--resume", trials="real")
    assert (first / "weights.safetensors").stat().st_mtime_ns == trained
    assert outcome(folder) == outcome(reference["folder"])


def test_stages_are_commands_and_local_workers_train_the_same(reference: dict[str, Any], tmp_path: Path) -> None:
    """Killed in training, too: no worker is left, and the weights are those of NNI's trials to the last bit."""
    folder = tmp_path / "run"
    done("search", *SETTINGS, "--out", folder)
    assert not (folder / "candidates.json").exists()
    assert "nni-hypens sample" in done("select", "--out", folder, code=2).err
    done("sample", "--out", folder)
    train = ["train", "--out", folder, "--runner", "local", "--concurrency", "1"]
    run = Child(train, trials="real")
    run.until((folder / "candidates" / "c00" / "metrics.json").exists)
    workers = psutil.Process(run.pid).children(recursive=True)
    run.kill()
    assert workers and not psutil.wait_procs(workers, timeout=PATIENCE)[1]
    done(*train, trials="real")
    for stage in ("select", "evaluate", "report"):
        done(stage, "--out", folder)
    assert outcome(folder) == outcome(reference["folder"])
    for weights in folder.glob("candidates/*/weights.safetensors"):
        same = reference["folder"] / "candidates" / weights.parent.name / weights.name
        assert weights.read_bytes() == same.read_bytes()
        theirs, ours = (json.loads((path.parent / "metrics.json").read_text()) for path in (same, weights))
        assert (
            ours["history"] == theirs["history"] and len(ours["history"]) == 2 and ours["default"] == theirs["default"]
        )


def test_candidates_are_added_to_a_finished_run(reference: dict[str, Any], tmp_path: Path) -> None:
    """Two more, trained in one trial; what was trained is not trained again, and the selection is among all."""
    folder = tmp_path / "run"
    shutil.copytree(reference["folder"], folder)
    before = json.loads((folder / "candidates.json").read_text())
    trained = {path: path.read_bytes() for path in folder.glob("candidates/c*/*")}
    done("sample", "--out", folder, "--more", "2")
    assert not (folder / "ensemble").exists() and not (folder / "report.html").exists()
    done("run", "--out", folder, "--resume", "--per-trial", "2")
    after = json.loads((folder / "candidates.json").read_text())
    assert after[: len(before)] == before and len(after) == len(before) + 2
    assert len({json.dumps(record["architecture"], sort_keys=True) for record in after}) == len(after)
    assert all(path.read_bytes() == content for path, content in trained.items())
    results = json.loads((folder / "results.json").read_text())
    assert len(results["candidates"]) == len(after) and (folder / "report.html").exists()
    for record in after[len(before) :]:
        assert json.loads((folder / "candidates" / record["id"] / "metrics.json").read_text())["status"] == "trained"
    assert "more: got -1" in done("sample", "--out", folder, "--more", "-1", code=2).err
