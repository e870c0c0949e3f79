"""Fetching candidates: the protocol through a shell of this machine in the place of ssh, and files that lie."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nni.experiment.config import RemoteConfig, RemoteMachineConfig
from nni.nas.space import SimplifiedModelSpace
from safetensors.torch import save_file
from torch import nn

from nni_hypens import ImageData, InputError, image_evaluator
from nni_hypens.trials import remote as remote_training
from nni_hypens.trials.machine import MARK, FetchError, Machine
from nni_hypens.trials.received import FILES, Expected
from nni_hypens.trials.remote import Machines, RemoteTraining
from nni_hypens.trials.services import Service
from nni_hypens.utils.files import read_json, write_json
from tests.support.trials import Engine as LocalEngine, space, specs

SPEC = {
    "id": "c00", "architecture": {"a": 1}, "lam": 1.5, "shared_edges": 2, "seed": 7, "text": "one", "warm_start": False,
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A trial's output folder with a good candidate in it."""
    place = tmp_path / "nni-experiments" / "abc" / "environments" / "remote-worker2" / "trials" / "T1"
    folder = place / "c00"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_file(nn.Linear(3, 2).state_dict(), folder / "weights.safetensors")
    rows = np.random.default_rng(0).dirichlet([1, 1], size=12).astype(np.float32)
    np.savez_compressed(folder / "predictions.npz", val=rows[:8], test=rows[8:])
    (folder / "metrics.json").write_text(json.dumps(metrics()))
    return place


def metrics(**changes: Any) -> dict[str, Any]:
    about = {name: value for name, value in SPEC.items() if name not in ("architecture", "until")}
    costs = {"seconds": 1.5, "cpu_seconds": 1.0, "flops": 12, "latency_ms": 0.2}
    validation = {"accuracy": 0.5, "nll": 1.0, "ece": 0.1, "brier": 0.2, "aurc": 0.0}
    record = {"default": 0.5, "validation": validation, "history": [{"epoch": 0, "accuracy": 0.5}], **costs}
    return {**about, "status": "trained", **record, "parameters": 8, **changes}


def expected() -> Expected:
    return Expected(SPEC, nn.Linear(3, 2), 2, {"val": 8, "test": 4})


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    """Two machines that are this one: what ssh would run there, a shell runs here."""
    config = RemoteConfig(
        machine_list=[RemoteMachineConfig(host=f"m{n}", user="me", ssh_key_file="key") for n in (1, 2)]
    )
    monkeypatch.setattr(Machine, "command", lambda self, script: ["sh", "-c", f"echo hello; {script}"])
    return Machines(Service(config), tmp_path / "known_hosts")


def bring(machines: Machines, place: Path, target: Path) -> dict[str, Any]:
    return machines.bring(str(place), expected(), target / "c00")


def nothing_came(target: Path) -> bool:
    return not (target / "c00").exists() or not list((target / "c00").iterdir())


def test_a_candidate_comes_whole(machines: Machines, place: Path, tmp_path: Path) -> None:
    target = tmp_path / "candidates"
    record = bring(machines, place, target)
    assert sorted(path.name for path in (target / "c00").iterdir()) == sorted(FILES)
    for name in FILES[:2]:
        assert (target / "c00" / name).read_bytes() == (place / "c00" / name).read_bytes()
    assert json.loads((target / "c00" / "metrics.json").read_text()) == record == metrics()


def test_a_connection_that_is_cut_leaves_no_half_candidate(
    machines: Machines, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [(place / "c00" / name).stat().st_size for name in FILES]
    header = len(MARK) + 1 + sum(len(f"{size}\n") for size in sizes)
    total = header + sum(sizes)
    for count in (0, 3, 10, header - 1, header, header + 9, header + sizes[0], total - sizes[2], total - 1):
        monkeypatch.setattr(Machine, "command", lambda self, s, n=count: ["sh", "-c", f"({s}) | head -c {n}"])
        with pytest.raises(FetchError, match="cut off|cannot be read"):
            bring(machines, place, tmp_path / str(count))
        assert nothing_came(tmp_path / str(count))


def pickled(folder: Path) -> None:
    (folder / "weights.safetensors").write_bytes(pickle.dumps({"weight": [1.0]}))


def other_network(folder: Path) -> None:
    save_file({**nn.Linear(3, 2).state_dict(), "weight": torch.zeros(3, 2)}, folder / "weights.safetensors")


def not_finite(folder: Path) -> None:
    save_file({"weight": torch.full((2, 3), float("nan")), "bias": torch.zeros(2)}, folder / "weights.safetensors")


def far_too_long(folder: Path) -> None:
    with (folder / "weights.safetensors").open("ab") as file:
        file.truncate(10**9)


def no_probabilities(folder: Path) -> None:
    np.savez(folder / "predictions.npz", val=np.ones((8, 2), "f4"), test=np.full((4, 2), 0.5, "f4"))


def other_examples(folder: Path) -> None:
    np.savez(folder / "predictions.npz", val=np.full((9, 2), 0.5, "f4"), test=np.full((4, 2), 0.5, "f4"))


def objects(folder: Path) -> None:
    np.savez(folder / "predictions.npz", val=np.array([[{}]], dtype=object), test=np.full((4, 2), 0.5, "f4"))


def more_arrays(folder: Path) -> None:
    half = np.full((8, 2), 0.5, "f4")
    np.savez(folder / "predictions.npz", val=half, test=half[:4], more=half)


def claims_terabytes(folder: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 2)})
    with zipfile.ZipFile(folder / "predictions.npz", "w") as archive:
        for name in ("val", "test"):
            archive.writestr(f"{name}.npy", header.getvalue())


