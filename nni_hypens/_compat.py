"""The only file that knows versions, names private to NNI or Lightning, and workarounds; each says why and until when."""

from __future__ import annotations

import warnings
from typing import Any

import pytorch_lightning as pl


def quiet_imports() -> None:
    """Silence warnings that nni 3.0 and Lightning 2.6 raise on current torch and that no user can act on.

    Can go when ``python -W error -c 'import nni.nas.nn.pytorch'`` passes.
    """
    warnings.filterwarnings("ignore", message=".*is found to be not a nn.Module.*", category=RuntimeWarning)
    warnings.filterwarnings("ignore", category=FutureWarning, module="pytorch_lightning.utilities._pytree")
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*", category=FutureWarning)


def quiet_training() -> None:
    """Silence hints of Lightning that do not hold here: our data is in memory, and steps are few."""
    for message in (".*does not have many workers.*", ".*The number of training batches.*", ".*`isinstance.treespec.*",
                    ".*exists and is not empty.*", ".*You defined a `validation_step` but have no `val_dataloader`.*",
                    ".*modules in eval mode.*", ".*Failed to create link.*"):
        warnings.filterwarnings("ignore", message=message)


def restart_epoch_data(trainer: pl.Trainer) -> None:
    """Begin the epoch's data anew, after seeding.

    Lightning creates the iterator of a run's first epoch before ``on_train_epoch_start``, and those of later epochs after
    it, so a resumed epoch would see another order. Private: ``fit_loop._data_fetcher``, ``fit_loop.is_resuming``. Can go
    when ``tests/test_search.py::test_resume_is_exact`` passes without it.
    """
    loop = trainer.fit_loop
    first_epoch_of_run = trainer.current_epoch == 0 or loop.is_resuming
    if first_epoch_of_run and loop._data_fetcher is not None:
        iter(loop._data_fetcher)


def is_nni_lightning(evaluator: Any) -> bool:
    """Whether an evaluator is one of NNI's Lightning evaluators."""
    from nni.nas.evaluator.pytorch import Lightning

    return isinstance(evaluator, Lightning)
