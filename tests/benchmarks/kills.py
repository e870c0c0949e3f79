"""Kill a run at random moments, count what is left of it after ten seconds, and resume it.

Twenty kills by four signals, at seeded moments: some time after the run has begun, has its folder, has NNI's manager,
has a trial, has a trained candidate. Half of the SIGTERM and SIGHUP go to all processes of the run at once, as Slurm,
systemd and a closed terminal send them. After each kill the same folder is resumed, and that run is killed next; the
last one may finish. Takes about a quarter of an hour.

    python -m tests.benchmarks.kills --out tests/benchmarks/results/kills.json
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from nni_hypens.utils.processes import ProcessName

SIGNALS = {"SIGKILL": -9, "SIGTERM": 143, "SIGHUP": 129, "SIGINT": 130}
"""Signal -> exit code of the run."""
MOMENTS: dict[str, Callable[[Path], int]] = {
    "begin": lambda run: 1,
    "folder": lambda run: int((run / "config.yaml").exists()),
    "manager": lambda run: max((one.stat().st_mtime_ns for one in run.glob("nni/manager.json")), default=0),
    "trial": lambda run: len(list(run.glob("nni/*/environments/*/trials/*/trial.stderr"))),
    "candidate": lambda run: len(list(run.glob("candidates/*/metrics.json"))),
}
"""Moment -> a number that grows when it comes."""
SETTINGS = "--search-epochs 6 --epochs 8 --candidates 6 --members 2 --adaptive 0 --train-size 400 --quiet".split()
DELAY, GRACE = 6.0, 10.0
"""Seconds: the longest delay after the moment, and the time that a killed run has to be gone."""


def schedule(kills: int, seed: int) -> list[dict[str, Any]]:
    """What to do: as many of each signal, moments in turn, delays at random."""
    draws = random.Random(seed)
    names = [list(SIGNALS)[i % len(SIGNALS)] for i in range(kills)]
    draws.shuffle(names)
    plan: list[dict[str, Any]] = []
    for i, name in enumerate(names):
        whole = name in ("SIGTERM", "SIGHUP") and sum(row["signal"] == name for row in plan) % 2 == 1
        moment = list(MOMENTS)[i % len(MOMENTS)]
        delay = round(draws.uniform(0, DELAY * (3 if moment == "begin" else 1)), 2)
        plan.append({"signal": name, "to": "all" if whole else "command", "moment": moment, "delay": delay})
    return plan


def family(run: Path, known: set[ProcessName]) -> set[ProcessName]:
    """Processes of a run that still run: seen before, or recognised by command line or environment."""
    found = {name for name in known if name.runs()}
    for process in psutil.process_iter():
        try:
            texts = [*process.cmdline(), process.environ().get("NNI_SYS_DIR", "")]
        except psutil.Error:
            continue
        if any(str(run) in text for text in texts) and (name := ProcessName.of(process.pid)):
            found.add(name)
    return found


def children(pid: int) -> set[ProcessName]:
    try:
        found = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return set()
    return {name for child in found if (name := ProcessName.of(child.pid))}


def start(run: Path, errors: Path) -> subprocess.Popen[bytes]:
    """The run, or its continuation, without a terminal."""
    begun = (run / "config.yaml").exists()
    words = ["--out", str(run), *(["--resume", "--quiet"] if begun else SETTINGS)]
    with errors.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "nni_hypens", "run", *words], stdout=stream, stderr=stream,
            start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip


def kill(process: subprocess.Popen[bytes], run: Path, errors: Path, row: dict[str, Any]) -> dict[str, Any]:
    """Wait for the moment, send the signal, and see what is left; without "left" if the run ended before."""
    count = MOMENTS[row["moment"]]
    wanted, known = 1 if row["moment"] == "begin" else count(run) + (row["moment"] != "folder"), set()
    due = None
    while process.poll() is None and (due is None or time.monotonic() < due):
        if due is None and count(run) >= wanted:
            due = time.monotonic() + row["delay"]
        time.sleep(0.05)
    if process.poll() is not None:
        return {**row, "code": process.returncode}
    known = {ProcessName.of(process.pid), *children(process.pid)} - {None}
    begun = time.monotonic()
    for name in known if row["to"] == "all" else [ProcessName.of(process.pid)]:
        if name is not None and name.runs():
            psutil.Process(name.pid).send_signal(getattr(signal, row["signal"]))
    while (left := family(run, known)) and time.monotonic() < begun + GRACE:
        time.sleep(0.1)
        process.poll()
    seconds = round(time.monotonic() - begun, 1)
    for name in left:
        print("left:", name, psutil.Process(name.pid).cmdline())
    process.wait(60)
    lines = [line for line in errors.read_text().splitlines() if line.strip()]
    # Python ends so if it was importing; to a shell it is the same
    code = 130 if process.returncode == -signal.SIGINT else process.returncode
    return {**row, "processes": len(known), "code": code, "seconds": seconds, "left": len(left),
            "lines": len(lines)}  # fmt: skip


def main() -> None:
    """Kill, count, resume, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="kills-"))
    rows, finished, number = [], [], 0
    for row in schedule(arguments.kills, arguments.seed):
        while True:
            run, errors = place / f"run{number}", place / "errors"
            found = kill(start(run, errors), run, errors, row)
            if "left" in found:
                break
            finished.append(found["code"])  # it came to its end before the moment: the next folder
            number += 1
        rows.append(found)
        print(found, flush=True)
    errors = place / "errors"
    finished.append(start(run, errors).wait())
    print(errors.read_text()[-2000:] if finished[-1] else "", end="")
    summary = {
        "kills": len(rows),
        "processes": sum(row["processes"] for row in rows),
        "left_after_10_s": sum(row["left"] for row in rows),
        "longest_s": max(row["seconds"] for row in rows),
        "wrong_exit_codes": sum(row["code"] != SIGNALS[row["signal"]] for row in rows),
        "unfinished_after_resume": sum(code != 0 for code in finished),
        "finished_runs": len(finished),
    }
    arguments.out.write_text(json.dumps({"summary": summary, "settings": SETTINGS, "rows": rows}, indent=1) + "\n")
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
