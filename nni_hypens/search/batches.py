"""Batches of the user's loaders: their size, a few images of them, and last batches of a single image.

A layer that normalises maps of one pixel over the batch needs two images. A loader whose last batch has one would
otherwise end a search after its first epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch


def size_of(batch: Any) -> int:
    """Number of examples in a batch: the length of its first tensor; 0 if it has none.

    Examples:
        >>> size_of((torch.zeros(3, 1, 8, 8), torch.zeros(3))), size_of({"x": torch.zeros(2, 5)})
        (3, 2)
    """
    if isinstance(batch, torch.Tensor):
        return len(batch) if batch.ndim else 0
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else ()
    return next((size for part in parts if (size := size_of(part))), 0)


def few_of(batch: Any, n: int = 2) -> Any:
    """The first examples of a batch: a tensor, or a list, tuple or dict of tensors; other batches as they are."""
    if isinstance(batch, torch.Tensor):
        return batch[:n] if batch.ndim else batch
    if type(batch) in (list, tuple):
        return type(batch)(few_of(part, n) for part in batch)
    if type(batch) is dict:
        return {name: few_of(part, n) for name, part in batch.items()}
    return batch


def join_single(batches: Iterable[Any]) -> Iterator[Any]:
    """The batches (images, labels) in order, with a last one of a single image joined to the one before.

    Examples:
        >>> batches = [(torch.zeros(n, 1), torch.zeros(n)) for n in (2, 2, 1)]
        >>> [size_of(batch) for batch in join_single(batches)]
        [2, 3]
    """
    held: list[Any] = []
    for batch in batches:
        held.append(batch)
        if len(held) > 2:
            yield held.pop(0)
    pairs = all(
        type(batch) in (list, tuple) and all(isinstance(part, torch.Tensor) for part in batch) for batch in held
    )
    if len(held) == 2 and pairs and size_of(held[1]) == 1 < size_of(held[0]):
        yield tuple(torch.cat(parts) for parts in zip(*held, strict=True))
    else:
        yield from held


def accuracy_of(output: torch.Tensor | None, batch: Any) -> torch.Tensor | None:
    """Share of right classes, a scalar, if the output is ``B x C`` and the batch a pair with labels ``B``; else None.

    Examples:
        >>> accuracy_of(torch.eye(2), (None, torch.tensor([0, 0])))
        tensor(0.5000)
    """
    labels = batch[1] if isinstance(batch, list | tuple) and len(batch) == 2 else None
    if output is None or output.dim() != 2 or not isinstance(labels, torch.Tensor) or labels.dim() != 1:
        return None
    return (output.argmax(1) == labels).float().mean()


class LeftOver:
    """Tells whether a batch is a single example that was left at the end of a loader whose batches are larger."""

    def __init__(self) -> None:
        self._largest: dict[str, int] = {}

    def __call__(self, loader: str, batch: Any) -> bool:
        size = size_of(batch)
        self._largest[loader] = max(size, self._largest.get(loader, 0))
        return size == 1 < self._largest[loader]
