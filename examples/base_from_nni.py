"""Search with NNI's own DARTS, GumbelDARTS or ENAS for the base, then with EdgeNES around it.

    python -m examples.base_from_nni [--strategy enas]

NNI exports one architecture as JSON, and `EdgeNES(base=...)` reads the file. Any NNI search on the same space works
if it exports a sample. ENAS needs `pip install 'nni-hypens[enas]'`; because NNI 3.0 cannot run it with current
versions of Lightning, a small adapter of ours wraps it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytorch_lightning as pl
from nni.nas.experiment import NasExperiment, NasExperimentConfig
from nni.nas.oneshot.pytorch.strategy import OneShotStrategy

from nni_hypens import EdgeNES, ImageData, SharedEdges, image_evaluator
from nni_hypens.compare.searches import STRATEGIES
from search_spaces import OneCell


def run(quick: bool, epochs: int, strategy: OneShotStrategy, folder: Path) -> NasExperiment:
    """Run an NNI one-shot experiment in this process."""
    # DARTS replaces the loaders of the data module for good, so each search gets its own module
    data = ImageData("digits", train_size=256 if quick else None, validation_size=128 if quick else 0.2)
    space = OneCell(4, in_channels=1)
    config = NasExperimentConfig("sequential", "raw", "local")
    config.experiment_working_directory = str(folder / "nni")
    experiment = NasExperiment(space, image_evaluator(data, num_classes=10, epochs=epochs), strategy, config)
    experiment.start()
    experiment.stop()
    return experiment


def main() -> None:
    parser = argparse.ArgumentParser(description="EdgeNES around the architecture of an NNI search.")
    parser.add_argument("--strategy", choices=list(STRATEGIES), default="darts", help="NNI's search (default: darts)")
    parser.add_argument("--quick", action="store_true", help="a few epochs of few images")
    parser.add_argument("--out", type=Path, default=Path("runs/base_from_nni"), help="folder of base.json")
    arguments = parser.parse_args()
    quick, out = arguments.quick, arguments.out
    pl.seed_everything(0, verbose=False)

    # for example DARTS(arc_learning_rate=0.03): NNI's default of 3e-4 is for much longer searches
    theirs = run(quick, 1 if quick else 10, STRATEGIES[arguments.strategy](), out)
    found = theirs.export_top_models(top_k=1, formatter="dict")[0]
    out.mkdir(parents=True, exist_ok=True)
    (out / "base.json").write_text(json.dumps(found))

    strategy = EdgeNES(base=out / "base.json", diversity=SharedEdges(weight=(0.3, 3.0)))
    run(quick, 4 if quick else 40, strategy, out)
    print(f"base, from {arguments.strategy}:", strategy.structure.describe(strategy.base_architecture))
    for lam in reversed(range(strategy.n_edges + 1)):
        sample = strategy.sample(lam)[0]
        shared = strategy.structure.shared_edges(sample, strategy.base_architecture)
        print(f"lam={lam}, {shared} shared edges: {strategy.structure.describe(sample)}")
    print("next, with trained candidates: search_ensemble(..., base='base.json')")


if __name__ == "__main__":
    main()
