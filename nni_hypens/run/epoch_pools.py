"""Architectures that a search would give after each of its epochs, for accuracy against the length of the search."""

from __future__ import annotations

from typing import cast

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback

from nni_hypens.run.plan import Plan
from nni_hypens.search.module import EdgeNESModule
from nni_hypens.search.schedule import HYPERNETWORK
from nni_hypens.utils.files import write_json
from nni_hypens.utils.run_files import SearchFiles


class EpochPools(Callback):
    """Writes a pool of architectures after each epoch of the hypernetwork: the base, and draws spread over the dial.

    A pool is as large as the number of candidates, and one for the base. The draws have seeds of their own, so they do
    not change the search. Lightning calls this before it writes the checkpoint of the epoch: a search that continues
    from a checkpoint lacks no file, and writes those of later epochs again, with the same content.

    Args:
        files: Files of the search.
        plan: The plan of the run.
    """

    def __init__(self, files: SearchFiles, plan: Plan) -> None:
        self.files = files
        self.plan = plan

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module = cast("EdgeNESModule", pl_module)
        epoch = trainer.current_epoch
        assert module.schedule is not None
        if module.schedule.phase(epoch) != HYPERNETWORK or not trainer.is_global_zero:
            return
        settings = self.plan.settings
        pool = module.sampler().pool(settings.candidates + 1, self.plan.lam_range, settings.seed, at_least=1)
        records = [
            {
                "lam": one.lam,
                "shared_edges": one.shared_edges,
                "source": one.source,
                "architecture": one.architecture,
            }
            for one in pool
        ]
        write_json(self.files.epoch_pool(epoch), {"epochs": epoch + 1, "pool": records})
