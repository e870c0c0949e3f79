"""What a search checks on the user's own module and data before its first epoch: one step of each option."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytorch_lightning as pl
from torch.optim.lr_scheduler import ReduceLROnPlateau

from nni_hypens.errors import InputError
from nni_hypens.search.base_choice import Silenced, path_loss
from nni_hypens.search.batches import few_of
from nni_hypens.space.architecture import Sample
from nni_hypens.space.coverage import check_every_option

if TYPE_CHECKING:
    from nni_hypens.search.module import EdgeNESModule


def first_look(module: EdgeNESModule, samples: Sequence[Sample]) -> None:
    """Run the user's ``training_step`` on two validation images and each of a few paths of the supernet.

    Nothing changes: no weights, no statistics, and each epoch seeds all generators.

    Args:
        module: The search, ready to begin.
        samples: Architectures that have every option of every choice, by `covering_architectures`.

    Raises:
        InputError: Names the label and the option that does not fit, or what of the user's module or trainer a search
            does not support.
    """
    check_schedulers(module.trainer)
    batch = few_of(module.validation_batches(1)[0])

    def attempt(sample: Sample) -> None:
        path_loss(module.training_module, module.supernet, sample, [batch])

    with Silenced(module.training_module):
        check_every_option(module.structure, samples, attempt)


def check_schedulers(trainer: pl.Trainer) -> None:
    """Refuse schedulers that wait for a metric: a search has none at the end of its epochs.

    Raises:
        InputError: Names the scheduler.
    """
    for config in trainer.lr_scheduler_configs:
        if config.reduce_on_plateau or isinstance(config.scheduler, ReduceLROnPlateau):
            name = type(config.scheduler).__name__
            raise InputError(
                "configure_optimizers", name, "a scheduler without a metric, such as CosineAnnealingLR, for the search"
            )
