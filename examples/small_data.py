"""Real images at half their size, for comparisons on a CPU: each 2 x 2 pixels are averaged.

    nni-hypens compare --data examples.small_data:fashion_mnist_14,examples.small_data:cifar10_16 ...

`fashion_mnist_14` reads the files of Debian's package dataset-fashion-mnist, or downloads them. `cifar10_16` reads
CIFAR-10 from torchvision's files, or from the `.npz` file named by the environment variable CIFAR10_NPZ.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from nni_hypens.data.sources import Cifar, FashionMnist, Npz, Source

Arrays = dict[str, np.ndarray]


def fashion_mnist_14() -> Arrays:
    """Fashion-MNIST, 14 x 14 pixels: 60,000 training and 10,000 test images."""
    return _halved(FashionMnist(None))


def cifar10_16() -> Arrays:
    """CIFAR-10, 16 x 16 pixels."""
    file = os.environ.get("CIFAR10_NPZ")
    return _halved(Npz(Path(file)) if file else Cifar("cifar10", None))


def _halved(source: Source) -> Arrays:
    source.fetch()
    arrays: Arrays = {}
    for part in ("train", "test"):
        images, arrays[f"y_{part}"] = source.load(part)
        n, height, width = images.shape[:3]
        blocks = images.reshape(n, height // 2, 2, width // 2, 2, -1)
        arrays[f"x_{part}"] = blocks.mean(axis=(2, 4)).round().astype(np.uint8)
    return arrays
