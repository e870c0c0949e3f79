"""An ensemble for Fashion-MNIST in one call: search, trials, ensemble, report, export.

    python -m examples.fashion_mnist --train-size 10000

The files come from Debian's package dataset-fashion-mnist or are downloaded. `--quick` downloads nothing and skips if
they are not on disk. All 60,000 images take hours on a CPU, so start with fewer.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nni_hypens import ImageData, export_ensemble, image_evaluator, search_ensemble
from nni_hypens.data.sources import DEBIAN_FASHION_MNIST, cache_folder
from search_spaces import OneCell


def main() -> None:
    parser = argparse.ArgumentParser(description="An ensemble for Fashion-MNIST.")
    parser.add_argument("--train-size", type=int, help="training images (default: all except validation images)")
    parser.add_argument("--concurrency", type=int, default=1, help="candidates to train at the same time")
    parser.add_argument("--quick", action="store_true", help="300 images, two members; skips without the files")
    parser.add_argument("--out", type=Path, help="run folder (default: runs/fashion_mnist)")
    arguments = parser.parse_args()
    quick = arguments.quick
    places = (DEBIAN_FASHION_MNIST, cache_folder() / "FashionMNIST" / "raw")
    if quick and not any(place.is_dir() for place in places):
        print("skipped: Fashion-MNIST is not on disk (Debian: apt-get install dataset-fashion-mnist)")
        return

    data = ImageData(
        "fashion_mnist",
        train_size=300 if quick else arguments.train_size,
        validation_size=200 if quick else 5000,
        test_size=200 if quick else None,
        augment="none" if quick else "crop_flip",
    )
    result = search_ensemble(
        OneCell(channels=2 if quick else 16, in_channels=1),
        image_evaluator(data, num_classes=10, epochs=2 if quick else 30),
        data,
        arguments.out or Path("runs/fashion_mnist-quick" if quick else "runs/fashion_mnist"),
        search_evaluator=image_evaluator(data, num_classes=10, epochs=4 if quick else 50),
        members=2 if quick else 4,
        candidates=2 if quick else 10,
        per_trial=2 if quick else 1,
        concurrency=arguments.concurrency,
        stress_images=0 if quick else 256,
        quiet=quick,
    )
    print(result.metrics.round(4).to_string())
    print(result.members[["id", "lam", "shared_edges", "accuracy", "nll", "validation_gain"]].round(4).to_string())
    if not quick:
        print(f"exported: {export_ensemble(result.ensemble, result.out / 'ensemble' / 'model.onnx').path}")
    print(f"report: {result.out / 'report.html'}")


if __name__ == "__main__":
    main()
