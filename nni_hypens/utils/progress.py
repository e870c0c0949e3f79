"""Progress on standard error: a bar with the time left for each long stage."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, cast

import nni
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from tqdm import tqdm


class Progress:
    """Bars and lines of one run; silent when ``quiet``.

    Args:
        quiet: Show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bar: tqdm[Any] | None = None

    def say(self, text: str) -> None:
        """One line."""
        if not self.quiet:
            tqdm.write(text, file=sys.stderr)

    def warn(self, text: str) -> None:
        """One line that is shown even where progress is not."""
        tqdm.write(f"warning: {text}", file=sys.stderr)

    def start(self, stage: str, total: int, unit: str, done: int = 0) -> None:
        """Begin a stage of ``total`` steps, ``done`` of which were finished before."""
        self.stop()
        live = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=f"{stage:9}",
            unit=unit,
            file=sys.stderr,
            disable=self.quiet,
            mininterval=0.2 if live else 5.0,
            dynamic_ncols=live,
            ncols=None if live else 110,
        )

    def step(self, n: int = 1, **numbers: Any) -> None:
        """``n`` steps are done; ``numbers`` are shown beside the bar."""
        if self._bar is not None:
            if numbers:
                shown = {key: f"{value:.3g}" if isinstance(value, float) else value for key, value in numbers.items()}
                self._bar.set_postfix(shown, refresh=False)
            self._bar.update(n)

    def stop(self) -> None:
        """End the stage."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class SearchProgress(Callback):
    """Shows each epoch of the search."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.progress.start("search", trainer.max_epochs or 0, "epoch", trainer.current_epoch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning calls callbacks before the module, which writes the row of this epoch: these are the numbers of
        # the one before
        history = cast("list[dict[str, Any]]", pl_module.history)
        row = history[-1] if history else {}
        shown = ("phase", "loss", "accuracy", "dial_error")
        self.progress.step(**{name: row[name] for name in shown if row.get(name) is not None})

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.progress.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.progress.stop()


class _BesideBars(logging.Handler):
    """Log records as lines of standard error, above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        text = re.sub(r"\$\{\w+\}", "", record.getMessage())  # NNI's names of colours
        tqdm.write(f"{record.levelname.lower()}: {text}", file=sys.stderr)


def logs_beside_progress() -> None:
    """Send what NNI logs to standard error: by itself it writes to standard output, in colours even into a file, where
    it would break the JSON of ``--json``."""
    nni.silence_stdout()
    logger = logging.getLogger("nni")
    if not any(isinstance(handler, _BesideBars) for handler in logger.handlers):
        logger.addHandler(_BesideBars())
