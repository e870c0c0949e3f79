"""An ensemble for your own data: arrays, a folder of images, or a Lightning data module.

    python -m examples.own_data arrays images.npz     # x_train, y_train, x_test, y_test (uint8 NHWC or NHW)
    python -m examples.own_data folder PICTURES       # PICTURES/CLASS/*, or PICTURES/train/CLASS/* and test/CLASS/*
    python -m examples.own_data module                # the class Shapes below

`nni-hypens run --data` also accepts the .npz file and, with `--image-size`, the folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import nni
import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from nni_hypens import ImageData, InputError, image_evaluator, search_ensemble
from search_spaces import OneCell


def shapes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Generate images for this example: noisy discs, squares and crosses, `N x 12 x 12` uint8, and labels 0..2."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:12, :12]
    images, labels = np.empty((count, 12, 12), np.uint8), np.arange(count) % 3
    for image, label in zip(images, labels, strict=True):
        y, x = np.abs(rows - generator.uniform(4, 7)), np.abs(columns - generator.uniform(4, 7))
        inside = (y**2 + x**2 < 12, np.maximum(y, x) < 3, np.minimum(y, x) < 1)[label]
        image[:] = np.clip(180 * inside + generator.normal(40, 25, inside.shape), 0, 255)
    return images, labels


@nni.trace  # trial processes rebuild it from its arguments, so keep these few and small
class Shapes(pl.LightningDataModule):
    """A data module with only what nni_hypens requires.

    Validation and test loaders must not shuffle. With ``raw(split, indices)`` as well, which gives images as they came,
    robustness is measured too.
    """

    class_names = ["disc", "square", "cross"]
    num_classes = 3
    white, mean, std = 255.0, 0.25, 0.25
    sizes = {"train": 600, "validation": 150, "test": 150}

    def __init__(self, batch_size: int = 50) -> None:
        super().__init__()
        self.batch_size = batch_size

    @property
    def input_spec(self) -> dict[str, Any]:
        """Preprocessing: images are divided by `scale`, reduced by `mean` and divided by `std` (per channel).

        Exported files and `Ensemble.predict` do the same. `range` are the values of black and white.
        """
        return {
            "channels": 1, "height": 12, "width": 12, "range": [0.0, self.white], "scale": self.white,
            "mean": [self.mean], "std": [self.std],
        }  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """For the report: any JSON values, including these."""
        names = {"num_classes": self.num_classes, "class_names": self.class_names}
        return {"source": "shapes", "sizes": self.sizes, "input_spec": self.input_spec, **names}

    def labels(self, split: str) -> np.ndarray:
        """Labels of "train", "validation" or "test" in the order of the loader."""
        return self._arrays(split)[1]

    def _arrays(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        return shapes(self.sizes[split], seed=list(self.sizes).index(split))

    def _loader(self, split: str, shuffle: bool = False) -> DataLoader:
        images, labels = self._arrays(split)
        scaled = (torch.from_numpy(images).float()[:, None] / self.white - self.mean) / self.std
        return DataLoader(TensorDataset(scaled, torch.from_numpy(labels)), self.batch_size, shuffle=shuffle)

    def train_dataloader(self) -> DataLoader:
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return self._loader("validation")

    def test_dataloader(self) -> DataLoader:
        return self._loader("test")


def open_data(kind: str, path: Path | None, size: int) -> Any:
    """The data module for the chosen kind."""
    if kind == "module":
        return Shapes()
    if path is None:
        raise InputError("path", "nothing", "the .npz file, or the folder of images")
    return ImageData(str(path.resolve()), image_size=size if kind == "folder" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description="An ensemble for your own data.")
    parser.add_argument("kind", choices=("arrays", "folder", "module"))
    parser.add_argument("path", type=Path, nargs="?", help="the .npz file, or the folder of images")
    parser.add_argument("--size", type=int, default=32, help="height and width of resized images, for a folder")
    parser.add_argument("--quick", action="store_true", help="two members, a few epochs")
    parser.add_argument("--out", type=Path, help="run folder (default: runs/own_data-KIND)")
    arguments = parser.parse_args()
    quick = arguments.quick
    out = arguments.out or Path(f"runs/own_data-{arguments.kind}{'-quick' * quick}")
    try:
        data = open_data(arguments.kind, arguments.path, arguments.size)
        result = search_ensemble(
            OneCell(4 if quick else 8, in_channels=data.input_spec["channels"], num_classes=data.num_classes),
            image_evaluator(data, data.num_classes, epochs=3 if quick else 20),
            data,
            out,
            search_evaluator=image_evaluator(data, data.num_classes, epochs=4 if quick else 40),
            members=2 if quick else 3,
            candidates=2 if quick else 8,
            per_trial=2 if quick else 1,
            stress_images=0 if quick else 256,
            quiet=quick,
        )
    except InputError as error:
        parser.error(str(error))
    print(result.metrics.round(4).to_string())
    print(f"report: {result.out / 'report.html'}")


if __name__ == "__main__":
    # trial processes import Shapes by the name of its module, which must not be __main__
    from examples.own_data import main as run

    run()
