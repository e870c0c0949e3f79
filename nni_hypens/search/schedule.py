"""When the search does what: its phases, how epochs are shared among them, and its numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

from nni_hypens.errors import InputError
from nni_hypens.search.regularizers import Annealed
from nni_hypens.utils.checks import _is_whole, is_number

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


@dataclass
class SearchSettings:
    """Numbers of the search; see :class:`nni_hypens.search.EdgeNES` for their meaning."""

    pivots: int = 5
    epsilon: float = 0.2
    architecture_lr: float = 0.03
    path_temperature: Annealed = field(default_factory=lambda: Annealed((1.0, 0.3), "path_temperature", positive=True))
    warmup_epochs: int | None = None
    base_epochs: int | None = None
    base_draws: int = 32
    base_batches: int = 8
    regularizer_samples: int = 64
    regularizer_steps: int = 4
    gradient_clip_val: float | None = 5.0
    seed: int = 0
    paths: int | str = 1
    lam: float | None = None

    def __post_init__(self) -> None:
        """Check the range of each number.

        Raises:
            InputError: Names the first that is out of its range.
        """
        least = {"pivots": 2, "base_draws": 1, "base_batches": 1, "seed": 0}
        least |= {"regularizer_samples": 1, "regularizer_steps": 0}
        for name, low in least.items():
            if not _is_whole(getattr(self, name), low):
                raise InputError(name, repr(getattr(self, name)), f"a whole number of at least {low}")
        for name in ("warmup_epochs", "base_epochs"):
            value = getattr(self, name)
            if value is not None and not _is_whole(value, 0):
                raise InputError(name, repr(value), "a whole number of at least 0, or None")
        for name in ("epsilon", "architecture_lr"):
            value = getattr(self, name)
            if not is_number(value) or value <= 0:
                raise InputError(name, repr(value), "a number above 0")
        clip = self.gradient_clip_val
        if clip is not None and (not is_number(clip) or clip <= 0):
            raise InputError("gradient_clip_val", repr(clip), "a number above 0, or None")
        if self.lam is not None and (not is_number(self.lam) or self.lam < 0):
            raise InputError("lam", repr(self.lam), "a number of shared edges, at least 0, or None")
        if self.paths != "all" and not _is_whole(self.paths, 1):
            raise InputError("paths", repr(self.paths), "a whole number of at least 1, or 'all'")


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
