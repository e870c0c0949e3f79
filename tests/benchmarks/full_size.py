"""Fashion-MNIST at its full size, from the search to the report, on a CPU: a night's work.

    python -m tests.benchmarks.full_size run --work DIR
    python -m tests.benchmarks.full_size page [--work DIR]

`run` is one `nni-hypens run`, whose memory is watched; it can be killed at any time and goes on where it stopped.
`page` copies the results to `tests/benchmarks/results/full_size.json` if a folder is given, and writes the guide from
`tests/benchmarks/full_size_page.md`, with a text for each `<!-- full_size: NAME -->`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd
import psutil

from nni_hypens.report.text import plural
from nni_hypens.selection.names import ALL
from nni_hypens.utils.files import read_json, read_object, write_json, write_text
from nni_hypens.utils.runtime import versions
from tests.benchmarks.paper_figures import as_markdown
from tests.benchmarks.paper_guide import replaced

RESULTS = Path(__file__).parent / "results" / "full_size.json"
PAGE = Path("tests/benchmarks/full_size_page.md")
"""The guide without its generated parts."""
GUIDE = Path("docs/guides/full_size.md")
SETTINGS = {
    "data": "fashion_mnist",
    "validation_size": "5000",
    "augment": "crop_flip",
    "batch_size": "128",
    "space": "paper_cell",
    "space_args": "channels=12",
    "train_space_args": "layers=2",
    "search_epochs": "6",
    "epochs": "10",
    "candidates": "7",
    "members": "5",
    "seed": "0",
}
PUBLISHED = {"accuracy": (0.950, 0.953), "nll": (0.263, 0.266)}
"""Ensembles on Fashion-MNIST by the papers' laboratory (surrogate-based NES, 2026), uncalibrated; larger networks."""
EVERY_S = 5.0


def command(out: Path) -> list[str]:
    """The run."""
    flags = [part for name, value in SETTINGS.items() for part in (f"--{name.replace('_', '-')}", value)]
    return [sys.executable, "-m", "nni_hypens", "run", *flags, "--out", str(out)]


def run(work: Path) -> None:
    """Run it, and keep the largest memory of all its processes together, and the CPU time of this and earlier tries."""
    path = work / "machine.json"
    before = read_object(path) if path.exists() else {"peak_mb": 0.0, "cpu_s": 0.0, "wall_s": 0.0}
    work.mkdir(parents=True, exist_ok=True)
    start, process = time.monotonic(), subprocess.Popen(command(work / "run"))
    seen: dict[int, float] = {}

    def watch() -> None:
        while process.poll() is None:
            memory, seen_now = memory_and_cpu(process.pid)
            seen.update(seen_now)
            before["peak_mb"] = max(before["peak_mb"], memory)
            spent = {
                "cpu_s": before["cpu_s"] + sum(seen.values()),
                "wall_s": before["wall_s"] + time.monotonic() - start,
            }
            write_json(path, {**before, **spent})
            time.sleep(EVERY_S)

    threading.Thread(target=watch, daemon=True).start()
    if process.wait():
        sys.exit(process.returncode)


def memory_and_cpu(pid: int) -> tuple[float, dict[int, float]]:
    """Memory of a process and its children in MB, shared pages once, and the CPU seconds of each so far."""
    total, seconds = 0.0, {}
    try:
        top = psutil.Process(pid)
        family = [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0, {}
    for one in family:
        try:
            total += one.memory_full_info().pss / 2**20
            times = one.cpu_times()
            seconds[one.pid] = times.user + times.system
        except psutil.Error:  # it has just ended
            continue
    return total, seconds


def collected(work: Path) -> dict[str, Any]:
    """What the page needs."""
    results = read_json(work / "run" / "results.json")
    rows = [{"name": name_of(row), **{key: row[key] for key in MEASURES}, **row["costs"]} for row in results["sizes"]]
    own = {"name": f"{len(results['members'])} members", **{key: results["ensemble"][key] for key in MEASURES}}
    costs = results["selection"]["costs"]
    raw = {key: results["ensemble_uncalibrated"][key] for key in MEASURES}
    return {
        "command": "nni-hypens " + " ".join(command(Path("DIR"))[3:]),
        "versions": versions(),
        "machine": read_object(work / "machine.json"),
        "cost": results["cost"],
        "rows": sorted([*rows, {**own, **costs}], key=lambda row: row["parameters"]),
        "uncalibrated": raw,
        "candidates": len(results["candidates"]),
    }


MEASURES = ("accuracy", "nll", "ece", "brier")


def name_of(row: dict[str, Any]) -> str:
    """`1 member`, `3 members`, `all, weighted: 7`."""
    count = len(row["members"])
    if row["method"] == ALL:
        return f"all, weighted: {count}"
    return plural(count, "member")


def parts(found: dict[str, Any]) -> dict[str, str]:
    """Name of each generated part of the guide -> its text."""
    rows = [
        [
            row["name"], f"{100 * row['accuracy']:.2f}", f"{row['nll']:.4f}", f"{100 * row['ece']:.2f}",
            f"{row['parameters']:,}", f"{row['flops'] / 1e6:,.0f}",
        ]
        for row in found["rows"]
    ]  # fmt: skip
    low, high = (f"{100 * value:.1f}" for value in PUBLISHED["accuracy"])
    nll = " to ".join(f"{value:.3f}" for value in PUBLISHED["nll"])
    rows.append(["published, uncalibrated", f"{low} to {high}", nll, "-", "-", "-"])
    head = ["ensemble", "accuracy %", "NLL", "ECE %", "parameters", "MFLOPs per image"]
    machine, cost, raw = found["machine"], found["cost"], found["uncalibrated"]
    hours = {name: seconds / 3600 for name, seconds in cost.items()}
    searched = hours["base_search_s"] + hours["search_s"]
    return {
        "table": as_markdown(pd.DataFrame(rows, columns=head)).strip(),
        "command": f"```bash\n{found['command']}\n```",
        "say_cost": (
            f"All processes together needed {machine['peak_mb'] / 1024:.1f} GB of memory at most and "
            f"{machine['cpu_s'] / 3600:.1f} hours of CPU time. By the clock, on cores that other programs used as "
            f"well, the search took {searched:.2f} hours, and the trainings of {found['candidates']} candidates "
            f"{hours['training_s']:.2f} hours, two at a time. Before its temperature the ensemble had an NLL of "
            f"{raw['nll']:.4f}."
        ),
    }


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "page"))
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    if given.command == "run":
        run(given.work or Path("runs/full_size"))
        return
    if given.work is not None:
        write_json(RESULTS, collected(given.work))
    write_text(GUIDE, replaced(PAGE.read_text(encoding="utf-8"), "full_size", parts(read_json(RESULTS))))


if __name__ == "__main__":
    main()
