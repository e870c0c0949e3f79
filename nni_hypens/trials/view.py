"""Experiments of a finished run in NNI's web UI again.

The web UI shows a copy: of the database in a run folder, which may come from anybody, only the rows are taken, into a
new database in a temporary folder, with a training service that runs nothing. The run folder does not change.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nni_hypens._manager import viewing_manager
from nni_hypens.errors import InputError, printable, reason
from nni_hypens.trials.live import OVER
from nni_hypens.utils.files import check_file, parse_json, why
from nni_hypens.utils.ports import held_port
from nni_hypens.utils.run_files import RunFiles

LOOK_SECONDS = 0.5
MAX_BYTES = 2**28
"""Largest database that is opened; each trial needs some kilobytes."""
TABLES = {
    "TrialJobEvent": "timestamp integer, trialJobId text, event text, data text, logPath text, sequenceId integer, "
    "message text, environmentId text",
    "MetricData": "timestamp integer, trialJobId text, parameterId text, type text, sequence integer, data text",
    "ExperimentProfile": "params text, id text, execDuration integer, startTime integer, endTime integer, logDir text, "
    "nextSequenceId integer, revision integer",
}
"""NNI 3.0's tables and their columns."""
SHOWN = (
    "experimentName",
    "experimentType",
    "searchSpace",
    "maxTrialNumber",
    "trialConcurrency",
    "maxExperimentDuration",
)
"""What is kept of an experiment's configuration; the rest says what to run, and where."""


@dataclass(frozen=True)
class StoredExperiment:
    """An experiment in a run folder.

    Args:
        id: NNI's name of it.
        title: Its name in the web UI.
        start: When it began, in milliseconds since 1970.
        trials: Number of its trials.
        database: Its file.
    """

    id: str
    title: str
    start: int
    trials: int
    database: Path


def stored_experiments(run: Path) -> list[StoredExperiment]:
    """Experiments of a run folder that the web UI can show, the first one first.

    Raises:
        InputError: A database is not NNI's.
    """
    found = []
    for path in sorted(RunFiles(run).nni.glob("*/db/nni.sqlite")):
        if path.parents[1].is_symlink() or path.is_symlink():  # `_latest`, or a way out of the folder
            continue
        with _rows(path) as rows:
            profile = _profile(path, rows)
            trials = {row["trialJobId"] for row in rows("TrialJobEvent")}
        title = printable(_configuration(path, profile).get("experimentName") or path.parents[1].name)
        start = profile["startTime"] if isinstance(profile["startTime"], int) else 0
        found.append(StoredExperiment(path.parents[1].name, title, start, len(trials), path))
    return sorted(found, key=lambda one: one.start)


