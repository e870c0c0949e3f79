"""CPU time of importing nni_hypens against NNI's own import, in turns in one run.

`python -X importtime` counts by the clock, which a busy machine stretches; so time is taken by the processor's, and
-X importtime gives the number of modules of nni_hypens and their own time in the heaviest import.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

OUT = Path(__file__).parent / "results" / "import_time.json"
NNI = "import nni.nas.nn.pytorch, nni.nas.strategy, nni.nas.experiment, nni.nas.evaluator.pytorch"
CODES = {"nni": NNI, "alone": "import nni_hypens", "with_strategy": "from nni_hypens import EdgeNES"}
ROUNDS = 5


def cpu_seconds(code: str) -> float:
    """Of the imports alone, without the start of the interpreter."""
    timed = f"import time; start = time.process_time(); {code}; print(time.process_time() - start)"
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", timed], capture_output=True, text=True, check=True)
    return float(ran.stdout.split()[-1])


def own_milliseconds() -> tuple[int, float]:
    """Modules of nni_hypens that EdgeNES needs, and the time in them without what they import."""
    words = [sys.executable, "-W", "ignore", "-X", "importtime", "-c", CODES["with_strategy"]]
    ran = subprocess.run(words, capture_output=True, text=True, check=True)
    own = re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+nni_hypens", ran.stderr)
    return len(own), sum(map(int, own)) / 1000


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in CODES}
    for _ in range(ROUNDS):
        for name, code in CODES.items():
            times[name].append(cpu_seconds(code))
    median = {name: statistics.median(found) for name, found in times.items()}
    modules, own = own_milliseconds()
    result = {
        "cpu_s": {name: round(seconds, 4) for name, seconds in median.items()},
        "ratio_alone": round(median["alone"] / median["nni"], 4),
        "ratio_with_strategy": round(median["with_strategy"] / median["nni"], 3),
        "own_modules": modules,
        "own_ms": round(own, 1),
        "rounds": ROUNDS,
    }
    OUT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
