"""What a trial costs besides training: CPU time of its process with an empty trial, by NNI's entry and by ours.

Both in turns, so that other work on the machine falls on both. Writes ``results/trial_start.json``.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

OUT = Path(__file__).parent / "results" / "trial_start.json"
ROUNDS = 3
IMPORTS = "nni_hypens.trials.training, nni_hypens.data, nni_hypens.trials.evaluators"
EMPTY = "import nni.nas.execution.training_service as entry; entry.trial_entry = lambda: None"
CODE = {
    "nni": f"import {IMPORTS}; {EMPTY}; entry.trial_entry()",
    "ours": f"import gc; gc.disable(); {EMPTY}; import {IMPORTS}; from nni_hypens.trials.process import ENTRY, main; "
    "main(ENTRY)",
    "nni, imports alone": f"import {IMPORTS}; {EMPTY}; import os; os._exit(0)",
    "nni without nni_hypens": f"{EMPTY}; entry.trial_entry()",
}


def cost(code: str) -> tuple[float, float]:
    """CPU and wall seconds of one process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, check=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main() -> None:
    rows = {name: [] for name in CODE}
    for _ in range(ROUNDS):
        for name, code in CODE.items():
            rows[name].append(cost(code))
    medians = {
        name: {"cpu_s": statistics.median(cpu for cpu, _ in found), "wall_s": statistics.median(w for _, w in found)}
        for name, found in rows.items()
    }
    ratio = medians["ours"]["cpu_s"] / medians["nni"]["cpu_s"]
    OUT.write_text(json.dumps({"rounds": ROUNDS, "median": medians, "ours_vs_nni_cpu": ratio}, indent=2) + "\n")
    print(OUT.read_text())


if __name__ == "__main__":
    main()