def unpacks_to_much(folder: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (8, 2)})
    with zipfile.ZipFile(folder / "predictions.npz", "w", zipfile.ZIP_BZIP2) as archive:
        for name in ("val", "test"):
            archive.writestr(f"{name}.npy", header.getvalue() + bytes(10**6))


def record(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: (folder / "metrics.json").write_text(json.dumps(metrics(**changes))) and None


@pytest.mark.parametrize(
    "lie",
    [
        pickled, other_network, not_finite, far_too_long, no_probabilities, other_examples, objects, more_arrays,
        claims_terabytes, unpacks_to_much, record(id="c01"), record(seed=8), record(status="failed"),
        record(default=float("nan")), record(seconds="1"), record(history=[1]), record(validation={}),
        lambda folder: (folder / "metrics.json").write_text("[]"),
        lambda folder: (folder / "metrics.json").write_text("{" * 5000),
        lambda folder: (folder / "metrics.json").unlink(),
    ],
)  # fmt: skip
def test_files_that_are_not_what_they_must_be(
    machines: Machines, place: Path, tmp_path: Path, lie: Callable[[Path], None]
) -> None:
    lie(place / "c00")
    with pytest.raises(FetchError) as error:
        bring(machines, place, tmp_path / "candidates")
    assert "\n" not in str(error.value) and nothing_came(tmp_path / "candidates")


def test_what_is_ours_is_not_taken_from_there(machines: Machines, place: Path, tmp_path: Path) -> None:
    record(parameters=10**9, lam=-1.0, more="<script>")(place / "c00")
    assert bring(machines, place, tmp_path / "candidates") == metrics()


@pytest.mark.parametrize("wrong", ["/etc", "relative", "/x/../nni-experiments/a/environments/b/trials/c", "/a'b\n"])
def test_only_output_folders_of_trials_are_read(machines: Machines, tmp_path: Path, wrong: str) -> None:
    with pytest.raises(FetchError, match="not an output folder"):
        bring(machines, Path(wrong), tmp_path / "candidates")


def test_the_machine_of_the_worker_is_asked_first(
    machines: Machines, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def command(machine: Machine, script: str) -> list[str]:
        asked.append(machine.host)
        return ["sh", "-c", "exit 1" if machine.host == "m2" else script]

    monkeypatch.setattr(Machine, "command", command)
    bring(machines, place, tmp_path / "candidates")
    assert asked == ["m2", "m1"]


def test_versions_are_compared(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"nni": "3.0", "nni_hypens": "0.1.0"}
    monkeypatch.setattr(Machine, "run", lambda self, script: f"greeting\n{json.dumps(here)}\n")
    machines.check(here)
    with pytest.raises(InputError, match=r"machineList\[0\]: got m1 with nni_hypens 0.1.0; expected nni_hypens 9"):
        machines.check({**here, "nni_hypens": "9"})
    monkeypatch.setattr(Machine, "run", lambda self, script: "")
    with pytest.raises(InputError, match="an unreadable answer"):
        machines.check(here)


def test_the_last_words_of_a_trial(machines: Machines, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(place.parents[4].parent))
    assert machines.last_error("abc") is None
    (place / "trial.stderr").write_text("Traceback\nValueError: too hot\n\n")
    (place.with_name("T2")).mkdir()
    (place.with_name("T2") / "trial.stderr").touch()
    assert machines.last_error("abc") == "ValueError: too hot"


def test_ssh_is_told_where_to_look_for_nothing_else(tmp_path: Path) -> None:
    words = Machine("h", 2222, "me", "/k", tmp_path / "a b%").command("echo 'x y'")
    assert words[:4] == ["ssh", "-F", "none", "-T"] and words[-2:] == ["h", "exec sh -c 'echo '\"'\"'x y'\"'\"''"]
    assert f'UserKnownHostsFile="{tmp_path}/a b%%" ~/.ssh/known_hosts' in words and "BatchMode=yes" in words


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_training, "PAUSE_SECONDS", 0.0)


class FakeMachines:
    """What trials wrote, and how often a fetch of it is cut off."""

    def __init__(self, cuts: dict[str, int] | None = None) -> None:
        self.cuts, self.asked = dict(cuts or {}), []

    def bring(self, place: str, expected: Expected, folder: Path) -> dict[str, Any]:
        name = expected.spec["id"]
        self.asked.append((name, place))
        assert expected.classes == 10 and expected.rows == {"val": 64, "test": 32}
        assert sum(value.numel() for value in expected.network.parameters()) > 0
        if self.cuts.get(name, 0) > 0:
            self.cuts[name] -= 1
            raise FetchError("cut off")
        record = {"id": name, "status": "trained", "default": 0.9}
        write_json(folder / "metrics.json", record)
        return record

    def last_error(self, experiment: str) -> str | None:
        return f"burnt in {experiment}"


class Engine(LocalEngine):
    """Trials of another machine: their files are elsewhere, and reports say where."""

    id = "abc"
    nodejs_binding = property(lambda self: self)

    def dispatch_model_event(self, event: Any) -> None:
        metric = getattr(event, "metric", None)
        if isinstance(metric, dict):
            metric["place"] = f"/there/{metric['candidate']}"
        super().dispatch_model_event(event)


def train(
    data: ImageData, tmp_path: Path, machines: FakeMachines, fates: dict[str, str], n: int = 3, **options: Any
) -> tuple[RemoteTraining, Engine]:
    strategy = RemoteTraining(
        specs(n), image_evaluator(data, 10, 1), data, tmp_path / "run", machines=machines, **options
    )
    engine = Engine(tmp_path / "there", fates)
    strategy(SimplifiedModelSpace.from_model(space()), engine)
    return strategy, engine


@pytest.mark.parametrize("per_trial", [1, 3])
def test_files_are_fetched_when_a_candidate_has_finished(data: ImageData, tmp_path: Path, per_trial: int) -> None:
    told: list[Any] = []
    machines = FakeMachines({"c01": 2})
    strategy, engine = train(
        data, tmp_path, machines, {}, per_trial=per_trial, concurrency=2, on_progress=lambda *what: told.append(what)
    )
    assert set(strategy.results) == {"c00", "c01", "c02"} and not strategy.failed
    assert machines.asked.count(("c01", "/there/c01")) == 3 and len(machines.asked) == 5
    assert sorted(name for name, _, done in told if done) == ["c00", "c01", "c02"]
    assert strategy.trial_directory is None and not list(tmp_path.glob("run/*/remote.json"))
    assert all((tmp_path / "run" / f"c{index:02d}" / "metrics.json").exists() for index in range(3))


def test_what_cannot_be_fetched_has_failed(data: ImageData, tmp_path: Path) -> None:
    strategy, _ = train(data, tmp_path, FakeMachines({"c01": 99}), {})
    assert set(strategy.results) == {"c00", "c02"} and strategy.failed == {"c01": "cut off"}
    assert not (tmp_path / "run" / "c01" / "metrics.json").exists()
    assert read_json(tmp_path / "run" / "c01" / "remote.json") == {"place": "/there/c01"}


def test_trials_that_end_without_a_word(data: ImageData, tmp_path: Path) -> None:
    """One had written everything, one nothing, and one said why it failed."""
    fates = {"c00": "silent", "c01": "killed", "c02": "fails"}
    strategy, _ = train(data, tmp_path, FakeMachines({"c01": 99, "c02": 99}), fates)
    assert set(strategy.results) == {"c00"}
    assert strategy.failed == {"c01": "burnt in abc", "c02": "c02 burns"}


def test_a_run_that_was_killed_fetches_what_has_finished_since(data: ImageData, tmp_path: Path) -> None:
    for name in ("c00", "c01"):
        write_json(tmp_path / "run" / name / "remote.json", {"place": f"/before/{name}"})
    (tmp_path / "run" / "c01" / ".fetch-x").mkdir()
    machines = FakeMachines({"c01": 1})
    strategy, engine = train(data, tmp_path, machines, {})
    assert engine.order == [["c01"], ["c02"]] and set(strategy.results) == {"c00", "c01", "c02"}
    assert machines.asked[:2] == [("c00", "/before/c00"), ("c01", "/before/c01")]
    assert not list(tmp_path.glob("run/*/remote.json")) and not list(tmp_path.glob("run/*/.fetch-*"))


def test_initial_weights_stay_here(data: ImageData, tmp_path: Path) -> None:
    warm = [replace(spec, warm_start=True) for spec in specs(1)]
    with pytest.raises(InputError, match="^warm_start"):
        RemoteTraining(warm, image_evaluator(data, 10, 1), data, tmp_path, machines=FakeMachines())
