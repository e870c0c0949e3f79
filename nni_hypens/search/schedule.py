"""Phases of a search, how epochs are divided among them, and the columns of its history."""

from __future__ import annotations

from dataclasses import dataclass

from nni_hypens.errors import InputError

WARMUP, BASE, HYPERNETWORK = "warmup", "base", "hypernetwork"
HISTORY_COLUMNS = (
    "epoch",
    "step",
    "phase",
    "loss",
    "accuracy",
    "val_loss",
    "regularizer",
    "weight",
    "temperature",
    "dial_error",
    "seconds",
)


@dataclass(frozen=True)
class Schedule:
    """First epoch of each phase: warm-up from 0, base search from ``base``, hypernetwork from ``hypernetwork``, to
    ``end``."""

    base: int
    hypernetwork: int
    end: int

    @classmethod
    def plan(cls, end: int, warmup: int | None, base: int | None, base_given: bool) -> Schedule:
        """Phases for ``end`` epochs. By default a fifth warms up and three tenths search the base.

        Raises:
            InputError: No epoch is left for the hypernetwork.
        """
        if end is None or end < 1:
            raise InputError("max_epochs", end, "a whole number of epochs in the evaluator's trainer")
        warmup = max(1, round(0.2 * end)) if warmup is None else warmup
        base = 0 if base_given else (max(1, round(0.3 * end)) if base is None else base)
        if warmup + base >= end:
            raise InputError(
                "warmup_epochs + base_epochs",
                f"{warmup} + {base} of max_epochs={end}",
                "fewer than max_epochs, so that the hypernetwork is trained as well",
            )
        return cls(warmup, warmup + base, end)

    def phase(self, epoch: int) -> str:
        """Phase of an epoch."""
        return WARMUP if epoch < self.base else BASE if epoch < self.hypernetwork else HYPERNETWORK

    def progress(self, epoch: float) -> float:
        """How far into its phase an epoch is, 0..1."""
        start, end = {
            WARMUP: (0, self.base),
            BASE: (self.base, self.hypernetwork),
            HYPERNETWORK: (self.hypernetwork, self.end),
        }[self.phase(int(epoch))]
        return (epoch - start) / max(end - start - 1, 1)
