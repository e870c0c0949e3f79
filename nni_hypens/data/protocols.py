"""What evaluation and runs expect of a data module."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Loaders(Protocol):
    """A data module with batches `(inputs, labels)` for evaluation."""

    def val_dataloader(self) -> Any:
        """Batches of the validation split, in a fixed order."""

    def test_dataloader(self) -> Any:
        """Batches of the test split, in a fixed order."""


class LabelledData(Loaders, Protocol):
    """A data module for classification as runs use it; `ImageData` is one.

    Each time they are read, the validation and test loaders give all images of their split, in the order of `labels`
    and without random augmentation. `nni_hypens.data.checks.check_data` checks this before a run.
    """

    @property
    def input_spec(self) -> dict[str, Any]:
        """What networks expect: `channels, height, width, scale, mean, std`, and better also `range`.

        Of tensors that are no images, such as rows of a table: `shape, scale, mean, std`. See
        `nni_hypens.ensemble.EnsembleInfo` for their meaning.
        """

    @property
    def num_classes(self) -> int:
        """Number of classes C."""

    @property
    def class_names(self) -> list[str]:
        """Name of each class."""

    def labels(self, split: str) -> np.ndarray:
        """Labels 0..C-1 of a split, in the order of its loader."""

    def describe(self) -> dict[str, Any]:
        """Summary for JSON."""
