"""Stop the training of a candidate after some epochs, and continue it later with the same result."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from nni.nas.evaluator.pytorch import Lightning
from pytorch_lightning.callbacks import Callback
from torch.utils.data import DataLoader

from nni_hypens._nni import draw_epoch_data_anew
from nni_hypens.errors import InputError, reason
from nni_hypens.utils.checks import require
from nni_hypens.utils.files import check_file, read_object, replacing, write_json

RUNG = "rung.json"


def check_loaders(loaders: Any) -> None:
    """Refuse training data whose order does not follow from torch's, numpy's and Python's global generators.

    Raises:
        InputError: A ``DataLoader`` anywhere in ``loaders`` has its own generator or persistent workers.
    """
    if isinstance(loaders, DataLoader):
        hidden = [name for name in ("generator", "persistent_workers") if getattr(loaders, name)]
        hidden += ["sampler.generator"] if getattr(loaders.sampler, "generator", None) is not None else []
        if hidden:
            raise InputError("halving", f"a training DataLoader with {hidden[0]}", "false, or a DataLoader without it")
    elif isinstance(loaders, Mapping):
        check_loaders(list(loaders.values()))
    elif isinstance(loaders, list | tuple):
        for loader in loaders:
            check_loaders(loader)


class Pause(Callback):
    """Stops a fit after ``until`` epochs without changing its schedule, and continues a fit stopped like this.

    Lightning's checkpoints do not hold the state of random generators, so this callback adds it. It must be the first
    callback: other callbacks' draws at the start of an epoch come after it.
    """

    def __init__(self, until: int) -> None:
        self.until = until
        self.saving = False
        self.own_end = True  # whether the pause, not the evaluator, ended the fit
        self._state: dict[str, Any] | None = None
        self._restore: dict[str, Any] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        check_loaders(trainer.train_dataloader)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._restore is not None:
            set_random_state(self._restore)
            self._restore = None
            draw_epoch_data_anew(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # not trainer.should_stop: min_epochs overrides it, and it shows whether another callback stopped the fit
        if trainer.current_epoch + 1 == self.until:
            trainer.fit_loop.max_epochs = self.until

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._state = random_state()
        self.own_end = trainer.current_epoch == self.until and not trainer.should_stop

    def state_dict(self) -> dict[str, Any]:
        return self._state or {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restore = state_dict

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self.saving:  # classes (of the loss): not plain data, and not needed to continue a fit
            for owner in (pl_module, trainer.datamodule):  # type: ignore[attr-defined]
                for name in ("KEY", "NAME", "TYPE"):
                    key: Any = getattr(owner, f"CHECKPOINT_HYPER_PARAMS_{name}", None)
                    checkpoint.pop(key, None)


def random_state() -> dict[str, Any]:
    """The state of torch's, numpy's and Python's global generators as plain data and tensors."""
    kind, keys, *rest = np.random.get_state()
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, np.asarray(keys).tolist(), *rest],
        "python": [version, list(internal), gauss],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Restore a state returned by `random_state`."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))


def read_rung(directory: Path) -> dict[str, Any] | None:
    """The content of a candidate's ``rung.json``, how far it is trained; None before its first rung."""
    path = directory / RUNG
    if not path.exists():
        return None
    record = read_object(path)
    require(record, {"epoch": int}, str(path))
    return record


def train_until(
    evaluator: Lightning, model: torch.nn.Module, directory: Path, until: int
) -> tuple[Pause, Callable[[], None]]:
    """Train a candidate to the end of epoch ``until`` of its schedule, from its checkpoint or from the beginning.

    Args:
        evaluator: The user's evaluator, unused.
        model: The network; it ends with the weights after that epoch.
        directory: The candidate's folder.
        until: Epochs from the beginning, at most those of the schedule.

    Returns:
        The callback, whose ``own_end`` is False if the evaluator ended the fit, and a function that writes the
        checkpoint.
    """
    before = read_rung(directory)
    pause = Pause(until)
    evaluator.trainer.callbacks.insert(0, pause)
    if before is not None:
        path = directory / f"epoch-{before['epoch']}.ckpt"
        check_file(path)
        evaluator.fit_kwargs = {**evaluator.fit_kwargs, "ckpt_path": str(path), "weights_only": True}
    evaluator.evaluate(model)

    def save() -> None:
        pause.saving = True
        with replacing(directory / f"epoch-{until}.ckpt") as path:
            evaluator.trainer.save_checkpoint(path)
            check_plain(path)

    return pause, save


def check_plain(path: Path) -> None:
    """Check that a checkpoint can be read without unpickling.

    Raises:
        InputError: It holds objects other than tensors and plain data.
    """
    try:
        check_file(path)
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle.UnpicklingError, or any error of a broken file
        got = f"an evaluator whose checkpoint is no plain data ({reason(error)})"
        raise InputError("halving", got, "false") from None


def write_rung(directory: Path, record: Mapping[str, Any]) -> None:
    """Record how far a candidate is, after writing its checkpoint, and remove older checkpoints."""
    write_json(directory / RUNG, record)
    for path in directory.glob("epoch-*.ckpt"):
        if path.name != f"epoch-{record['epoch']}.ckpt":
            path.unlink()


def forget_rung(directory: Path) -> None:
    """Remove the files that are needed only to continue a candidate."""
    for path in (*directory.glob("epoch-*.ckpt"), directory / RUNG):
        path.unlink(missing_ok=True)
