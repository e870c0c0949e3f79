"""Images that stay on an accelerator, as far as a machine without one can show it."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerStatus

from nni_hypens import ImageData
from nni_hypens.data import module, resident
from nni_hypens.data.resident import place_of
from nni_hypens.errors import InputWarning
from tests.support.no_sync import META, NoWaiting, pretended


def asked_from(device: torch.device, processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "place_of", lambda trainer: (device, processes))


def small(**options: Any) -> ImageData:
    return ImageData("digits", train_size=96, validation_size=40, batch_size=32, **options)


def test_batches_are_made_where_the_images_are_and_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    data = small(augment="crop_flip,cutout")
    on_host = [batch for loader in (data.train_dataloader(), data.val_dataloader()) for batch in loader]
    asked_from(META, 1, monkeypatch)
    loaders = [data.train_dataloader(), data.val_dataloader()]
    with NoWaiting():
        on_device = [batch for loader in loaders for batch in loader]
    for pair, other in zip(on_host, on_device, strict=True):
        for part, there in zip(pair, other, strict=True):
            assert there.device == META and (there.shape, there.dtype) == (part.shape, part.dtype)
    assert loaders[0].dataset.images is data.train_dataloader().dataset.images, "sent once"


def test_what_waits_is_noticed() -> None:
    with NoWaiting(), pytest.raises(AssertionError, match="waits"):
        torch.zeros(3).to(META)
    with NoWaiting(), pytest.raises(RuntimeError):
        torch.zeros(3, device=META).sum().item()
    with NoWaiting(), pytest.raises((RuntimeError, NotImplementedError)):
        torch.zeros(3, device=META).cpu()


def test_images_that_do_not_fit_are_sent_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    data = small()
    monkeypatch.setattr(resident, "LARGEST", 136 * 64 * 4 - 1)
    asked_from(torch.device("cuda"), 1, monkeypatch)
    with pytest.warns(InputWarning, match=f"{136 * 64 * 4:,} bytes of images, more than the {136 * 64 * 4 - 1:,}"):
        loader = data.train_dataloader()
    assert loader.pin_memory and loader.dataset.images.device.type == "cpu"
    monkeypatch.setattr(resident, "LARGEST", 136 * 64 * 4)
    asked_from(META, 1, monkeypatch)
    assert data.train_dataloader().dataset.images.device == META


def test_processes_share_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_from(torch.device("cpu"), 2, monkeypatch)
    assert small().train_dataloader().batch_size == 16


def test_only_a_running_trainer_says_where() -> None:
    assert place_of(None) == (torch.device("cpu"), 1)
    trainer = pl.Trainer(**pretended(), logger=False, enable_checkpointing=False, enable_progress_bar=False)
    assert place_of(trainer) == (torch.device("cpu"), 1)
    trainer.state.status = TrainerStatus.RUNNING
    assert place_of(trainer) == (META, 1)
