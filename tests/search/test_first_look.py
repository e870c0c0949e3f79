"""What of the user's module and space a search refuses by name, before its first epoch, and what it supports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nni
import pytest
import torch
from nni.nas.evaluator.pytorch import Classification, ClassificationModule, DataLoader, Lightning, Trainer
from nni.nas.experiment import NasExperiment
from nni.nas.nn.pytorch import ModelSpace
from torch.utils.data import TensorDataset

from nni_hypens import EdgeNES, InputError
from tests.support.one_pixel import OnePixel
from tests.support.searches import config

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


@nni.trace
class Own(ClassificationModule):  # type: ignore[misc]
    """A module of the user with something that a search may not support."""

    def __init__(self, kind: str) -> None:
        super().__init__(num_classes=4)
        self.kind = kind
        self.automatic_optimization = kind != "manual"

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return {"none": None, "dict": {"loss": loss}, "empty": {}}.get(self.kind, loss)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), 0.1)
        if self.kind != "plateau":
            return optimizer
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "train_loss"}}


def loader(n: int) -> Any:
    generator = torch.Generator().manual_seed(n)
    images = torch.randn(n, 1, 8, 8, generator=generator)
    return DataLoader(TensorDataset(images, torch.arange(n) % 4), 8)


def search(folder: Path, space: ModelSpace, module: Any = None, epochs: int = 1, images: int = 17) -> EdgeNES:
    loaders = {"train_dataloaders": loader(images), "val_dataloaders": loader(images)}
    if module is None:
        evaluator = Classification(num_classes=4, max_epochs=epochs, **loaders, **QUIET)
    else:
        evaluator = Lightning(module, Trainer(max_epochs=epochs, **QUIET), **loaders)
    strategy = EdgeNES(base_draws=2)
    experiment = NasExperiment(space, evaluator, strategy, config(folder))
    try:
        experiment.start()
    finally:
        experiment.stop()
    return strategy


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("plateau", "^configure_optimizers: got ReduceLROnPlateau"),
        ("manual", "^automatic_optimization: got False"),
        ("none", "^training_step: got None"),
        ("empty", "^training_step: got a dict without"),
    ],
)
def test_what_a_search_does_not_support_is_named_before_the_first_epoch(
    tmp_path: Path, kind: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        search(tmp_path, OnePixel(), Own(kind))


def test_the_option_that_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^label 'op': got option 'other', which fails where 'same' works"):
        search(tmp_path, OnePixel(width=5))


@pytest.mark.parametrize("epochs", [1, 2])
def test_short_searches_single_images_and_shared_weights_are_supported(tmp_path: Path, epochs: int) -> None:
    """The last of 17 images is alone in its batch, of which no layer could normalise a map of one pixel."""
    strategy = search(tmp_path, OnePixel(), Own("dict"), epochs)
    assert len(strategy.history) == epochs and strategy.history[-1]["phase"] == "hypernetwork"
    strategy.save_supernet(tmp_path / "supernet.safetensors")
    again = EdgeNES(supernet=tmp_path / "supernet.safetensors")
    again.mutate_model(OnePixel())
    sample = strategy.base_architecture
    probabilities = [one.trained_supernet.predict([sample], list(loader(17)))[0] for one in (strategy, again)]
    assert torch.equal(*probabilities) and probabilities[0].shape == (17, 4)
    head = strategy.inherited(sample)
    assert torch.equal(head.head.weight, head.again.weight)  # type: ignore[union-attr,arg-type]
