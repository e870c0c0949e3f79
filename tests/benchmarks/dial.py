"""How well the dial obeys: what the exported architecture shares with the base against the requested lam.

    python tests/benchmarks/dial.py [--seeds 5] [--epochs 60] [--out FILE.json]

Two spaces (OneCell, C=8, 4 edges; hub DARTS, preset "tiny", 16 edges), both on scikit-learn's 8x8 digits as they are,
and two regularisers with their defaults. The mode of the hypernetwork is read at lam = 0..n_edges by 0.25. With
SharedEdges the answer is its shared edges; these are whole numbers, so the mean absolute error cannot be below 0.235
(OneCell) or 0.246 (hub DARTS). With JensenShannon it is ``n_edges (1 - D / D_max)``, D the divergence of that
architecture from the base. Each finished run is kept in FILE.json, and the same command goes on from there (delete the
file to begin anew); the figure is FILE.png.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

RESULTS = Path(__file__).parent / "results" / "dial.json"
SPACES = {"one_cell": "OneCell, C=8", "hub_darts": "hub DARTS, tiny"}
REGULARIZERS = {"shared_edges": "SharedEdges", "jensen_shannon": "JensenShannon"}
COLUMNS = ("error", "error_share", "spearman", "low", "high")


def make_space(name: str) -> Any:
    """A new model space."""
    from search_spaces import OneCell, darts

    return OneCell(8, in_channels=1) if name == "one_cell" else darts("tiny", in_channels=1)


def run(space: str, regularizer: str, seed: int, epochs: int) -> dict[str, Any]:
    """One search; what its dial gives."""
    import torch
    from nni.nas.experiment import NasExperiment
    from scipy.stats import spearmanr

    from nni_hypens import EdgeNES, ImageData, image_evaluator
    from nni_hypens.run.plan import DIVERSITIES

    torch.manual_seed(seed)
    data, diversity = ImageData("digits"), DIVERSITIES[regularizer]()
    strategy = EdgeNES(diversity=diversity, seed=seed)
    start = time.process_time()
    NasExperiment(make_space(space), image_evaluator(data, data.num_classes, epochs), strategy).run()
    seconds = time.process_time() - start
    lams = [quarter / 4 for quarter in range(4 * strategy.n_edges + 1)]
    modes = [strategy.sampler.mode(lam) for lam in lams]
    shared = [mode.shared_edges for mode in modes]
    answer = [float(edges) for edges in shared]
    if regularizer == "jensen_shannon":
        layout = strategy.oneshot_module.layout
        choices = torch.stack([layout.one_hot(mode.architecture) for mode in modes])
        answer = [round(value, 4) + 0.0 for value in diversity.position(choices).tolist()]
    error = sum(abs(lam - found) for lam, found in zip(lams, answer, strict=True)) / len(lams)
    return {
        "space": space,
        "regularizer": regularizer,
        "seed": seed,
        "epochs": epochs,
        "n_edges": strategy.n_edges,
        "error": error,
        "error_share": error / strategy.n_edges,
        "spearman": float(spearmanr(lams, answer).statistic) if min(answer) < max(answer) else 0.0,
        "low": min(answer),
        "high": max(answer),
        "answer": answer,
        "cpu_s": round(seconds, 1),
        "base": strategy.structure.describe(strategy.base_architecture),
    }


def summarise(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each space and regulariser: means over the seeds, the worst Spearman, the worst end."""
    rows = []
    for regularizer in REGULARIZERS:
        for space in SPACES:
            own = [one for one in runs if (one["space"], one["regularizer"]) == (space, regularizer)]
            if own:
                mean = {name: sum(one[name] for one in own) / len(own) for name in ("error", "error_share")}
                worst: dict[str, Callable] = {"spearman": min, "low": max, "high": min}
                rows.append(
                    {"space": space, "regularizer": regularizer, "n_edges": own[0]["n_edges"], "seeds": len(own)}
                    | mean
                    | {"worst_error": max(one["error"] for one in own)}
                    | {name: function(one[name] for one in own) + 0.0 for name, function in worst.items()}
                )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The summary as Markdown, as the README has it."""
    lines = [
        "| regulariser | space | mean absolute error | of n_edges | worst seed | Spearman, worst | lowest, highest |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        space = f"{SPACES[row['space']]}, {row['n_edges']} edges"
        lines.append(
            f"| {REGULARIZERS[row['regularizer']]} | {space} | {row['error']:.3f} | {row['error_share']:.1%} "
            f"| {row['worst_error']:.3f} | {row['spearman']:.3f} | {row['low']:.2f}, {row['high']:.2f} |"
        )
    return "\n".join(lines)


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """Requested lam against what came out: mean over the seeds, and their range."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    figure, axes = plt.subplots(2, 2, figsize=(8, 6.4), layout="constrained")
    for axis_row, regularizer in zip(axes, REGULARIZERS, strict=True):
        for axis, space in zip(axis_row, SPACES, strict=True):
            own = [one for one in runs if (one["space"], one["regularizer"]) == (space, regularizer)]
            if not own:
                axis.set_axis_off()
                continue
            n_edges = own[0]["n_edges"]
            lams = np.arange(4 * n_edges + 1) / 4
            answers = np.array([one["answer"] for one in own])  # seeds x lams
            wanted = lams
            if regularizer == "jensen_shannon":
                answers, wanted = 1 - answers / n_edges, 1 - lams / n_edges
            axis.plot(lams, wanted, color="0.6", linestyle="--", linewidth=1, label="requested")
            axis.fill_between(lams, answers.min(0), answers.max(0), color="#0072b2", alpha=0.25, linewidth=0)
            axis.plot(lams, answers.mean(0), color="#0072b2", label=f"mean and range, {len(own)} seeds")
            axis.set_title(f"{REGULARIZERS[regularizer]}: {SPACES[space]}", fontsize=10)
            axis.set_xlabel("lam")
            axis.set_ylabel("shared edges" if regularizer == "shared_edges" else "divergence / largest divergence")
            axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=75)
    plt.close(figure)


