"""What every regulariser has: a weight and a temperature that change linearly over the search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch

from nni_hypens.errors import InputError
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.draws import ChoiceLayout
from nni_hypens.utils.checks import is_number


class Annealed:
    """A number that moves linearly from ``start`` to ``end`` over training.

    Args:
        value: A number (constant) or a pair (start, end).
        field: Name used in messages.
        positive: Whether zero is refused.

    Examples:
        >>> Annealed((1.0, 3.0), "weight").at(progress=0.5)
        2.0
    """

    def __init__(self, value: float | Sequence[float], field: str, positive: bool = False) -> None:
        ends = tuple(value) if isinstance(value, list | tuple) else (value, value)
        numbers = all(is_number(end) for end in ends)
        if len(ends) != 2 or not numbers or not all(end > 0 or (end == 0 and not positive) for end in ends):
            kind = "above 0" if positive else "of at least 0"
            raise InputError(field, repr(value), f"one number {kind}, or two (start, end)")
        self.start, self.end = float(ends[0]), float(ends[1])

    def __repr__(self) -> str:
        return f"Annealed(({self.start}, {self.end}))"

    def at(self, progress: float) -> float:
        """Value at ``progress`` in 0..1."""
        return self.start + (self.end - self.start) * min(max(progress, 0.0), 1.0)


@runtime_checkable
class Diversity(Protocol):
    """A regulariser R(lam, base, alpha(lam)) on the common scale 0..n_edges of the dial.

    Examples:
        >>> from nni_hypens.search import SharedEdges
        >>> isinstance(SharedEdges(), Diversity)
        True
    """

    weight: Annealed
    temperature: Annealed
    counts_edges: bool

    def bind(self, structure: EdgeStructure, layout: ChoiceLayout, base: Sample) -> None:
        """Set the base architecture, before the first call."""

    def __call__(
        self, lam: torch.Tensor, logits: torch.Tensor, temperature: float, generator: torch.Generator | None
    ) -> torch.Tensor:
        """Value of the regulariser, a scalar: the mean over the batch of ``lam`` (``B``) and ``logits`` (``B x L x
        M``)."""
