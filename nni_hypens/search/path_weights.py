"""Straight-through weights that carry the gradient of a sampled path to the logits.

Each weight is exactly 1, and its gradient is that of the relaxed choice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from nni_hypens.space.choices import ChoiceTable
from nni_hypens.space.draws import PathDraw
from nni_hypens.utils.transfer import sent

WEIGHTS_KEY = "nni_hypens.path_weights"


class PathWeights:
    """Straight-through weights of the path that is being run, shared by all modules of one supernet.

    ``values`` maps a label to one 0-dim tensor per chosen option, in the order of the options. It is None if the logits
    need no gradient; outputs are then not multiplied. ``mixture`` maps a label to the weights of all its options (``M``
    numbers that sum to n_chosen); it is None if a single path is run.
    """

    def __init__(self) -> None:
        self.values: dict[str, tuple[torch.Tensor, ...]] | None = None
        self.mixture: dict[str, torch.Tensor] | None = None

    def set(self, table: ChoiceTable, draw: PathDraw) -> None:
        """Use the weights of a draw (``chosen`` L x k, on the host, ``soft`` L x M): value 1, gradient of ``soft`` at
        the chosen options."""
        soft = draw.soft.gather(-1, sent(draw.chosen, draw.soft.device))
        rows = (1.0 + soft - soft.detach()).unbind(0)
        values = {}
        for (label, k), row, chosen in zip(table.n_chosen.items(), rows, draw.chosen.tolist(), strict=True):
            weights = row.unbind(0)
            order = sorted(range(k), key=chosen.__getitem__)  # as ChoiceTable.to_sample does
            values[label] = tuple(weights[index] for index in order)
        self.values = values

    def set_mixture(self, table: ChoiceTable, soft: torch.Tensor) -> None:
        """Run every option, weighted by ``soft`` (L x M)."""
        rows = zip(table.options.items(), soft.unbind(0), strict=True)
        self.values, self.mixture = None, {label: row[: len(options)] for (label, options), row in rows}

    def clear(self) -> None:
        """Run the path without weights."""
        self.values = self.mixture = None

    def scale(self, items: Sequence[Any], labels: Iterable[str]) -> list[Any]:
        """Each of ``items`` times its weight. With several labels, one item times the product of all their weights."""
        if self.values is None:
            return list(items)
        weights = [self.values[label] for label in labels]
        if len(weights) == 1 and len(weights[0]) == len(items):
            return [scaled(item, weight) for item, weight in zip(items, weights[0], strict=True)]
        product = math.prod(weight for group in weights for weight in group)  # multiplied first: one copy per item
        return [scaled(item, product) for item in items]


def scaled(item: Any, weight: torch.Tensor | float) -> Any:
    """A tensor, or each tensor in a tuple or list, times a number; other values (attention returns None) stay."""
    if isinstance(item, tuple | list):
        return type(item)(scaled(part, weight) for part in item)
    return item * weight if isinstance(item, torch.Tensor) else item


def added(total: Any, item: Any) -> Any:
    """Sum of two tensors, or of two tuples part by part; a total of None is an empty sum."""
    if total is None:
        return item
    if isinstance(item, tuple | list):
        return type(item)(added(first, second) for first, second in zip(total, item, strict=True))
    return total + item if isinstance(item, torch.Tensor) else item


def weighted_sum(items: Iterable[Any], weights: torch.Tensor) -> Any:
    """Sum of all items, each times its weight (``M``)."""
    total = None
    for item, weight in zip(items, weights.unbind(0), strict=True):
        total = added(total, scaled(item, weight))
    return total
