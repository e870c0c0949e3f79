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
    def plan(
        cls, end: int, warmup: int | None, base: int | None, base_given: bool, length: str = "max_epochs"
    ) -> Schedule:
        """Phases for ``end`` epochs. By default a fifth warms up and three tenths search the base, or as many as leave
        an epoch for the hypernetwork.

        Args:
            end: Epochs of the search.
            warmup: Epochs of the warm-up, or None for the default.
            base: Epochs of the base search, or None for the default.
            base_given: Whether the base is given, so that it is not searched.
            length: What the user calls ``end``.

        Raises:
            InputError: The epochs that are given leave none for the hypernetwork.

        Examples:
            >>> Schedule.plan(10, None, None, base_given=False)
            Schedule(base=2, hypernetwork=5, end=10)
            >>> Schedule.plan(1, None, None, base_given=False)
            Schedule(base=0, hypernetwork=0, end=1)
        """
        if end is None or end < 1:
            raise InputError(length, end, "a whole number of epochs, at least 1")
        base = 0 if base_given else base
        given = {"warmup_epochs": warmup, "base_epochs": base}
        wanted = {name: value for name, value in given.items() if value}
        if sum(wanted.values()) >= end:
            raise InputError(
                " + ".join(wanted),
                f"{' + '.join(map(str, wanted.values()))} of {length}={end}",
                f"fewer than {length}, so that the hypernetwork is trained as well",
            )
        if warmup is None:
            warmup = min(max(1, round(0.2 * end)), end - 1 - (base or 0))
        if base is None:
            base = min(max(1, round(0.3 * end)), end - 1 - warmup)
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
