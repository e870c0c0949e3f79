"""The updates of a candidate are counted before a run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from nni_hypens import ImageData, InputError, image_evaluator
from nni_hypens.run.updates import count_updates


def images(n: int, **options: Any) -> Any:
    loader = DataLoader(TensorDataset(torch.zeros(n, 1), torch.zeros(n)), **options)
    return SimpleNamespace(train_dataloader=lambda: loader)


def trains(epochs: int | None = 3, limit: float = 1.0) -> Any:
    return SimpleNamespace(trainer=SimpleNamespace(max_epochs=epochs, limit_train_batches=limit))


def test_few_images_get_as_many_updates_as_fit() -> None:
    data = ImageData("digits", train_size=126)
    updates = count_updates(data, image_evaluator(data, 10, 20))
    assert updates is not None and (updates.total, updates.unused, updates.batch) == (300, 6, 8)
    stopping = count_updates(data, image_evaluator(data, 10, 20, early_stopping=3))
    assert stopping is not None and "at most 300 updates" in str(stopping)
    assert "gets 300 updates" in str(updates) and "leaves out 6 images" in str(updates)


@pytest.mark.parametrize(
    ("data", "evaluator", "total", "unused"),
    [
        (images(10, batch_size=4, drop_last=True), trains(), 6, 2),
        (images(10, batch_size=4), trains(), 9, 0),
        (images(10, batch_size=4), trains(limit=2), 6, 2),
        (images(10, batch_size=2), trains(limit=0.5), 6, 6),
        (images(10, batch_size=None), trains(), 30, 0),
        (images(10, batch_size=4), trains(-1), None, 0),
        (images(10, batch_size=4), object(), None, 0),
    ],
)
def test_updates_follow_from_loader_and_trainer(data: Any, evaluator: Any, total: int | None, unused: int) -> None:
    updates = count_updates(data, evaluator)
    assert updates is not None and (updates.total, updates.unused) == (total, unused)
    assert updates.smallest == (None if updates.batch is None else 4 if updates.drops else 10 % updates.batch or 2)
    assert str(updates.each) in str(updates)


def test_a_loader_without_a_batch_is_refused_and_one_without_a_length_is_not_counted() -> None:
    with pytest.raises(InputError, match="^data.train_dataloader: got no batch of 16 from 10 images"):
        count_updates(images(10, batch_size=16, drop_last=True), trains())
    assert count_updates(SimpleNamespace(train_dataloader=lambda: iter([])), trains()) is None  # type: ignore[arg-type]
    assert count_updates(SimpleNamespace(), trains()) is None  # type: ignore[arg-type]