def view_experiment(
    run: Path,
    experiment: str | None = None,
    port: int | None = None,
    say: Callable[[str], None] = print,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Show an experiment of a run in NNI's web UI, on loopback, until Ctrl-C.

    Args:
        run: The run folder.
        experiment: NNI's id of the experiment; None for the last one.
        port: Port of the web UI; None for the first free one from 8080.
        say: Called with a line of text.
        wait: Called again and again while the web UI is there; KeyboardInterrupt ends it.

    Raises:
        InputError: There is no such experiment, or the port is taken.
        RuntimeError: NNI's manager has ended.
    """
    found = stored_experiments(run)
    if not found:
        expected = "a run whose trials NNI has carried out; its report shows the same, and --runner local has no web UI"
        raise InputError("DIR", f"{run} without experiments of NNI", expected)
    known = {one.id: one for one in found}
    if experiment is not None and experiment not in known:
        raise InputError("experiment", repr(experiment), f"one of {', '.join(known)}")
    chosen = found[-1] if experiment is None else known[experiment]
    with tempfile.TemporaryDirectory(prefix="nni-hypens-view-") as folder:
        copy_database(chosen, Path(folder))
        with held_port(port) as free, viewing_manager(Path(folder), chosen.id, free) as manager:
            say(f"{chosen.title}, {chosen.trials} trials, in NNI's web UI: http://127.0.0.1:{free} (Ctrl-C ends it)")
            for other in found:
                if other is not chosen:
                    say(f"  --experiment {other.id}: {other.title}, {other.trials} trials")
            try:
                while manager.poll() is None:
                    wait(LOOK_SECONDS)
            except KeyboardInterrupt:
                return
            raise RuntimeError("NNI's manager has ended")


def copy_database(experiment: StoredExperiment, folder: Path) -> None:
    """Write the rows of an experiment into a new database, ``folder/ID/db/nni.sqlite``.

    Trials that the end of the run has cut short are ended: as succeeded if they had reported their result.

    Raises:
        InputError: The database is not NNI's.
    """
    target = folder / experiment.id / "db" / "nni.sqlite"
    target.parent.mkdir(parents=True)
    with _rows(experiment.database) as rows:
        profile = _profile(experiment.database, rows)
        configuration = _configuration(experiment.database, profile)
        shown = {name: configuration[name] for name in SHOWN if name in configuration}
        # nothing of this runs: it is what the manager insists on
        shown |= {"trainingService": {"platform": "local"}, "trialCommand": "", "trialCodeDirectory": str(folder)}
        profile |= {"params": json.dumps(shown), "id": experiment.id, "logDir": str(folder / experiment.id)}
        tables = {name: list(rows(name)) for name in ("TrialJobEvent", "MetricData")}
    tables["ExperimentProfile"] = [profile]
    tables["TrialJobEvent"] += _ends(tables, profile)
    with closing(sqlite3.connect(target)) as copy, copy:
        for name, columns in TABLES.items():
            copy.execute(f"create table {name} ({columns})")
            places = ", ".join(f":{column}" for column in _columns(name))
            copy.executemany(f"insert into {name} values ({places})", tables[name])


def _ends(tables: dict[str, list[dict[str, Any]]], profile: dict[str, Any]) -> list[dict[str, Any]]:
    """Last events of the trials that have none."""
    last = {row["trialJobId"]: row for row in tables["TrialJobEvent"]}
    finished = {row["trialJobId"] for row in tables["MetricData"] if row["type"] == "FINAL"}
    moment = profile["endTime"] or max((row["timestamp"] or 0 for row in tables["MetricData"]), default=0)
    return [
        {**row, "timestamp": moment, "event": "SUCCEEDED" if name in finished else "SYS_CANCELED", "data": None}
        for name, row in last.items()
        if row["event"] not in OVER
    ]


@contextmanager
def _rows(path: Path) -> Iterator[Callable[[str], Iterator[dict[str, Any]]]]:
    """Open a database to read; gives a function that returns the rows of a table, of plain values."""
    expected = "the database of an experiment as NNI wrote it"
    try:
        check_file(path)
    except OSError as error:
        raise InputError(str(path), why(error), expected) from None
    if path.stat().st_size > MAX_BYTES:
        raise InputError(str(path), f"{path.stat().st_size / 2**20:.0f} MB", f"at most {MAX_BYTES / 2**20:.0f} MB")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1", uri=True)) as source:
            source.row_factory = sqlite3.Row
            source.execute("pragma trusted_schema = off")

            def rows(name: str) -> Iterator[dict[str, Any]]:
                for row in source.execute(f"select {', '.join(_columns(name))} from {name} order by rowid"):
                    yield {key: row[key] if isinstance(row[key], (int, str)) else None for key in row.keys()}

            yield rows
    except sqlite3.Error as error:
        raise InputError(str(path), reason(error), expected) from None


def _columns(table: str) -> list[str]:
    return [column.split()[0] for column in TABLES[table].split(", ")]


def _profile(path: Path, rows: Callable[[str], Iterator[dict[str, Any]]]) -> dict[str, Any]:
    """The last state of the experiment itself."""
    found = max(rows("ExperimentProfile"), key=lambda row: row["revision"] or 0, default=None)
    if found is None:
        raise InputError(str(path), "no experiment", "the database of an experiment as NNI wrote it")
    return found


def _configuration(path: Path, profile: dict[str, Any]) -> dict[str, Any]:
    try:
        value = parse_json(str(profile["params"]))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: params", f"invalid JSON ({reason(error)})", "what NNI wrote") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: params", type(value).__name__, "a mapping")
    return value
