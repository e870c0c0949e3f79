"""What a setting of the candidates does to the default run, on the same searches.

    python tests/benchmarks/candidates.py ranking|halving --work DIR [--seeds 0 1 2 3 4] [--out FILE.json]

Each seed is searched once; then candidates are drawn, trained and chosen with each value of the setting, in run folders
of their own below DIR, one after the other. Finished folders are kept, so the script may be run again. Trials run one
at a time, all candidates in one trial: ``training_s`` is the sum of the seconds of the candidates' own training, by the
clock, ``training_cpu_s`` the same of the processor, ``training_wall_s`` with the start of NNI and of its trials.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path
from statistics import mean
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

from nni_hypens.run.pipeline import Run
from nni_hypens.run.plan import make_plan
from nni_hypens.run.runtime import Runtime
from nni_hypens.run.settings import Settings
from nni_hypens.utils.runtime import versions

RESULTS = Path(__file__).parent / "results"
SETTINGS: dict[str, tuple[Any, ...]] = {"ranking": ("spread", "ensemble"), "halving": (False, True)}


def run_folder(out: Path, search: Path | None = None, **settings: Any) -> Run:
    """A run of the command line's settings, its search taken from another run when there is one."""
    config = Settings(**settings)
    run = Run(make_plan(config), out, Runtime(concurrency=1, per_trial=config.candidates, quiet=True))
    run.prepare()
    if search is not None and not (out / "search" / "base.json").exists():
        shutil.copytree(search, out / "search", dirs_exist_ok=True)
    return run


def row(run: Run, results: dict[str, Any]) -> dict[str, Any]:
    """The figures of one run that are compared."""
    known = [metrics for one in run.folder.read_candidates() if (metrics := run.folder.metrics(one.id)) is not None]
    trained = [item for item in results["candidates"] if item["status"] == "trained"]
    return {
        "ensemble": results["ensemble"]["nll"],
        "ensemble_uncalibrated": results["ensemble_uncalibrated"]["nll"],
        "accuracy": results["ensemble"]["accuracy"],
        "best_member": results["best_member"]["nll"],
        "mean_candidate": mean(item["test"]["nll"] for item in trained),
        "validation_nll": results["selection"]["validation_nll"],
        "disagreement": results["diversity"]["disagreement"],
        "spearman_of_the_supernet": results["ranking"]["spearman"],
        "training_s": results["cost"]["training_s"],
        "training_cpu_s": sum(metrics["cpu_seconds"] for metrics in known),
        "training_wall_s": results["cost"]["training_wall_s"],
        "epochs": float(sum(len(metrics["history"]) for metrics in known)),
        "trained": len(trained),
        "members": [member["id"] for member in results["members"]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    seeds = []
    for seed in arguments.seeds:
        first = run_folder(arguments.work / f"search-{seed}", seed=seed)
        with first.locked():
            first.search()
        found: dict[str, Any] = {"seed": seed}
        for value in SETTINGS[arguments.setting]:
            name = str(value).lower()
            out = arguments.work / f"{arguments.setting}-{name}-{seed}"
            run = run_folder(out, first.out / "search", seed=seed, **{arguments.setting: value})
            found[name] = row(run, run.results() if run.finished else run.run())
            print(seed, name, found[name], flush=True)
        seeds.append(found)
    names = [str(value).lower() for value in SETTINGS[arguments.setting]]
    known = {name: [entry[name] for entry in seeds] for name in names}
    content = {
        "command": f"python tests/benchmarks/candidates.py {arguments.setting} --work DIR --seeds "
        + " ".join(map(str, arguments.seeds)),
        "versions": versions(),
        "mean": {
            name: {
                key: mean(entry[key] for entry in rows)
                for key, value in rows[0].items()
                if isinstance(value, float) and all(entry[key] is not None for entry in rows)
            }
            for name, rows in known.items()
        },
        "seeds": seeds,
    }
    out = arguments.out or RESULTS / f"{arguments.setting}.json"
    out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
