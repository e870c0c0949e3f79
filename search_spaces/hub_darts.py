"""Presets over the DARTS space of NNI's hub, for any number of input channels and classes."""

from __future__ import annotations

from typing import Any

from nni.nas.hub.pytorch import DARTS
from nni.nas.space import model_context
from torch import nn

from nni_hypens.errors import InputError
from nni_hypens.utils.checks import is_whole

PRESETS: dict[str, dict[str, int]] = {
    "tiny": {"width": 8, "num_cells": 3},
    "small": {"width": 16, "num_cells": 5},
    "cifar": {"width": 16, "num_cells": 8},
    "retrain": {"width": 36, "num_cells": 20},
}
"""Sizes: DARTS searches with ``cifar`` and trains its result with ``retrain`` (Liu et al. 2019)."""


class DartsSpace(DARTS):  # type: ignore[misc]
    """NNI's hub DARTS space with any number of input channels and classes.

    Two cells (normal and reduction) of four nodes with two (input, operation) edges each: 16 edges. NNI's own space is
    limited to 3 input channels and 10 or 1000 classes. The labels are NNI's, so architectures can be exchanged with
    it.

    Args:
        width: Channels of the first cell, at least 1.
        num_cells: Cells, at least 3 (two of them reduce).
        in_channels: Channels of the images.
        num_classes: Classes, at least 2.
        drop_path_prob: Drop-path probability in training, 0..1.

    Input ``B x in_channels x H x W`` with H, W >= 8; output logits ``B x num_classes``.
    """

    num_labels: int
    classifier: nn.Linear

    def __init__(
        self,
        width: int = 16,
        num_cells: int = 8,
        in_channels: int = 3,
        num_classes: int = 10,
        drop_path_prob: float = 0.0,
    ) -> None:
        for name, value, least in (
            ("width", width, 1),
            ("num_cells", num_cells, 3),
            ("in_channels", in_channels, 1),
            ("num_classes", num_classes, 2),
        ):
            if not is_whole(value, least):
                raise InputError(name, repr(value), f"a whole number of at least {least}")
        super().__init__(width=width, num_cells=num_cells, dataset="cifar", drop_path_prob=drop_path_prob)
        self.arguments: dict[str, Any] = {
            "width": width,
            "num_cells": num_cells,
            "in_channels": in_channels,
            "num_classes": num_classes,
            "drop_path_prob": drop_path_prob,
        }
        if in_channels != 3:
            old = self.stem[0]
            self.stem[0] = nn.Conv2d(in_channels, old.out_channels, 3, padding=1, bias=False)
        if num_classes != self.num_labels:
            self.num_labels = num_classes
            self.classifier = nn.Linear(self.classifier.in_features, num_classes)

    def auxiliary_source(self) -> tuple[nn.Module, int]:
        """Where DARTS puts its auxiliary head in training: the first cell of the last stage, and its channels."""
        first: nn.Module = self.stages[2][0]
        return first, self.classifier.in_features

    def freeze(self, sample: dict[str, Any]) -> nn.Module:
        """A fixed network with new weights: stages depend on one another, so the network is built anew, as in NNI."""
        with model_context(sample):
            return type(self)(**self.arguments)


def darts(preset: str = "cifar", **arguments: Any) -> DartsSpace:
    """The DARTS space in one of the sizes of `PRESETS`.

    Args:
        preset: Key of `PRESETS`.
        **arguments: Arguments of `DartsSpace` that replace those of the preset.

    Raises:
        InputError: Unknown preset.
    """
    if preset not in PRESETS:
        raise InputError("preset", repr(preset), f"one of {list(PRESETS)}")
    return DartsSpace(**{**PRESETS[preset], **arguments})
