"""Choosing the base architecture: the lowest validation loss on the supernet among drawn architectures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
import torchmetrics

from nni_hypens.errors import InputError
from nni_hypens.search.batches import size_of
from nni_hypens.search.supernet import Supernet, batch_statistics
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.draws import ChoiceLayout, draw_paths

BASE_BATCHES = 8
"""Validation batches on which architectures are compared, at most."""
BUDGET_DRAWS = 200
"""Random architectures to try if none of the draws is within the budget."""


def draw_base_candidates(
    structure: EdgeStructure,
    draws: int,
    generator: torch.Generator,
    logits: torch.Tensor | None,
    accepts: Callable[[Sample], bool] | None,
) -> list[Sample]:
    """Different architectures, one of which becomes the base.

    Args:
        structure: Edges of the space.
        draws: Architectures to draw.
        generator: Source of the draws.
        logits: Searched logits ``L x M``: their mode and half of the draws come from them. None to draw uniformly.
        accepts: Whether an architecture is within the budget; None for no budget.

    Raises:
        InputError: No architecture within the budget was found.
    """
    table, layout = structure.table, ChoiceLayout(structure.table)
    uniform = torch.zeros(layout.n_labels, layout.n_options)
    rows = []
    if logits is not None:
        rows.append(draw_paths(logits, layout, 1.0, noise=False).chosen)
        rows += list(draw_paths(logits.expand(draws // 2, -1, -1), layout, 1.0, generator).chosen)
    more = max(draws - len(rows), 0)
    rows += list(draw_paths(uniform.expand(more, -1, -1), layout, 1.0, generator).chosen)
    samples = {structure.key(sample): sample for sample in (table.to_sample(row.tolist()) for row in rows)}
    accepted = [sample for sample in samples.values() if accepts is None or accepts(sample)]
    if accepted:
        return accepted
    assert accepts is not None
    for _ in range(BUDGET_DRAWS):
        sample = table.to_sample(draw_paths(uniform, layout, 1.0, generator).chosen.tolist())
        if accepts(sample):
            return [sample]
    raise InputError(
        "max_params, max_flops",
        f"limits that none of {BUDGET_DRAWS} random architectures keeps",
        "limits that the space can meet",
    )


@torch.no_grad()
def path_loss(module: pl.LightningModule, supernet: Supernet, sample: Sample, batches: Sequence[Any]) -> torch.Tensor:
    """Mean loss of one path over all images, with inherited weights, BatchNorm by batch; a scalar.

    Each batch counts with its images: the last one is often short, and BatchNorm makes the loss of few images noisy.

    Args:
        module: The user's module, whose model is the supernet; its ``training_step`` gives the loss.
        supernet: The supernet.
        sample: The architecture.
        batches: Batches on the module's device.
    """
    supernet.set_path(sample)
    with batch_statistics(module):
        losses = torch.stack([loss_of(module.training_step(batch, 0)) for batch in batches])
    sizes = losses.new_tensor([max(size_of(batch), 1) for batch in batches])
    return (losses * sizes).sum() / sizes.sum()


class Silenced:
    """Context in which the user's module logs nothing; its metrics are reset afterwards."""

    def __init__(self, module: pl.LightningModule) -> None:
        self.module = module

    def __enter__(self) -> None:
        self.log = self.module.log
        self.module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]

    def __exit__(self, *error: Any) -> None:
        self.module.log = self.log  # type: ignore[method-assign]
        for metric in self.module.modules():
            if isinstance(metric, torchmetrics.Metric):
                metric.reset()


def loss_of(output: Any) -> torch.Tensor:
    """The loss in the output of ``training_step``.

    Raises:
        InputError: There is none.
    """
    loss = output.get("loss") if isinstance(output, dict) else output
    if not isinstance(loss, torch.Tensor):
        got = "None" if output is None else f"a {type(output).__name__} without it"
        raise InputError("training_step", got, "the loss, or a dict with it under 'loss': a search skips no step")
    return loss


LossFn = Callable[[Sample], float]


def best_by_loss(samples: list[Sample], loss: LossFn) -> tuple[Sample, float]:
    """The architecture with the lowest loss (the first one on a tie), and that loss.

    Raises:
        InputError: Every loss is NaN.
    """
    losses = [loss(sample) for sample in samples]
    finite = [(value, index) for index, value in enumerate(losses) if value == value]
    if not finite:
        raise InputError(
            "loss", "NaN for every architecture of the supernet", "a finite validation loss; lower the learning rate"
        )
    value, index = min(finite)
    return samples[index], value
