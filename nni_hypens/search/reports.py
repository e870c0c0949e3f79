"""Reports after each epoch of a search: option probabilities for Lightning's loggers, metrics for NNI's web UI."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from nni_hypens._nni import TrialLink
from nni_hypens.errors import raised
from nni_hypens.search.module import EdgeNESModule
from nni_hypens.search.schedule import BASE, HYPERNETWORK, WARMUP
from nni_hypens.space.draws import ChoiceLayout
from nni_hypens.utils.processes import LIVE, trial_name

SHARES = (0.0, 0.5, 1.0)
"""Positions of the dial to log, as shares of n_edges: nothing shared, half of the edges, the base."""


def option_probabilities(layout: ChoiceLayout, logits: torch.Tensor) -> dict[str, dict[str, float]]:
    """Softmax of logits ``L x M``, label by label; if several options are chosen at once, their shares.

    Args:
        layout: The choices that the logits are for.
        logits: One row per label.

    Returns:
        label -> option -> probability. Labels whose options are all chosen are left out.
    """
    cpu = ChoiceLayout(layout.table)
    rows = cpu.masked(logits.detach().float().cpu()).softmax(-1).tolist()
    return {
        label: {str(value): share for value, share in zip(values, row, strict=False)}
        for (label, values), row, full in zip(layout.table.options.items(), rows, cpu.full.tolist(), strict=True)
        if not full
    }


@torch.no_grad()
def search_probabilities(module: EdgeNESModule) -> dict[str, dict[str, float]]:
    """Option probabilities at the end of an epoch, under names that loggers can group.

    Args:
        module: The search, inside or after an epoch.

    Returns:
        Nothing in the warm-up, which draws uniformly; ``label`` during the base search; and ``lam=0/label``,
        ``lam=2/label``, ``lam=4/label`` (with four edges) during the training of the hypernetwork.
    """
    assert module.schedule is not None
    phase = module.schedule.phase(module.current_epoch)
    if phase == WARMUP:
        return {}
    if phase == BASE:
        return option_probabilities(module.layout, module.base_logits)
    lams = sorted({share * module.structure.n_edges for share in SHARES})
    logits = module.hypernetwork(torch.tensor(lams, device=module.base_logits.device))
    return {
        f"lam={lam:g}/{label}": options
        for lam, row in zip(lams, logits, strict=True)
        for label, options in option_probabilities(module.layout, row).items()
    }


class ProbabilityCurves:
    """Writes ``prob/...`` to the loggers of the trainer after each epoch, as NNI's own strategies do.

    Args:
        wanted: Whether to write; None to write if there is a logger.
    """

    def __init__(self, wanted: bool | None = None) -> None:
        self.wanted = wanted

    def __call__(self, module: EdgeNESModule) -> None:
        """Write the probabilities after an epoch."""
        wanted = bool(module.trainer.loggers) if self.wanted is None else self.wanted
        if wanted:
            probabilities: Mapping[str, Mapping[str, float]] = search_probabilities(module)
            if probabilities:
                module.log_probs(probabilities)


PHASES = {WARMUP: 0, BASE: 1, HYPERNETWORK: 2}
"""Phases as numbers: NNI's web UI draws only numbers."""
SHOWN = ("loss", "val_loss", "accuracy", "dial_error", "regularizer")

_reports: LiveReports | None = None


def is_live() -> bool:
    """Whether this process belongs to a trial in which `watch_search` shows a search."""
    # compare the name: trials of an experiment started inside the search inherit the variable
    return trial_name() is not None and os.environ.get(LIVE) == trial_name()


def epoch_metric(row: Mapping[str, Any]) -> dict[str, float]:
    """The metric of one epoch.

    Args:
        row: A row of the history of the search.

    Returns:
        Numbers only. ``default``, the curve that NNI draws, is the validation loss, or the training loss in the
        warm-up, which uses no validation data; ``phase`` is 0 in the warm-up, 1 in the base search and 2 in the
        training of the hypernetwork. Values that a phase does not have are left out.
    """
    default = row["loss"] if row.get("val_loss") is None else row["val_loss"]
    numbers = {"default": default, **{name: row.get(name) for name in SHOWN}}
    metric = {
        name: float(value) for name, value in numbers.items() if value is not None and math.isfinite(float(value))
    }
    return {**metric, "epoch": float(row["epoch"]), "phase": float(PHASES[row["phase"]])}


class LiveReports:
    """Sends the epochs of a search to the web UI, from the process of rank zero.

    Args:
        link: The connection to NNI's manager.
    """

    def __init__(self, link: TrialLink) -> None:
        self.link = link
        self._sent = 0
        self._begun = False
        self._finished = False
        self._broken = False

    def begin(self) -> None:
        """Start reporting another search in this trial."""
        self._sent = 0

    def __call__(self, module: EdgeNESModule) -> None:
        """Send the epochs that were not sent yet, including those before a resume, so that the curve is complete."""
        if not module.trainer.is_global_zero:
            return
        rows = module.history[self._sent :]
        self._sent = len(module.history)
        for row in rows:
            metric = epoch_metric(row)
            if not self._begun:  # NNI's page offers the curves named by the first metric, and does not draw NaN
                metric = {**dict.fromkeys(("default", *SHOWN), math.nan), **metric}
            self._begun = True
            self._send("PERIODICAL", metric)

    def finish(self, module: EdgeNESModule) -> None:
        """Send the last epoch as the final metric. A trial may have only one, so of several searches in one script the
        first sends it."""
        if module.trainer.is_global_zero and module.history and not self._finished:
            self._finished = True
            self._send("FINAL", epoch_metric(module.history[-1]))

    def _send(self, kind: str, metric: dict[str, float]) -> None:
        if self._broken or "default" not in metric:
            return
        try:
            self.link.send(kind, metric)
        except OSError as error:  # the manager is gone; the process that started it decides about the search
            self._broken = True
            warnings.warn(f"the live view of the search has ended: {raised(error)}", stacklevel=2)


@contextmanager
def reporting(module: EdgeNESModule) -> Iterator[None]:
    """Context in which the epochs of ``module`` are reported, if this process is the trial of a live search."""
    global _reports
    if not is_live():
        yield
        return
    if _reports is None:  # created before NNI's sequential engine replaces the trial's channel
        _reports = LiveReports(TrialLink())
    _reports.begin()
    module.listeners.append(_reports)
    yield
    _reports.finish(module)
