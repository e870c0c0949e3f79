"""Progress on standard error: a bar with the time left for each long stage."""

from __future__ import annotations

import logging
import re
import shutil
import sys
import warnings
from collections.abc import Mapping
from typing import Any, cast

import nni
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from tqdm import tqdm

from nni_hypens.errors import InputWarning, one_line, printable

WIDTH = 80
"""Columns of a line of progress, fewer on a narrower terminal."""
BAR = "{desc} {bar} {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"
TEXT = 52
"""Columns of the stage and its numbers; the rest is for the bar, the count and the times."""


def _numbers_text(stage: str, numbers: Mapping[str, Any]) -> str:
    """A stage and as many of its numbers as fit, those that come first before the others."""
    text = f"{stage:9}"
    for key, value in numbers.items():
        part = f" {key.replace('_', ' ')} {f'{value:.3g}' if isinstance(value, float) else value}"
        if len(text) + len(part) > TEXT:
            break
        text += part
    return text


class Progress:
    """Shows the progress bars and messages of one run.

    Args:
        quiet: Show only warnings.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bar: tqdm[Any] | None = None
        self._stage = ""

    def say(self, text: str) -> None:
        """Print one line, unless ``quiet``."""
        if not self.quiet:
            tqdm.write(one_line(text), file=sys.stderr)

    def warn(self, text: str) -> None:
        """Print a warning, even if ``quiet``."""
        tqdm.write(f"warning: {one_line(text)}", file=sys.stderr)

    def start(self, stage: str, total: int, unit: str, done: int = 0) -> None:
        """Begin the bar of a stage with ``total`` steps; ``done`` of them were finished before."""
        self.stop()
        live = sys.stderr.isatty()
        self._stage = stage
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=f"{stage:9}",
            unit=unit,
            file=sys.stderr,
            disable=self.quiet,
            mininterval=0.2 if live else 5.0,
            ncols=min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns) if live else WIDTH,
            bar_format=BAR,
        )

    def step(self, n: int = 1, **numbers: Any) -> None:
        """Move the bar by ``n`` steps, and show ``numbers`` beside it."""
        if self._bar is not None:
            if numbers:
                self._bar.set_description_str(_numbers_text(self._stage, numbers), refresh=False)
            self._bar.update(n)

    def stop(self) -> None:
        """Close the bar of the stage."""
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
        # Lightning calls this hook before that of the module, which adds the row of this epoch to the history. So the
        # last row is that of the previous epoch.
        history = cast("list[dict[str, Any]]", pl_module.history)
        row = history[-1] if history else {}
        shown = ("accuracy", "loss", "dial_error", "phase")
        self.progress.step(**{name: row[name] for name in shown if row.get(name) is not None})

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.progress.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.progress.stop()


class _BesideBars(logging.Handler):
    """Prints log records on standard error, above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        text = re.sub(r"\$\{\w+\}", "", record.getMessage())  # NNI's placeholders for colours, such as ${GREEN}
        lines = "\n".join(map(printable, text.splitlines()))
        tqdm.write(f"{record.levelname.lower()}: {lines}", file=sys.stderr)


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    if issubclass(category, InputWarning):
        tqdm.write(f"warning: {printable(str(message))}", file=sys.stderr)
    else:
        (file or sys.stderr).write(warnings.formatwarning(message, category, filename, lineno, line))


def warnings_beside_progress() -> None:
    """Print warnings about input as one line on standard error, above the bar, without the place in the code."""
    warnings.showwarning = _show_warning


def logs_beside_progress() -> None:
    """Send NNI's log to standard error.

    NNI logs to standard output, where the log would break the output of ``--json``, and adds colours even in a file.
    """
    nni.silence_stdout()
    logger = logging.getLogger("nni")
    if not any(isinstance(handler, _BesideBars) for handler in logger.handlers):
        logger.addHandler(_BesideBars())
