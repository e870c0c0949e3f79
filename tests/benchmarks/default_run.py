"""The default run with five seeds: what the table of the default run in docs/guides/uncertainty.md shows.

    python -m tests.benchmarks.default_run --work DIR [--seeds 0 1 2 3 4] [--out FILE.json]

Each seed has a run folder in DIR, so the script can be stopped and started again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from nni_hypens.selection.names import ALL
from nni_hypens.utils.files import read_json, write_json
from nni_hypens.utils.runtime import versions

RESULTS = Path(__file__).parent / "results" / "default_run.json"


def run(seed: int, folder: Path) -> dict[str, Any]:
    """Results of the default run with a seed, run now unless the folder holds them."""
    command = [sys.executable, "-m", "nni_hypens", "run", "--seed", str(seed), "--out", str(folder)]
    subprocess.run(command, check=True)  # continues an interrupted run, and changes nothing in a finished one
    results = read_json(folder / "results.json")
    candidates = read_json(folder / "candidates.json")
    best = results["best_member"]
    every = next(row for row in results["sizes"] if row["method"] == ALL)
    calibrated = next(row for row in results["baselines"] if row["name"] == "best member, calibrated")
    return {
        "seed": seed,
        "ensemble": results["ensemble"]["nll"],
        "ensemble_uncalibrated": results["ensemble_uncalibrated"]["nll"],
        "best_member": best["nll"],
        "best_member_calibrated": calibrated["nll"],
        "all_weighted": every["nll"],
        "members": [member["nll"] for member in results["members"]],
        "accuracy": results["ensemble"]["accuracy"],
        "best_member_accuracy": best["accuracy"],
        "temperature": results["temperature"],
        "spearman_of_the_supernet": results["ranking"]["spearman"],
        "architectures": len({str(candidate["architecture"]) for candidate in candidates}),
    }


def main() -> None:
    """Run what is missing and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    seeds = [run(seed, arguments.work / f"seed-{seed}") for seed in arguments.seeds]
    command = "nni-hypens run --seed S, S = " + ", ".join(map(str, arguments.seeds))
    write_json(arguments.out, {"command": command, "seeds": seeds, "versions": versions()})


if __name__ == "__main__":
    main()
