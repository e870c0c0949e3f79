"""The default run with other ways to choose what is trained, on the same searches: drawn along the dial, the most
promising by supernet and size, and adaptive training.

    python -m tests.benchmarks.starts --work DIR [--seeds 0 1 2 3 4]

Everything is kept below DIR, so the script may be run again. Results: ``results/adaptive.json``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from nni_hypens.utils.runtime import versions

RESULTS = Path(__file__).parent / "results" / "adaptive.json"
VARIANTS: dict[str, dict[str, Any]] = {
    "drawn": {"ranking": "spread", "adaptive": 0},
    "promising": {"ranking": "promising", "adaptive": 0},
    "adaptive": {"ranking": "auto", "adaptive": 5},
}
"""What differs from the default run of 8 candidates and 3 members."""


def run(*arguments: object) -> None:
    command = [str(Path(sys.executable).with_name("nni-hypens")), *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}: {ended.stderr[-2000:]}")


def outcome(folder: Path) -> dict[str, Any]:
    """What a finished run says of its ensemble and its candidates."""
    results = json.loads((folder / "results.json").read_text())
    return {
        "nll": results["ensemble"]["nll"],
        "accuracy": results["ensemble"]["accuracy"],
        "validation_nll": results["selection"]["validation_nll"],
        "sources": [row["source"] for row in results["candidates"]],
        "members": [member["id"] for member in results["members"]],
    }


def one_seed(seed: int, work: Path) -> dict[str, Any]:
    """Every variant, from one search."""
    search = work / f"seed-{seed}" / "search"
    run("search", "--seed", seed, "--adaptive", 0, "--stress-images", 0, "--quiet", "--out", search)
    row: dict[str, Any] = {"seed": seed}
    for name, changes in VARIANTS.items():
        folder = search.with_name(name)
        if not folder.exists():
            new = folder.with_suffix(".new")
            shutil.rmtree(new, ignore_errors=True)
            shutil.copytree(search, new)
            settings = yaml.safe_load((new / "config.yaml").read_text())
            (new / "config.yaml").write_text(yaml.safe_dump(settings | changes))
            new.rename(folder)
        run("run", "--resume", "--quiet", "--out", folder)
        row[name] = outcome(folder)
        print(seed, name, f"{row[name]['nll']:.4f}", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    arguments = parser.parse_args()
    rows = [one_seed(seed, arguments.work) for seed in arguments.seeds]
    mean = {name: float(np.mean([row[name]["nll"] for row in rows])) for name in VARIANTS}
    what = "test NLL of the default run's ensemble of 3 from 8 candidates, with other ways to choose them"
    content = {"command": "python -m tests.benchmarks.starts --work DIR", "what": what, "versions": versions(),
               "variants": VARIANTS, "mean": mean, "rows": rows}  # fmt: skip
    RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
