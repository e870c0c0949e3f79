"""How many updates a candidate gets, and how many training images it does not see: said before a run."""

from __future__ import annotations

from typing import Any, NamedTuple

from pytorch_lightning.callbacks import EarlyStopping

from nni_hypens.data.protocols import LabelledData
from nni_hypens.errors import InputError
from nni_hypens.report.text import plural
from nni_hypens.utils.inputs import noun

FEW_UPDATES = 100
"""Updates below which a network has hardly learned anything."""


class Updates(NamedTuple):
    """The updates of one candidate.

    Attributes:
        epochs: Epochs of its training, or None if its evaluator does not tell.
        each: Updates in an epoch.
        batch: Images per batch, or None if the loader does not tell.
        images: Training images, or None if the loader does not tell.
        drops: Whether the loader leaves out a last incomplete batch.
        stops: Whether training may end early.
        noun: What an example is called.
    """

    epochs: int | None
    each: int
    batch: int | None
    images: int | None
    drops: bool = True
    stops: bool = False
    noun: str = "image"

    @property
    def smallest(self) -> int | None:
        """Images of the smallest batch, or None if that is not known."""
        if self.batch is None or self.images is None:
            return None
        last = self.images % self.batch
        return self.batch if self.drops or not last else last

    @property
    def total(self) -> int | None:
        """Updates of the whole training."""
        return None if self.epochs is None else self.epochs * self.each

    @property
    def unused(self) -> int:
        """Images that an epoch leaves out; others each time if the loader shuffles."""
        return 0 if self.batch is None or self.images is None else max(0, self.images - self.batch * self.each)

    def __str__(self) -> str:
        batches = "" if self.batch is None else f" (batches of {self.batch} of {self.images} training {self.noun}s)"
        left = f"; each epoch leaves out {self.unused} {self.noun}s" if self.unused else ""
        if self.epochs is None:
            return f"each epoch of a candidate has {self.each} updates{batches}{left}"
        total = f"{'at most ' if self.stops else ''}{plural(self.total or 0, 'update')}"
        return f"each candidate gets {total}: {plural(self.epochs, 'epoch')} of {self.each}{batches}{left}"


def count_updates(data: LabelledData, evaluator: Any) -> Updates | None:
    """The updates of a candidate, as its evaluator will make them on the training loader.

    Args:
        data: The data module.
        evaluator: Trains a candidate.

    Returns:
        None if the loader has no length.

    Raises:
        InputError: The training loader gives no batch, so nothing would be learned.

    Examples:
        >>> from nni_hypens import ImageData, image_evaluator
        >>> data = ImageData("digits", train_size=126, batch_size=64)
        >>> updates = count_updates(data, image_evaluator(data, 10, epochs=20))
        >>> updates.total, updates.unused
        (20, 62)
    """
    loader: Any = getattr(data, "train_dataloader", lambda: None)()
    try:
        each = len(loader)
    except TypeError:  # several loaders, or one of unknown length
        return None
    batch, images = getattr(loader, "batch_size", None), _length(getattr(loader, "dataset", None))
    if each == 0:
        got = "no batch" if batch is None else f"no batch of {batch} from {images} images"
        raise InputError("data.train_dataloader", got, "one batch or more: drop_last=False, or smaller batches")
    trainer = getattr(evaluator, "trainer", None)
    limit = getattr(trainer, "limit_train_batches", None)
    if limit is not None:  # a number of batches, or a share of them
        each = min(each, limit) if isinstance(limit, int) else int(each * limit)
    epochs = getattr(trainer, "max_epochs", None)
    stops = any(isinstance(callback, EarlyStopping) for callback in getattr(trainer, "callbacks", ()))
    epochs = epochs if epochs is None or epochs > 0 else None
    what, drops = noun(getattr(data, "input_spec", {})), getattr(loader, "drop_last", True)
    return Updates(epochs, each, batch, images, drops, stops, what)


def _length(dataset: Any) -> int | None:
    """Number of images of a dataset, or None if it has none."""
    try:
        return len(dataset)
    except TypeError:
        return None
