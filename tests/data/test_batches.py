"""Batches of images."""

from __future__ import annotations

import torch

from nni_hypens.data.batches import ImageBatches


def test_batches_and_single_examples_agree() -> None:
    dataset = ImageBatches(torch.rand(6, 1, 8, 8), torch.arange(6))
    images, labels = dataset.__getitems__([5, 2])
    assert torch.equal(images[1], dataset[2][0]) and labels.tolist() == [5, 2] and dataset[5][1] == 5