def save(runs: list[dict[str, Any]], epochs: int, path: Path) -> list[dict[str, Any]]:
    """Write the runs with their summary, at once or not at all."""
    from nni_hypens.utils.files import write_json

    rows = summarise(runs)
    main = [one["error"] for one in rows if (one["space"], one["regularizer"]) == ("one_cell", "shared_edges")]
    write_json(path, {"epochs": epochs, "mean_error": main[0] if main else None, "summary": rows, "runs": runs})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--spaces", nargs="+", choices=SPACES, default=list(SPACES))
    parser.add_argument("--regularizers", nargs="+", choices=REGULARIZERS, default=list(REGULARIZERS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    from nni_hypens._nni import quiet_logging, quiet_training

    quiet_training()
    import torch

    torch.set_num_threads(1)
    quiet_logging(logging.ERROR)
    before = json.loads(arguments.out.read_text(encoding="utf-8")).get("runs", []) if arguments.out.exists() else []
    runs = [one for one in before if one["epochs"] == arguments.epochs]
    done = {(one["space"], one["regularizer"], one["seed"]) for one in runs}
    for seed in range(arguments.seeds):
        for space in arguments.spaces:
            for regularizer in arguments.regularizers:
                if (space, regularizer, seed) in done:
                    continue
                runs.append(run(space, regularizer, seed, arguments.epochs))
                runs.sort(key=lambda one: (one["regularizer"], one["space"], one["seed"]))
                rows = save(runs, arguments.epochs, arguments.out)
                new = next(
                    one for one in runs if (one["space"], one["regularizer"], one["seed"]) == (space, regularizer, seed)
                )
                numbers = "  ".join(f"{name} {new[name]:.3f}" for name in COLUMNS)
                print(f"{space} {regularizer} seed {seed}: {numbers}  {new['cpu_s']:.0f} s", flush=True)
    rows = save(runs, arguments.epochs, arguments.out)
    draw(runs, arguments.out.with_suffix(".png"))
    print(table(rows))


if __name__ == "__main__":
    main()
