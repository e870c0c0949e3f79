"""Successive halving: who goes on, and that whoever does ends as if nothing had stopped."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import nni
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from nni.nas.evaluator import FunctionalEvaluator
from nni.nas.evaluator.pytorch import Classification, DataLoader, Lightning, Trainer
from nni.nas.space import SimplifiedModelSpace
from safetensors.torch import load_file

from nni_hypens import ImageData, InputError, image_evaluator
from nni_hypens.data.batches import as_batch
from nni_hypens.trials import halving
from nni_hypens.trials.evaluators import ImageClassification
from nni_hypens.trials.training import CandidateEvaluator, TrialSpec, reached
from tests.support.trials import space, specs


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (20, [5, 10, 20]), (12, [3, 6, 12]), (100, [25, 50, 100]), (11, [5, 11]), (7, [3, 7]), (6, [3, 6]), (5, [5]),
        (1, [1]),
    ],
)  # fmt: skip
def test_rungs(epochs: int, expected: list[int]) -> None:
    found = halving.rungs(epochs)
    assert found == expected
    assert all(b - a >= halving.SPACING for a, b in zip([0, *found], found, strict=False)) or len(found) == 1


def test_the_better_half_goes_on_but_never_too_few() -> None:
    scores = {"a": 0.5, "b": 0.1, "c": 0.3, "d": 0.3, "e": 0.2}
    assert halving.survivors(scores, 1) == ["b", "e", "c"]  # of two and a half three; of equals the first
    assert halving.survivors(scores, 4) == ["b", "e", "c", "d"]
    assert sorted(halving.survivors(scores, 9)) == list("abcde")


@pytest.fixture(scope="module")
def data() -> ImageData:
    """With augmentation: every epoch draws the order and the shifts of its images."""
    return ImageData("digits", train_size=128, validation_size=64, test_size=32, batch_size=64, augment="crop")


@nni.trace
class Noisy(ImageClassification):
    """Draws from every generator in every step and at the start of every epoch."""

    def on_train_epoch_start(self) -> None:
        self.level = 0.1 * float(torch.rand(1)) + 0.1 * random.random()

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        images, labels = batch
        noise = self.level + 0.1 * random.random() + 0.1 * float(np.random.rand())
        return super().training_step((images + noise * torch.randn_like(images), labels), batch_idx)


def quiet_trainer(epochs: int, **more: Any) -> Any:
    return Trainer(max_epochs=epochs, logger=False, enable_progress_bar=False, enable_model_summary=False, **more)


def noisy_evaluator(data: ImageData, epochs: int) -> Lightning:
    trainer = quiet_trainer(epochs, enable_checkpointing=False, min_epochs=epochs)
    return Lightning(Noisy(10, 0.01, 1e-3, epochs), trainer, datamodule=data)


def momentum_evaluator(data: ImageData, epochs: int) -> Lightning:
    """NNI's own, on loaders, whose module keeps classes among its hyper-parameters."""
    train, validation = data.train_dataloader(), data.val_dataloader()
    loaders = [
        DataLoader(loader.dataset, batch_size=32, shuffle=order, collate_fn=as_batch)
        for loader, order in ((train, True), (validation, False))
    ]
    return Classification(
        train_dataloaders=loaders[0], val_dataloaders=loaders[1], num_classes=10, max_epochs=epochs, logger=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip


def train(
    data: ImageData, folder: Path, evaluator: Lightning, *specs: TrialSpec, travel: bool = True
) -> dict[str, Any]:
    model = SimplifiedModelSpace.from_model(space()).freeze(specs[0].architecture)
    model.evaluator = CandidateEvaluator(evaluator, data, [asdict(spec) for spec in specs], str(folder))
    return (nni.load(nni.dump(model)) if travel else model).execute()


@pytest.mark.parametrize("make", [image_evaluator, noisy_evaluator, momentum_evaluator])
def test_who_goes_on_ends_as_if_nothing_had_stopped(
    data: ImageData,
    tmp_path: Path,
    channel: Any,
    make: Any,
) -> None:
    """Weights and predictions bit for bit, the history of all epochs, with a disturbance between the rungs."""

    def evaluator() -> Lightning:
        return make(data, 10, 12) if make is image_evaluator else make(data, 12)

    spec, travel = specs(1)[0], make is image_evaluator
    train(data, tmp_path / "whole", evaluator(), spec, travel=travel)
    seen = []
    for until in (3, 6, 12):
        train(data, tmp_path / "rungs", evaluator(), replace(spec, until=until), travel=travel)
        torch.rand(until), np.random.rand(until), random.random()
        folder = tmp_path / "rungs" / "c00"
        seen.append(sorted(path.name for path in folder.iterdir()))
        if until < 12:
            rung = json.loads((folder / "rung.json").read_text())
            assert rung["epoch"] == until == len(rung["history"]) and rung["status"] == "waiting"
            assert torch.load(folder / f"epoch-{until}.ckpt", weights_only=True)["epoch"] == until
    assert seen == [["epoch-3.ckpt", "rung.json"], ["epoch-6.ckpt", "rung.json"],
                    ["metrics.json", "predictions.npz", "weights.safetensors"]]  # fmt: skip
    whole, halved = (tmp_path / name / "c00" for name in ("whole", "rungs"))
    first, second = load_file(whole / "weights.safetensors"), load_file(halved / "weights.safetensors")
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    with np.load(whole / "predictions.npz") as one, np.load(halved / "predictions.npz") as other:
        assert (one["val"] == other["val"]).all() and (one["test"] == other["test"]).all()
    one, other = (json.loads((folder / "metrics.json").read_text()) for folder in (whole, halved))
    assert [rung["epoch"] for rung in other.pop("rungs")] == [3, 6, 12] and len(one["history"]) == 12
    times = {"seconds": 0, "cpu_seconds": 0, "latency_ms": 0}
    assert {**one, **times} == {**other, **times}


def test_packs_go_on_as_each_alone(data: ImageData, tmp_path: Path, channel: Any) -> None:
    two = specs(2)
    for until in (3, 6):
        train(data, tmp_path / "together", image_evaluator(data, 10, 6), *(replace(spec, until=until) for spec in two))
    for spec in two:
        train(data, tmp_path / "alone", image_evaluator(data, 10, 6), spec)
        first, second = (load_file(tmp_path / name / spec.id / "weights.safetensors") for name in ("alone", "together"))
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_nothing_is_trained_twice(data: ImageData, tmp_path: Path, channel: Any, monkeypatch: Any) -> None:
    """A trial that was killed after it wrote its rung and before it said so is not repeated."""
    spec = replace(specs(1)[0], until=3)
    said = train(data, tmp_path, image_evaluator(data, 10, 6), spec)
    monkeypatch.setattr("nni_hypens.trials.training.train_until", lambda *arguments: pytest.fail("trained again"))
    assert train(data, tmp_path, image_evaluator(data, 10, 6), spec) == said
    assert reached(tmp_path / "c00", 3)["epoch"] == 3 and reached(tmp_path / "c00", 6) is None
    assert reached(tmp_path / "c00", None) is None and reached(tmp_path / "none", 3) is None


class StopsAt(pl.Callback):
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= 3


def test_an_evaluator_that_ends_by_itself_is_at_its_end(data: ImageData, tmp_path: Path, channel: Any) -> None:
    """Even at the very epoch of the rung: it would not have gone on without halving."""
    evaluator = image_evaluator(data, 10, 6)
    evaluator.trainer.callbacks.append(StopsAt())
    train(data, tmp_path, evaluator, replace(specs(1)[0], until=3), travel=False)
    record = json.loads((tmp_path / "c00" / "metrics.json").read_text())
    assert record["status"] == "trained" and len(record["history"]) == 3
    assert not (tmp_path / "c00" / "rung.json").exists()


class Keeps(pl.Callback):
    def state_dict(self) -> dict[str, Any]:
        return {"path": Path("somewhere"), "self": self}


def test_a_checkpoint_that_would_need_pickle_is_refused(data: ImageData, tmp_path: Path, channel: Any) -> None:
    evaluator = image_evaluator(data, 10, 6)
    evaluator.trainer.callbacks.append(Keeps())
    with pytest.raises(InputError, match="^halving: .*plain data"):
        train(data, tmp_path, evaluator, replace(specs(1)[0], until=3), travel=False)
    assert not list((tmp_path / "c00").glob("*"))


def test_what_cannot_be_halved_is_refused(data: ImageData) -> None:
    assert halving.epochs_of(image_evaluator(data, 10, 20), 3, 8) == 20
    with pytest.raises(InputError, match="^halving: got FunctionalEvaluator as evaluator; .*Lightning"):
        halving.epochs_of(FunctionalEvaluator(lambda model: None), 3, 8)
    with pytest.raises(InputError, match="^halving: got 5 epochs per candidate; .*at least 6"):
        halving.epochs_of(image_evaluator(data, 10, 5), 3, 8)
    with pytest.raises(InputError, match="^halving: got -1 epochs"):
        halving.epochs_of(Lightning(Noisy(10, 0.1, 0.0, 1), quiet_trainer(-1), datamodule=data), 3, 8)
    with pytest.raises(InputError, match="^halving: got 4 candidates for 3 members; .*at least 5"):
        halving.epochs_of(image_evaluator(data, 10, 20), 3, 4)


@pytest.mark.parametrize("options", [{"generator": torch.Generator()}, {"num_workers": 1, "persistent_workers": True}])
def test_loaders_that_cannot_be_taken_up_are_refused(data: ImageData, options: dict[str, Any]) -> None:
    dataset = data.train_dataloader().dataset
    loader = DataLoader(dataset, batch_size=32, shuffle=True, collate_fn=as_batch, **options)
    evaluator = Classification(
        train_dataloaders={"a": [loader]}, val_dataloaders=data.val_dataloader(), num_classes=10, max_epochs=20
    )
    with pytest.raises(InputError, match=f"^halving: .*{next(reversed(options))}"):
        halving.epochs_of(evaluator, 3, 8)
