"""The numbers of a search: their defaults and ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TypedDict

from nni_hypens.errors import InputError
from nni_hypens.search.regularizers import Annealed
from nni_hypens.utils.checks import is_number, is_whole, nearest

LEAST = {"pivots": 2, "base_draws": 1, "seed": 0, "regularizer_samples": 1, "regularizer_steps": 0}
"""Least value of each whole number."""


class SearchKeywords(TypedDict, total=False):
    """Keyword arguments of `EdgeNES` that become `SearchSettings`, for type checkers and editors."""

    pivots: int
    epsilon: float
    architecture_lr: float
    path_temperature: float | Sequence[float]
    warmup_epochs: int | None
    base_epochs: int | None
    base_draws: int
    regularizer_samples: int
    regularizer_steps: int
    gradient_clip_val: float | None
    seed: int
    paths: int | str
    lam: float | None


@dataclass
class SearchSettings:
    """The numbers of a search; `EdgeNES` says what each of them means.

    Raises:
        InputError: A number out of its range; names it.

    Examples:
        >>> SearchSettings(pivots=3).temperature.at(progress=0.0)
        1.0
    """

    pivots: int = 5
    epsilon: float = 0.2
    architecture_lr: float = 0.03
    path_temperature: float | Sequence[float] = (1.0, 0.3)
    warmup_epochs: int | None = None
    base_epochs: int | None = None
    base_draws: int = 32
    regularizer_samples: int = 64
    regularizer_steps: int = 4
    gradient_clip_val: float | None = 5.0
    seed: int = 0
    paths: int | str = 1
    lam: float | None = None
    temperature: Annealed = field(init=False)
    """`path_temperature` over the epochs of a phase."""

    def __post_init__(self) -> None:
        self.temperature = Annealed(self.path_temperature, "path_temperature", positive=True)
        for name, least in LEAST.items():
            if not is_whole(getattr(self, name), least):
                raise InputError(name, repr(getattr(self, name)), f"a whole number of at least {least}")
        for name in ("warmup_epochs", "base_epochs"):
            value = getattr(self, name)
            if value is not None and not is_whole(value, 0):
                raise InputError(name, repr(value), "a whole number of at least 0, or None")
        for name in ("epsilon", "architecture_lr", "gradient_clip_val"):
            value = getattr(self, name)
            optional = name == "gradient_clip_val"
            if not (optional and value is None) and not (is_number(value) and value > 0):
                raise InputError(name, repr(value), "a number above 0" + (", or None" if optional else ""))
        if self.lam is not None and (not is_number(self.lam) or self.lam < 0):
            raise InputError("lam", repr(self.lam), "a number of shared edges, at least 0, or None")
        if self.paths != "all" and not is_whole(self.paths, 1):
            raise InputError("paths", repr(self.paths), "a whole number of at least 1, or 'all'")

    @classmethod
    def from_keywords(cls, keywords: SearchKeywords) -> SearchSettings:
        """Settings from the keyword arguments of `EdgeNES`.

        Raises:
            TypeError: `EdgeNES` has no such argument; names the nearest.
            InputError: A number out of its range.
        """
        known = [entry.name for entry in fields(cls) if entry.init]
        for name in keywords:
            if name not in known:
                raise TypeError(f"EdgeNES got an unexpected keyword argument {name!r}{nearest(name, known)}")
        return cls(**keywords)
