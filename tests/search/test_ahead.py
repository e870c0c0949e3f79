"""A search step on an accelerator: the host never waits for it, and runs the paths that it drew."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import CombinedLoader

from nni_hypens import EdgeNES
from nni_hypens.search import ahead, module
from nni_hypens.search.ahead import LogitsAhead
from nni_hypens.search.schedule import BASE, HYPERNETWORK, WARMUP
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.trials.evaluators import ImageClassification
from search_spaces import OneCell
from tests.support.no_sync import META, NoWaiting, StepsDoneError, pretended


class Arrived:
    """What stands for a copy on the host: a tensor on the meta device has no values."""

    def __init__(self, tensor: torch.Tensor) -> None:
        assert tensor.device == META
        self.shape = tensor.shape

    def get(self) -> torch.Tensor:
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(0))


class Batches:
    """Batches on the device, without a length: Lightning would look at it."""

    def __iter__(self) -> Any:
        while True:
            yield torch.zeros(4, 1, 8, 8, device=META), torch.zeros(4, dtype=torch.int64, device=META)


class Steps(pl.Callback):
    """Watches for waiting from the second step on: the first of an epoch looks at its loss."""

    def __init__(self, mode: NoWaiting) -> None:
        self.mode, self.done, self.watching = mode, 0, ExitStack()

    def on_train_batch_start(self, trainer: Any, *rest: Any) -> None:
        if self.done:
            self.watching.enter_context(self.mode)

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        self.watching.close()
        self.done += 1
        if self.done == 2:
            raise StepsDoneError

    def on_exception(self, *rest: Any) -> None:
        self.watching.close()


@pytest.mark.parametrize("phase", [WARMUP, BASE, HYPERNETWORK])
def test_no_step_waits_for_the_accelerator(phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "HostCopy", Arrived)
    for looks in ("check_finite", "first_look"):  # once in an epoch, and before the first
        monkeypatch.setattr(module, looks, lambda *arguments: None)
    space = OneCell(channels=2, nodes=1, in_channels=1, operations=["skip_connect", "max_pool_3x3"])
    table = EdgeStructure.from_space(space).table
    base = table.validate({label: options[0] for label, options in table.options.items()})
    strategy = EdgeNES(
        base if phase == HYPERNETWORK else None, warmup_epochs=int(phase == WARMUP), regularizer_steps=1, pivots=2
    )
    user = ImageClassification(10, 0.01, 0.0, 3)
    user.set_model(strategy.mutate_model(space))
    steps = Steps(NoWaiting())
    trainer = pl.Trainer(
        **pretended(), max_epochs=3, callbacks=[steps], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    with suppress(StepsDoneError, NotImplementedError):  # the second is about what comes back to the host in the end
        trainer.fit(strategy.configure_oneshot_module(user), CombinedLoader({"train": Batches(), "val": Batches()}))
    assert steps.done == 2


def test_logits_of_a_step_are_computed_once_in_the_step_before() -> None:
    asked: list[tuple[str, int]] = []

    def compute(phase: str, batch: int) -> torch.Tensor:
        asked.append((phase, batch))
        return torch.tensor([[batch], [-batch]])

    logits = LogitsAhead(compute)
    logits.get(BASE, 0, 0)
    logits.send(BASE, 0, 1)
    first, second = logits.get(BASE, 0, 1)
    assert (first.tolist(), second.tolist()) == ([1], [-1]) and asked == [(BASE, 0), (BASE, 1)]
    logits.get(HYPERNETWORK, 1, 0)  # a new epoch, for which nothing was sent
    assert asked[2:] == [(HYPERNETWORK, 0)]
