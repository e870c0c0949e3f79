"""Evaluators and data on their way to another process."""

from __future__ import annotations

from typing import Any

import nni
import pytest
import torch
from nni.nas.evaluator.pytorch import Classification, DataLoader as TracedLoader
from torch.utils.data import DataLoader, TensorDataset

from nni_hypens import ImageData, InputError, image_evaluator
from nni_hypens.data.described import DescribedData
from nni_hypens.trials.parts import check_trial_parts, describe_part, rebuilt

QUIET = {
    "logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False,
    "accelerator": "cpu",
}  # fmt: skip


def tensors(n: int = 400) -> TensorDataset:
    return TensorDataset(torch.rand(n, 1, 8, 8), torch.arange(n) % 10)


def as_nni_documents_it(kind: Any, dataset: Any) -> Any:
    loaders = {"train_dataloaders": kind(dataset, batch_size=64), "val_dataloaders": kind(dataset, batch_size=64)}
    return Classification(**loaders, max_epochs=1, num_classes=10, **QUIET)


def test_loaders_that_nni_cannot_send_are_refused_in_one_line_that_says_how() -> None:
    plain = as_nni_documents_it(DataLoader, tensors())
    digits = ImageData("digits")
    with pytest.raises(InputError, match=r"^evaluator: .*runner='local'.*nni\.trace\(MNIST\)") as found:
        check_trial_parts(plain, digits)
    assert "\n" not in str(found.value)
    loader = DataLoader(tensors(), batch_size=64)
    untraced = DescribedData({"train": loader, "validation": loader, "test": loader})
    with pytest.raises(InputError, match=r"^data: .*runner='local'"):
        check_trial_parts(image_evaluator(digits, 10, 1), untraced)


def test_what_nni_documents_can_be_sent() -> None:
    traced = as_nni_documents_it(TracedLoader, nni.trace(tensors)(400))
    check_trial_parts(traced, ImageData("digits"))


def test_local_workers_take_what_can_be_pickled() -> None:
    plain = as_nni_documents_it(DataLoader, tensors())
    check_trial_parts(plain, ImageData("digits"), local=True)
    again = rebuilt(plain)
    assert torch.equal(again.train_dataloaders.dataset.tensors[0], plain.train_dataloaders.dataset.tensors[0])
    plain.train_dataloaders.dataset.tensors += ((x for x in ()),)  # a generator
    with pytest.raises(InputError, match="^evaluator or data: .*can be pickled"):
        check_trial_parts(plain, ImageData("digits"), local=True)


def test_what_nni_traced_is_described_by_its_arguments() -> None:
    assert describe_part(ImageData("digits")) == nni.dump(ImageData("digits"))
    loader = DataLoader(tensors(), batch_size=64)
    assert describe_part(DescribedData({"train": loader, "validation": loader, "test": loader})) is None
