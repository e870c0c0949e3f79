"""An ensemble from your own model space, which defines what counts as an edge.

    python -m examples.own_space

Two stages of convolutions. Each takes its input from the stem or from the previous stage, through an operation that
belongs to that input. An operation on an input that is not chosen has no effect, and `edge_groups` says so. The depth
of the head is in no group, so it is its own edge.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from nni.nas.nn.pytorch import InputChoice, LayerChoice, ModelSpace, Repeat
from torch import nn

from nni_hypens import EdgeGroup, EdgeStructure, ImageData, image_evaluator, search_ensemble

KERNELS = {"conv1": 1, "conv3": 3, "conv5": 5}


def _convolution(channels: int, kernel: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, channels, kernel, padding="same", bias=False), nn.BatchNorm2d(channels), nn.ReLU()
    )


class TwoStages(ModelSpace):
    """Input ``B x 1 x H x W``, output logits ``B x 10``."""

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), nn.ReLU())
        self.first = self.operation(channels, "first")
        self.second = nn.ModuleList(self.operation(channels, f"second_{source}") for source in ("stem", "first"))
        self.source = InputChoice(n_candidates=2, n_chosen=1, label="source")
        self.third = self.operation(channels, "third")
        self.deep = Repeat(lambda index: _convolution(channels, 3), (1, 2), label="depth")
        self.head = nn.Linear(channels, 10)

    @staticmethod
    def operation(channels: int, label: str) -> LayerChoice:
        return LayerChoice({name: _convolution(channels, size) for name, size in KERNELS.items()}, label=label)

    def edge_groups(self) -> list[EdgeGroup]:
        """One slot: the source of the second stage with the operation on each of its two sources."""
        return [EdgeGroup("second", (("source", ("second_stem", "second_first")),))]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        stem = self.stem(images)
        first = self.first(stem)
        second = self.source([operation(state) for operation, state in zip(self.second, (stem, first), strict=True)])
        return self.head(self.deep(self.third(second)).mean(dim=(2, 3)))


def main() -> None:
    parser = argparse.ArgumentParser(description="An ensemble from your own model space.")
    parser.add_argument("--quick", action="store_true", help="two members, a few epochs")
    parser.add_argument("--out", type=Path, help="run folder (default: runs/own_space)")
    arguments = parser.parse_args()
    quick = arguments.quick

    structure = EdgeStructure.from_space(TwoStages())
    one = {"first": "conv3", "second_stem": "conv1", "second_first": "conv5", "source": [1], "third": "conv3"}
    one["depth"] = 1
    other = {**one, "second_stem": "conv5"}  # differs only on the source that is not chosen: the same architecture
    print(f"{structure.n_edges} edges: {structure.describe(one)}")
    print(f"the other one shares {structure.shared_edges(one, other)} of them")

    data = ImageData("digits", train_size=300 if quick else None)
    result = search_ensemble(
        TwoStages(),
        image_evaluator(data, num_classes=10, epochs=6 if quick else 20),
        data,
        arguments.out or Path("runs/own_space-quick" if quick else "runs/own_space"),
        search_evaluator=image_evaluator(data, num_classes=10, epochs=4 if quick else 30),
        members=2 if quick else 3,
        candidates=2 if quick else 8,
        per_trial=2 if quick else 1,
        stress_images=0 if quick else 256,
        quiet=quick,
    )
    print(result.metrics.round(4).to_string())
    print(f"report: {result.out / 'report.html'}")


if __name__ == "__main__":
    main()
