"""Candidates trained through NNI's remote service, on an ssh server of this test's own: the same files as at home."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nni_hypens.cli import main as cli
from nni_hypens.trials.machine import FetchError, Machine
from tests.support.ssh_server import SshServer, key_pair, remote_yaml, ssh_server

pytestmark = pytest.mark.end_to_end

SETTINGS = (
    "--space-args channels=2 --search-epochs 4 --epochs 1 --candidates 4 --adaptive 1 --members 2 --train-size 200 "
    "--batch-size 64 --validation-size 100 --test-size 60 --ood none --stress-images 0"
).split()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("ssh")) as found:
        yield found


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("candidates/c*/*")}


def test_remote_trials_give_what_local_ones_give(server: SshServer, tmp_path: Path) -> None:
    run, service = tmp_path / "run", str(remote_yaml(server, tmp_path))
    assert cli.main(["search", *SETTINGS, "--out", str(run), "--quiet"]) == 0
    assert cli.main(["sample", "--out", str(run), "--quiet"]) == 0
    assert cli.main(["train", "--out", str(run), "--quiet", "--service", service, "--per-trial", "3"]) == 0
    trained = files(run)
    assert json.loads((run / "candidates.json").read_text())[3]["expected_gain"] is not None  # by what came back
    assert sorted(trained) == sorted(
        f"candidates/c{index:02d}/{name}"
        for index in range(4)
        for name in ("architecture.json", "metrics.json", "predictions.npz", "weights.safetensors")
    )
    there = list(server.home.glob("nni-experiments/*/environments/*/trials/*/c*/metrics.json"))
    assert len(there) == 4 and not list(run.glob("nni/*/environments/*/trials/*"))

    # one candidate is lost here: it alone is trained again, on this machine, and is the same
    times = {path: path.stat().st_mtime_ns for path in run.glob("candidates/c*/*")}
    for name in ("metrics.json", "weights.safetensors", "predictions.npz"):
        (run / "candidates" / "c01" / name).unlink()
    assert cli.main(["train", "--out", str(run), "--quiet"]) == 0
    again = files(run)
    assert {name for name in trained if again[name] != trained[name]} <= {"candidates/c01/metrics.json"}
    assert all(path.stat().st_mtime_ns == time for path, time in times.items() if path.parent.name != "c01")
    first, second = (json.loads(found["candidates/c01/metrics.json"]) for found in (trained, again))
    took = dict.fromkeys(("seconds", "cpu_seconds", "latency_ms"))
    assert {**first, **took} == {**second, **took}


def test_a_host_key_that_has_changed_is_refused(server: SshServer, tmp_path: Path) -> None:
    machine = Machine("127.0.0.1", server.port, server.user, str(server.key), tmp_path / "a folder" / "known_hosts")
    assert machine.run('echo "$HOME"').strip() == str(server.home)
    name, kind, _ = machine.known_hosts.read_text().split()
    assert machine.run("echo again") == "again\n"
    other = key_pair(tmp_path / "other")
    machine.known_hosts.write_text(f"{name} {other.with_suffix('.pub').read_text()}")
    with pytest.raises(FetchError, match="Host key verification failed"):
        machine.run("echo again")
    machine.known_hosts.unlink()
    with pytest.raises(FetchError, match="Permission denied"):
        replace(machine, key=str(other)).run("echo again")
