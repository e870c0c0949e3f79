"""Experiments of a finished run, shown again: what is copied, and what is not."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from nni_hypens.errors import InputError
from nni_hypens.trials import view
from nni_hypens.trials.view import TABLES, copy_database, stored_experiments, view_experiment
from tests.support.loaded import own_ports

PARAMS = {
    "experimentName": "mine\x1b[2J",
    "searchSpace": {},
    "maxTrialNumber": 3,
    "trialCommand": "touch /tmp/was-run",
    "trainingService": {"platform": "remote", "machineList": [{"host": "far.example"}]},
    "tuner": {"classFileName": "evil.py"},
}


def store(run: Path, name: str = "abcd1234", start: int = 5, params: str = json.dumps(PARAMS)) -> Path:
    """Write an experiment of three trials: one ended, one with its result, one cut short."""
    path = run / "nni" / name / "db" / "nni.sqlite"
    path.parent.mkdir(parents=True)
    events = [(1, "a", "WAITING"), (2, "b", "WAITING"), (3, "c", "RUNNING"), (4, "a", "SUCCEEDED"), (5, "b", "RUNNING")]
    result = json.dumps(json.dumps({"default": 0.5, "lam": 2.0}))
    with closing(sqlite3.connect(path)) as database, database:
        for table, columns in TABLES.items():
            database.execute(f"create table {table} ({columns})")
        database.executemany(
            "insert into TrialJobEvent values (?, ?, ?, '{\"id\": 0}', 'file://localhost:/etc', 0, '', 'e')", events
        )
        database.executemany(
            "insert into MetricData values (?, ?, '0', 'FINAL', 0, ?)", [(4, "a", result), (5, "b", result)]
        )
        for revision in (1, 0):  # the last state is not the last row
            text = params if revision else "{}"
            row = (text, name, 9, start, 77, "/somewhere", 3, revision)
            database.execute("insert into ExperimentProfile values (?, ?, ?, ?, ?, ?, ?, ?)", row)
    return path


def read(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


def test_experiments_are_listed_in_the_order_of_time(tmp_path: Path) -> None:
    store(tmp_path, "late", 9)
    store(tmp_path, "early", 2)
    (tmp_path / "nni" / "_latest").symlink_to("late")
    (tmp_path / "nni" / "none").mkdir()  # NNI's search without a web UI has no database
    found = stored_experiments(tmp_path)
    assert [(one.id, one.title, one.trials) for one in found] == [
        ("early", r"mine\x1b[2J", 3), ("late", r"mine\x1b[2J", 3)
    ]  # fmt: skip


def test_a_copy_runs_nothing_and_ends_every_trial(tmp_path: Path) -> None:
    path = store(tmp_path / "run")
    before = path.read_bytes()
    copy_database(stored_experiments(tmp_path / "run")[0], tmp_path / "copy")
    copy = tmp_path / "copy" / "abcd1234" / "db" / "nni.sqlite"
    ((params, folder),) = read(copy, "select params, logDir from ExperimentProfile")
    shown = json.loads(params)
    assert shown["trainingService"] == {"platform": "local"} and shown["trialCommand"] == "" and "tuner" not in shown
    assert shown["experimentName"] == PARAMS["experimentName"] and folder == str(tmp_path / "copy" / "abcd1234")
    last = dict(read(copy, "select trialJobId, event from TrialJobEvent order by rowid"))
    assert last == {"a": "SUCCEEDED", "b": "SUCCEEDED", "c": "SYS_CANCELED"}
    assert read(copy, "select timestamp from TrialJobEvent order by rowid desc limit 1") == [(77,)]
    assert read(copy, "select * from MetricData") == read(path, "select * from MetricData")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"no database", "not a database"),
        (b"", "no such table"),
        ("[3]", "params: got list"),
        ("{", "params: got invalid JSON"),
        ("big", "MB; expected at most"),
    ],
)
def test_what_is_no_experiment_is_named(
    tmp_path: Path, content: bytes | str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store(tmp_path, params=content if isinstance(content, str) else "{}")
    if isinstance(content, bytes):
        path.write_bytes(content)
    if content == "big":
        monkeypatch.setattr(view, "MAX_BYTES", 10)
    with pytest.raises(InputError, match=says) as error:
        stored_experiments(tmp_path)
    assert "nni.sqlite" in str(error.value) and "\n" not in str(error.value)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, str, int]]:
    """Folder, experiment and port of each manager, which is played."""
    asked: list[tuple[Path, str, int]] = []

    @contextmanager
    def manager(folder: Path, experiment: str, port: int) -> Iterator[Any]:
        assert (folder / experiment / "db" / "nni.sqlite").exists()
        asked.append((folder, experiment, port))
        yield SimpleNamespace(poll=lambda: None)

    monkeypatch.setattr(view, "viewing_manager", manager)
    return asked


def interrupt(seconds: float) -> None:
    raise KeyboardInterrupt


def test_the_last_experiment_is_shown_until_ctrl_c(tmp_path: Path, shown: list[tuple[Path, str, int]]) -> None:
    store(tmp_path, "first", 1)
    store(tmp_path, "second", 2)
    said: list[str] = []
    port = own_ports()[0]
    view_experiment(tmp_path, port=port, say=said.append, wait=interrupt)
    view_experiment(tmp_path, "first", port, said.append, interrupt)
    assert [(name, number) for _, name, number in shown] == [("second", port), ("first", port)]
    assert f"http://127.0.0.1:{port}" in said[0] and "--experiment first" in said[1]
    assert not any(folder.exists() for folder, _, _ in shown)


def test_what_cannot_be_shown_is_said(tmp_path: Path, shown: list[tuple[Path, str, int]]) -> None:
    with pytest.raises(InputError, match="^DIR: .*without experiments"):
        view_experiment(tmp_path)
    store(tmp_path)
    with pytest.raises(InputError, match="^experiment: got 'x'; expected one of abcd1234"):
        view_experiment(tmp_path, "x")
    with pytest.raises(InputError, match="^port: got 80;"):
        view_experiment(tmp_path, port=80)
    assert not shown


@pytest.mark.end_to_end
def test_the_web_ui_shows_the_trials_on_loopback(tmp_path: Path) -> None:
    """NNI's own manager, without trials of its own."""
    store(tmp_path)
    port, answers = own_ports()[1], []

    def ask(seconds: float) -> None:
        address = f"http://127.0.0.1:{port}"
        jobs = requests.get(f"{address}/api/v1/nni/trial-jobs", timeout=20).json()
        answers.append({job["trialJobId"]: job["status"] for job in jobs})
        answers.append(requests.get(f"{address}/api/v1/nni/check-status", timeout=20).json()["status"])
        answers.append(requests.get(address, headers={"Host": "evil.example"}, timeout=20).status_code)
        raise KeyboardInterrupt

    view_experiment(tmp_path, port=port, say=lambda text: None, wait=ask)
    assert answers == [{"a": "SUCCEEDED", "b": "SUCCEEDED", "c": "SYS_CANCELED"}, "VIEWED", 403]
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}", timeout=5)
