"""How a search uses the user's evaluator: its trainer, data loaders and checkpoints."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nni.nas.strategy  # noqa: F401  # before nni.nas.oneshot: see nni_hypens/_nni.py
import pytorch_lightning as pl
from nni.nas.evaluator.pytorch import Lightning
from nni.nas.oneshot.pytorch.strategy import OneShotStrategy
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, Timer
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy

from nni_hypens._nni import finds_unused_parameters, quiet_training
from nni_hypens.errors import InputError
from nni_hypens.search.reports import ProbabilityCurves, reporting

LOADERS = ("train_dataloader", "val_dataloader")
PRECISIONS = ("32-true", "64-true", "bf16-mixed")
DDP = "ddp_find_unused_parameters_true"


def check_trainer(trainer: pl.Trainer) -> None:
    """Refuse settings of the trainer under which the search would be wrong.

    Raises:
        InputError: Names the setting, and what would do.
    """
    if trainer.accumulate_grad_batches != 1:
        raise InputError(
            "accumulate_grad_batches",
            trainer.accumulate_grad_batches,
            "1: weights and architecture take turns after each batch; use a larger batch",
        )
    if trainer.gradient_clip_val is not None:
        raise InputError(
            "gradient_clip_val in the trainer",
            trainer.gradient_clip_val,
            "None there, and EdgeNES(gradient_clip_val=...): only the weights are to be clipped",
        )
    if trainer.precision not in PRECISIONS:
        raise InputError(
            "precision",
            repr(trainer.precision),
            f"one of {', '.join(PRECISIONS)}: in 16-mixed the gradients that are clipped would be those of a scaled "
            "loss, and in half precision alone the logits would lose small steps",
        )
    for name, endless in (("max_steps", -1), ("max_time", None)):
        value = trainer.max_steps if name == "max_steps" else _time_limit(trainer)
        if value != endless:
            raise InputError(name, value, f"{endless} in the trainer of a search, whose phases are epochs: max_epochs")
    if any(isinstance(callback, EarlyStopping) for callback in trainer.callbacks):  # type: ignore[attr-defined]
        raise InputError(
            "callbacks in the trainer",
            "EarlyStopping",
            "none of it in the trainer of a search, which would end before the hypernetwork is trained",
        )
    if isinstance(trainer.strategy, DDPStrategy):
        if not finds_unused_parameters(trainer.strategy):
            raise InputError("strategy", "ddp", f"{DDP!r}: each step runs one path, and the other weights wait")
    elif not isinstance(trainer.strategy, SingleDeviceStrategy):
        raise InputError("strategy", type(trainer.strategy).__name__, f"one device, or {DDP!r}")


def _time_limit(trainer: pl.Trainer) -> Any:
    """``max_time`` of a trainer, which Lightning keeps as a callback."""
    timers = [callback for callback in trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]
    return timers[0]._duration if timers else None


def check_search_evaluator(evaluator: Lightning) -> None:
    """Refuse an evaluator with which a search would be wrong, or would end early.

    Raises:
        InputError: Names the setting, and what would do.
    """
    check_trainer(evaluator.trainer)
    if not evaluator.module.automatic_optimization:
        expected = "True: in a search EdgeNES takes the optimiser's steps, and training_step gives the loss"
        raise InputError("automatic_optimization", False, expected)


class LightningSearch(OneShotStrategy):  # type: ignore[misc]
    """A one-shot strategy of NNI that continues after interruptions and leaves the user's data module as it was.

    Args:
        checkpoint_dir: Folder for a checkpoint after each epoch, or None.
        log_probs: Whether to log the probability of each option; None to log if the trainer has a logger.
        mutation_hooks: Extra hooks, as for any one-shot strategy of NNI.

    Raises:
        InputError: ``log_probs`` is not True, False or None.
    """

    def __init__(
        self,
        checkpoint_dir: str | Path | None,
        log_probs: bool | None,
        mutation_hooks: list[Callable[..., Any]] | None,
    ) -> None:
        super().__init__(mutation_hooks=mutation_hooks)
        if log_probs is not None and not isinstance(log_probs, bool):
            raise InputError("log_probs", repr(log_probs), "True, False, or None")
        self.log_probs = log_probs
        self.checkpoint_dir = None if checkpoint_dir is None else Path(checkpoint_dir)
        self._val_batches: Callable[[], Any] | None = None
        self._patched: dict[str, Any] = {}

    def mutate_evaluator(self, evaluator: Lightning) -> Lightning:
        """Wrap the user's evaluator; it must be one of NNI's Lightning evaluators, with validation data."""
        if not isinstance(evaluator, Lightning):
            raise InputError("evaluator", type(evaluator).__name__, "an nni.nas.evaluator.pytorch.Lightning evaluator")
        check_search_evaluator(evaluator)
        if evaluator.datamodule is not None:
            self._patched = {name: vars(evaluator.datamodule).get(name) for name in LOADERS}
        mutated = super().mutate_evaluator(evaluator)
        mutated.module.val_batches = self._validation_batches
        if self.checkpoint_dir is not None:
            mutated.trainer.callbacks.append(
                ModelCheckpoint(self.checkpoint_dir, save_last=True, save_top_k=1, enable_version_counter=False)
            )
            self._resume_from(self.checkpoint_dir / "last.ckpt", mutated)
        mutated.module.listeners.append(ProbabilityCurves(self.log_probs))
        return mutated

    @staticmethod
    def _resume_from(checkpoint: Path, evaluator: Lightning) -> bool:
        """Make the search continue from a checkpoint, if the file exists. It is read without unpickling."""
        if not checkpoint.exists():
            return False
        evaluator.fit_kwargs["ckpt_path"] = str(checkpoint)
        evaluator.fit_kwargs["weights_only"] = True
        return True

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue an interrupted search (``NasExperiment.resume``).

        NNI's state names a checkpoint only after an orderly stop. After ``kill -9`` we use Lightning's last one: in
        ``checkpoint_dir``, or in the folder of the trainer's own ``ModelCheckpoint(dirpath, save_last=True)``.
        """
        assert self._mutated_model_space is not None  # NNI initialises the strategy first
        evaluator = self._mutated_model_space.evaluator
        if "ckpt_path" in evaluator.fit_kwargs:
            return
        callback = evaluator.trainer.checkpoint_callback
        folder = getattr(callback, "dirpath", None)
        checkpoints = [state_dict.get("ckpt_path"), Path(folder) / "last.ckpt" if folder else None]
        if not any(self._resume_from(Path(path), evaluator) for path in checkpoints if path):
            warnings.warn("no checkpoint of this search was found; it starts from the beginning", stacklevel=2)

    def _run(self) -> None:
        """Run the search, then put back the loaders that NNI replaced on the user's data module."""
        quiet_training()
        try:
            with reporting(self.oneshot_module):
                super()._run()
        finally:
            datamodule = self._mutated_model_space.evaluator.datamodule
            for name, loader in self._patched.items():
                if loader is None:
                    delattr(datamodule, name)
                else:
                    setattr(datamodule, name, loader)
            self._patched = {}

    def _validation_batches(self) -> Any:
        """The user's validation loader. With a data module, Lightning asks for it only when the search begins."""
        if self._val_batches is None:
            raise RuntimeError("no validation data: Lightning has not asked for the data loaders yet")
        return self._val_batches()

    def train_dataloader(self, train_dataloader_fn: Callable[[], Any], val_dataloader_fn: Callable[[], Any]) -> Any:
        """Batches ``{"train", "val"}``, as in NNI's DARTS."""
        self._val_batches = val_dataloader_fn
        return {"train": train_dataloader_fn(), "val": val_dataloader_fn()}

    def val_dataloader(self, train_dataloader_fn: Callable[[], Any], val_dataloader_fn: Callable[[], Any]) -> Any:
        """None: the architecture steps use the validation data."""
        return None
