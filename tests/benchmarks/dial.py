"""How well the dial obeys: shared edges of the exported architecture against the requested lam, OneCell on digits.

    python tests/benchmarks/dial.py [--seeds 5] [--epochs 60] [--out FILE.json]

Shared edges are whole numbers, so the mean absolute error over lam = 0..4 by 0.25 cannot be below 0.235.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time

os.environ["OMP_NUM_THREADS"] = "1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    from nni_hypens._compat import quiet_logging, quiet_training

    quiet_training()
    import torch
    from nni.nas.experiment import NasExperiment

    from nni_hypens import EdgeNES, ImageData, image_evaluator
    from search_spaces import OneCell

    torch.set_num_threads(1)
    quiet_logging(logging.ERROR)
    rows = []
    for seed in range(arguments.seeds):
        data = ImageData("digits")
        strategy = EdgeNES(seed=seed)
        evaluator = image_evaluator(data, data.num_classes, arguments.epochs)
        start = time.process_time()
        NasExperiment(OneCell(arguments.channels, in_channels=1), evaluator, strategy).run()
        lams = [quarter / 4 for quarter in range(4 * strategy.n_edges + 1)]
        shared = strategy.sampler.dial(lams)
        error = sum(abs(lam - found) for lam, found in zip(lams, shared, strict=True)) / len(lams)
        rows.append(
            {
                "seed": seed,
                "error": error,
                "shared": shared,
                "low": min(shared),
                "high": max(shared),
                "cpu_s": time.process_time() - start,
                "base": strategy.structure.describe(strategy.base_architecture),
            }
        )
        print(
            f"seed {seed}: error {error:.3f}  ends {min(shared)}..{max(shared)}  {shared}  base {rows[-1]['base']}",
            flush=True,
        )
    mean = sum(row["error"] for row in rows) / len(rows)
    print(f"mean absolute error over {len(rows)} seeds: {mean:.3f} (floor 0.235)")
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            json.dump(
                {"epochs": arguments.epochs, "channels": arguments.channels, "mean_error": mean, "seeds": rows},
                file,
                indent=2,
            )


if __name__ == "__main__":
    main()
