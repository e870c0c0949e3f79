"""A search live in NNI's web UI: what is sent, when, by whom; and real ones, watched through the REST interface."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from nni.nas.experiment import NasExperiment, NasExperimentConfig
from nni.runtime import trial_command_channel
from nni.runtime.trial_command_channel import TrialCommandChannel

from nni_hypens import EdgeNES, image_evaluator, watch_search
from nni_hypens._nni import TrialLink
from nni_hypens.errors import InputError
from nni_hypens.run.pipeline import Run
from nni_hypens.search import reports as live_reports
from nni_hypens.search.reports import LiveReports, epoch_metric, is_live
from nni_hypens.trials import live
from nni_hypens.utils.processes import LIVE
from search_spaces import OneCell
from tests.support.commands import Child, Ended
from tests.support.loaded import free_port
from tests.support.runs import get, reachable_from_outside

WARM = {"epoch": 0, "phase": "warmup", "loss": 2.5, "accuracy": None, "val_loss": None, "seconds": 1.0}
BASE = {"epoch": 1, "phase": "base", "loss": 2.0, "accuracy": 0.5, "val_loss": 1.5}
LAST = {"epoch": 2, "phase": "hypernetwork", "loss": 1.0, "accuracy": 0.75, "val_loss": 1.25, "dial_error": 0.5}


class FakeChannel(TrialCommandChannel):
    """NNI's manager, as a trial sees it."""

    def __init__(self) -> None:
        self.asked = 0
        self.sent: list[tuple[Any, ...]] = []

    def receive_parameter(self) -> Any:
        self.asked += 1
        return {"parameter_id": 7, "parameters": {}}

    def send_metric(self, type: str, parameter_id: int | None, trial_job_id: str, sequence: int, value: Any) -> None:  # noqa: A002
        self.sent.append((type, parameter_id, trial_job_id, sequence, value))


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeChannel]:
    """As inside the trial of a live search."""
    channel = FakeChannel()
    monkeypatch.setattr(trial_command_channel, "_channel", channel)
    monkeypatch.setattr("nni.trial._params", None)
    monkeypatch.setattr(live_reports, "_reports", None)
    for name, value in (("NNI_PLATFORM", "local"), ("NNI_EXP_ID", "exp"), ("NNI_TRIAL_JOB_ID", "job")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(LIVE, "exp/job")
    yield channel


def fake_search(*rows: dict[str, Any], zero: bool = True) -> Any:
    return SimpleNamespace(history=list(rows), trainer=SimpleNamespace(is_global_zero=zero), listeners=[])


# ---- what is sent ---------------------------------------------------------------------------------------------------


def test_default_is_the_validation_loss_or_in_the_warm_up_the_training_loss() -> None:
    assert epoch_metric(WARM) == {"default": 2.5, "loss": 2.5, "epoch": 0.0, "phase": 0.0}
    assert epoch_metric(BASE) == {
        "default": 1.5, "loss": 2.0, "val_loss": 1.5, "accuracy": 0.5, "epoch": 1.0, "phase": 1.0,
    }  # fmt: skip
    assert epoch_metric(LAST)["dial_error"] == 0.5 and epoch_metric(LAST)["phase"] == 2.0
    assert "default" not in epoch_metric({**WARM, "loss": math.nan})  # which NNI could not order


def test_each_epoch_is_sent_once_and_the_first_names_every_curve(trial: FakeChannel) -> None:
    reports, search = LiveReports(TrialLink()), fake_search(WARM)
    reports(search)
    search.history.append(BASE)
    reports(search)
    search.history.append(LAST)
    reports(search)
    reports.finish(search)
    assert [(sent[0], sent[3]) for sent in trial.sent] == [
        ("PERIODICAL", 0), ("PERIODICAL", 1), ("PERIODICAL", 2), ("FINAL", 0),
    ]  # fmt: skip
    assert {sent[1:3] for sent in trial.sent} == {(7, "job")} and trial.asked == 1
    first = trial.sent[0][4]
    assert set(epoch_metric(LAST)) <= set(first) and math.isnan(first["dial_error"]) and first["default"] == 2.5
    assert trial.sent[1][4] == epoch_metric(BASE) and trial.sent[3][4] == epoch_metric(LAST)


def test_a_resumed_search_sends_what_it_did_before(trial: FakeChannel) -> None:
    LiveReports(TrialLink())(fake_search(WARM, BASE, LAST))
    assert [sent[4]["epoch"] for sent in trial.sent] == [0, 1, 2]


def test_only_rank_zero_sends_and_asks(trial: FakeChannel) -> None:
    reports = LiveReports(TrialLink())
    reports(fake_search(WARM, zero=False))
    reports.finish(fake_search(WARM, zero=False))
    assert trial.sent == [] and trial.asked == 0


def test_a_script_that_asked_for_its_parameter_is_not_left_waiting(
    trial: FakeChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nni.trial._params", {"parameter_id": 3, "parameters": {"command": "x"}})
    TrialLink().send("FINAL", {"default": 1.0})
    assert trial.asked == 0 and trial.sent == [("FINAL", 3, "job", 0, {"default": 1.0})]


def test_a_lost_manager_ends_the_view_and_not_the_search(trial: FakeChannel, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        trial.asked += 1
        raise ConnectionError("gone")

    monkeypatch.setattr(trial, "send_metric", refuse)
    reports, search = LiveReports(TrialLink()), fake_search(WARM)
    with pytest.warns(UserWarning, match="live view of the search has ended: ConnectionError: gone"):
        reports(search)
    search.history.append(BASE)
    reports(search)
    reports.finish(search)
    assert trial.asked == 2  # one parameter, one metric


def run_search(digits: Any) -> EdgeNES:
    torch.manual_seed(0)
    strategy = EdgeNES(seed=3, warmup_epochs=1, base_epochs=1)
    experiment = NasExperiment(
        OneCell(channels=2, in_channels=1),
        image_evaluator(digits, 10, epochs=3),
        strategy,
        NasExperimentConfig("sequential", "raw", "local"),
    )
    experiment.run()
    return strategy


def test_edgenes_reports_by_itself_and_only_in_such_a_trial(
    trial: FakeChannel, digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_live()
    live = run_search(digits)
    assert [(sent[0], sent[4]["epoch"]) for sent in trial.sent] == [
        ("PERIODICAL", 0), ("PERIODICAL", 1), ("PERIODICAL", 2), ("FINAL", 2),
    ]  # fmt: skip
    assert {"loss", "val_loss", "accuracy", "dial_error"} <= set(trial.sent[-1][4]) and trial.asked == 1
    run_search(digits)  # another search of the same script: no second parameter, no second final metric
    assert [sent[0] for sent in trial.sent].count("FINAL") == 1 and len(trial.sent) == 7 and trial.asked == 1
    monkeypatch.setenv("NNI_TRIAL_JOB_ID", "other")  # a trial of somebody's experiment, started in the search
    assert not is_live()
    plain = run_search(digits)
    assert len(trial.sent) == 7
    assert plain.base_architecture == live.base_architecture
    assert [row["loss"] for row in plain.history] == [row["loss"] for row in live.history]


def test_nothing_is_live_without_nni(trial: FakeChannel, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NNI_PLATFORM", "NNI_EXP_ID", LIVE):
        with monkeypatch.context() as context:
            context.delenv(name)
            assert not is_live()


# ---- bad input ------------------------------------------------------------------------------------------------------


def test_bad_commands_are_refused_before_anything_is_started(tmp_path: Path) -> None:
    for command, field in (
        ([], "command"), ("python x.py", "command"), (["no-such-program-here"], "command"),
    ):  # fmt: skip
        with pytest.raises(InputError) as error:
            watch_search(command, directory=tmp_path / "nni")
        assert error.value.field == field
    with pytest.raises(InputError, match="port"):
        watch_search([sys.executable, "x.py"], port=80, directory=tmp_path / "nni")
    assert not (tmp_path / "nni").exists()


def test_the_manager_of_a_run_that_goes_on_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nni_hypens.run.pipeline.check_trial_parts", lambda *parts, local: None)  # this plan has none
    same = {"seed_scheme": 1, "data_checksum": "abc"}
    nothing = dict.fromkeys(("evaluator", "search_evaluator", "data", "updates"))
    plan = SimpleNamespace(identity={}, fingerprint=same, command="", **nothing)
    first = Run(plan, tmp_path)  # type: ignore[arg-type]
    first.prepare()
    (tmp_path / "nni").mkdir()
    (tmp_path / "nni" / "manager.json").write_text(json.dumps({"experiment": "x", "port": 1, "owner": 1}))
    with first.locked(), pytest.raises(InputError, match="in use by another run"):
        Run(plan, tmp_path).prepare()  # type: ignore[arg-type]
    assert (tmp_path / "nni" / "manager.json").exists()
    Run(plan, tmp_path).prepare()  # type: ignore[arg-type]
    assert not (tmp_path / "nni" / "manager.json").exists()


@pytest.mark.parametrize("gone", [True, False])
def test_a_search_that_ended_with_its_manager_says_so(
    gone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have ended before the manager was asked again; a failure of its own is passed on."""
    watch: Any = object.__new__(live._Watch)
    watch.state, watch.folder, watch.last_words = tmp_path / "state.json", tmp_path, lambda: "killed"
    watch.experiment = SimpleNamespace(id="x")
    watch.state.write_text(json.dumps({"code": 1, "output": str(tmp_path)}))

    def jobs() -> list[str]:
        if gone:
            raise ConnectionError
        return ["FAILED"]

    monkeypatch.setattr(watch, "_jobs", jobs)
    if gone:
        with pytest.raises(RuntimeError, match="NNI's manager has ended; killed"):
            watch._follow()
    else:
        assert watch._follow() == 1


# ---- real ones ------------------------------------------------------------------------------------------------------

SETTINGS = [
    *("--space-args", "channels=2", "--search-epochs", "12"),
    *("--train-size", "300", "--validation-size", "200", "--test-size", "100"),
]
SCRIPT = """
import sys
from nni.nas.experiment import NasExperiment
from nni_hypens import EdgeNES, ImageData, image_evaluator
from search_spaces import OneCell

data = ImageData("digits", train_size=300, validation_size=200, test_size=100)
strategy = EdgeNES(seed=0)
epochs = int(sys.argv[1])
NasExperiment(OneCell(channels=2, in_channels=1), image_evaluator(data, 10, epochs=epochs), strategy).run()
print(len(strategy.history), "epochs")
if "fail" in sys.argv:
    raise ValueError("as asked")
"""


def closed(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def result(folder: Path) -> dict[str, Any]:
    """What a search leaves, without times."""
    files = ("base.json", "hypernetwork.safetensors", "supernet.safetensors")
    history = [line.rsplit(",", 1)[0] for line in (folder / "search" / "history.csv").read_text().splitlines()]
    return {"history": history, **{name: (folder / "search" / name).read_bytes() for name in files}}


def metrics(port: int, kind: str = "PERIODICAL") -> list[dict[str, Any]]:
    found = get(f"http://127.0.0.1:{port}/api/v1/nni/metric-data") or []
    found = sorted((metric for metric in found if metric["type"] == kind), key=lambda metric: metric["sequence"])
    return [json.loads(json.loads(metric["data"])) for metric in found]


def leftovers(folder: Path) -> list[list[str]]:
    commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [command for command in commands if str(folder) in " ".join(command)]


def at_least(port: int, n: int) -> Callable[[], Any]:
    return lambda: len(metrics(port)) >= n and metrics(port)


def ended(child: Child, code: int = 0) -> Ended:
    """How a command ended, which must be with this code."""
    found = child.end()
    assert found.code == code, found
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("plain") / "run"
    ended(Child(["search", *SETTINGS, "--out", folder]))
    return result(folder)


@pytest.mark.end_to_end
def test_a_live_search_is_seen_and_has_the_same_result(plain: dict[str, Any], tmp_path: Path) -> None:
    folder, port = tmp_path / "run", free_port()
    search = Child(["search", *SETTINGS, "--out", folder, "--live", "--port", str(port)], trials="real")
    search.until(at_least(port, 5), pause=0.1)
    seen = metrics(port)
    assert not (folder / "search" / "base.json").exists() or len(metrics(port)) == 12  # seen while it runs
    jobs, outside = get(f"http://127.0.0.1:{port}/api/v1/nni/trial-jobs"), reachable_from_outside(port)
    assert f"http://127.0.0.1:{port}" in ended(search).err and closed(port) and outside == []
    assert [metric["phase"] for metric in seen[:5]] == [0, 0, 1, 1, 1] and seen[0]["default"] == seen[0]["loss"]
    assert all({"default", "loss", "accuracy", "val_loss"} <= set(metric) for metric in seen[2:])
    assert len(jobs) == 1 and json.loads(jobs[0]["hyperParameters"][0])["parameters"]["data"] == "digits"
    assert result(folder) == plain and not leftovers(folder)
    assert "\nlive" not in (folder / "config.yaml").read_text() and not (folder / "nni" / "manager.json").exists()


@pytest.mark.end_to_end
def test_a_killed_live_search_goes_on_where_it_was(plain: dict[str, Any], tmp_path: Path) -> None:
    folder, port = tmp_path / "run", free_port()
    command = ["search", *SETTINGS, "--out", folder, "--live", "--port", str(port)]
    search = Child(command, trials="real")
    search.until(at_least(port, 4), pause=0.1)
    search.kill()
    search = Child(command, trials="real")  # at once: manager and search of the killed one are still there
    manager = folder / "nni" / "manager.json"
    search.until(lambda: manager.exists() and json.loads(manager.read_text())["owner"] == search.pid, pause=0.1)
    search.until(at_least(port, 5), pause=0.1)
    assert [metric["epoch"] for metric in metrics(port)[:5]] == [0, 1, 2, 3, 4]
    os.kill(search.pid, signal.SIGINT)
    errors = ended(search, 130).err
    assert f"nni-hypens run --out {folder} --resume" in errors and "Traceback" not in errors
    assert closed(port) and not leftovers(folder)
    ended(Child(["search", "--out", folder, "--resume"]))  # with or without a view, it is the same search
    assert result(folder) == plain


def watched(folder: Path, port: int, *arguments: str) -> Child:
    """A script that is watched, once it has told of an epoch."""
    script = folder / "my_search.py"
    script.write_text(SCRIPT)
    options = ["--port", str(port), "--directory", folder / "nni"]
    child = Child(["watch", *options, "--", sys.executable, script, *arguments], trials="real")
    child.until(at_least(port, 1), pause=0.1)
    return child


@pytest.mark.end_to_end
def test_a_script_is_watched_and_its_failure_is_its_own(tmp_path: Path) -> None:
    port = free_port()
    found = ended(watched(tmp_path, port, "4", "fail"), 1)
    assert "4 epochs" in found.out and found.err.rstrip().endswith("ValueError: as asked") and closed(port)
    search = watched(tmp_path, port, "500")
    os.kill(search.pid, signal.SIGINT)
    ended(search, 130)
    assert closed(port) and not leftovers(tmp_path)


@pytest.mark.end_to_end
def test_nothing_waits_for_a_manager_that_is_gone(tmp_path: Path) -> None:
    search = watched(tmp_path, free_port(), "500")
    for child in psutil.Process(search.pid).children():
        if "--experiment-id" in child.cmdline():
            child.kill()
    assert "NNI's manager has ended" in ended(search, 1).err and not leftovers(tmp_path)
