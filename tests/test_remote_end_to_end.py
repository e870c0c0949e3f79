"""Candidates trained through NNI's remote service, on an ssh server of this test's own: the same files as at home."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from ssh_server import SshServer, remote_yaml, ssh_server

pytestmark = pytest.mark.end_to_end

SETTINGS = (
    "--space-args channels=2 --search-epochs 4 --epochs 1 --candidates 3 --members 2 --train-size 200 "
    "--validation-size 100 --test-size 60 --ood none --stress-images 0"
).split()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("ssh")) as found:
        yield found


def command(*words: str, code: int = 0) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "nni_hypens.cli", *words], capture_output=True, text=True, timeout=240, env=environment
    )
    assert done.returncode == code, done.stderr[-3000:]
    return done.stderr


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("candidates/c*/*")}


def test_remote_trials_give_what_local_ones_give(server: SshServer, tmp_path: Path) -> None:
    away, home = tmp_path / "away", tmp_path / "home"
    service = str(remote_yaml(server, tmp_path))
    for stage in (["search", *SETTINGS], ["sample"]):
        command(*stage, "--out", str(away), "--quiet")
    command("train", "--out", str(away), "--service", service, "--per-trial", "2", "--concurrency", "1")
    trained = files(away)
    assert sorted(trained) == sorted(
        f"candidates/c{index:02d}/{name}"
        for index in range(3)
        for name in ("architecture.json", "metrics.json", "predictions.npz", "weights.safetensors")
    )
    there = list(server.home.glob("nni-experiments/*/environments/*/trials/*/c*/metrics.json"))
    assert len(there) == 3, "trained over there"

    # a second candidate is lost here; only it is trained again, at home this time, and is the same
    for name in ("metrics.json", "weights.safetensors", "predictions.npz"):
        (away / "candidates" / "c01" / name).unlink()
    command("run", "--out", str(away), "--resume", "--quiet")
    again = files(away)
    assert {name for name in trained if again[name] != trained[name]} <= {"candidates/c01/metrics.json"}
    first, second = (json.loads(found["candidates/c01/metrics.json"]) for found in (trained, again))
    times = {"seconds", "cpu_seconds"}
    assert {k: v for k, v in first.items() if k not in times} == {k: v for k, v in second.items() if k not in times}
    assert (away / "report.html").exists() and not home.exists()

    before = {path: path.stat().st_mtime_ns for path in away.glob("candidates/c*/*")}
    command("run", "--out", str(away), "--resume", "--service", service)
    assert before == {path: path.stat().st_mtime_ns for path in away.glob("candidates/c*/*")}
    assert load_file(away / "candidates" / "c01" / "weights.safetensors")
