"""Inside the trial that shows a one-shot search: each epoch of the search becomes an intermediate metric.

NNI starts no web server for one-shot strategies, so :mod:`nni_hypens.live` runs the whole search inside the only trial
of an ordinary experiment, and marks that trial by an environment variable. Only there anything is sent: a trial of
somebody's own experiment that happens to run a search is left alone.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from nni_hypens._compat import TrialLink
from nni_hypens.live_trial import LIVE, trial_name
from nni_hypens.schedule import BASE, HYPERNETWORK, WARMUP
from nni_hypens.search_module import EdgeNESModule

PHASES = {WARMUP: 0, BASE: 1, HYPERNETWORK: 2}
"""Phases as numbers, since NNI's web UI draws nothing else."""
SHOWN = ("loss", "val_loss", "accuracy", "dial_error", "regularizer")

_reports: LiveReports | None = None


def is_live() -> bool:
    """Whether this process belongs to a trial that :func:`nni_hypens.live.watch_search` started to show a search."""
    # the name is compared because trials of an experiment started inside the search inherit the variable
    return trial_name() is not None and os.environ.get(LIVE) == trial_name()


def epoch_metric(row: Mapping[str, Any]) -> dict[str, float]:
    """The metric of one epoch.

    Args:
        row: A row of the history of the search.

    Returns:
        Numbers only. ``default``, the curve that NNI draws, is the validation loss, or the training loss in the
        warm-up, which does not look at validation data; ``phase`` is 0 in the warm-up, 1 while the base is searched
        and 2 while the hypernetwork is trained. What is not known in a phase is left out.
    """
    default = row["loss"] if row.get("val_loss") is None else row["val_loss"]
    numbers = {"default": default, **{name: row.get(name) for name in SHOWN}}
    metric = {
        name: float(value) for name, value in numbers.items() if value is not None and math.isfinite(float(value))
    }
    return {**metric, "epoch": float(row["epoch"]), "phase": float(PHASES[row["phase"]])}


class LiveReports:
    """Sends the epochs of a search to the web UI; only the process of rank zero does.

    Args:
        link: The way to NNI's manager.
    """

    def __init__(self, link: TrialLink) -> None:
        self.link = link
        self._sent = 0
        self._begun = False
        self._finished = False
        self._broken = False

    def begin(self) -> None:
        """Another search begins in this trial."""
        self._sent = 0

    def __call__(self, module: EdgeNESModule) -> None:
        """An epoch has ended. What a resumed search did before is sent as well, so that the curve is whole."""
        if not module.trainer.is_global_zero:
            return
        rows = module.history[self._sent :]
        self._sent = len(module.history)
        for row in rows:
            metric = epoch_metric(row)
            if not self._begun:  # NNI's page offers the curves that the first metric names, and draws no NaN
                metric = {**dict.fromkeys(("default", *SHOWN), math.nan), **metric}
            self._begun = True
            self._send("PERIODICAL", metric)

    def finish(self, module: EdgeNESModule) -> None:
        """The search has ended: the numbers of its last epoch are the final metric. A trial may have only one, so of
        several searches in one script the first gives it."""
        if module.trainer.is_global_zero and module.history and not self._finished:
            self._finished = True
            self._send("FINAL", epoch_metric(module.history[-1]))

    def _send(self, kind: str, metric: dict[str, float]) -> None:
        if self._broken or "default" not in metric:
            return
        try:
            self.link.send(kind, metric)
        except OSError as error:  # the manager is gone; whoever started it decides about the search
            self._broken = True
            warnings.warn(f"the live view of the search has ended: {type(error).__name__}: {error}", stacklevel=2)


@contextmanager
def reporting(module: EdgeNESModule) -> Iterator[None]:
    """While open, the epochs of ``module`` are reported, if this process is the trial of a live search."""
    global _reports
    if not is_live():
        yield
        return
    if _reports is None:  # before NNI's sequential engine puts a channel of its own in place of the trial's
        _reports = LiveReports(TrialLink())
    _reports.begin()
    module.listeners.append(_reports)
    yield
    _reports.finish(module)
