"""Sizes of batches, and last batches of a single image."""

from __future__ import annotations

from typing import Any

import torch

from nni_hypens.search.batches import LeftOver, few_of, join_single, size_of


def pair(n: int, start: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(start, start + n).float()[:, None], torch.arange(start, start + n)


def test_sizes_and_first_examples() -> None:
    images, labels = pair(5)
    for batch in ((images, labels), [images, labels], {"x": images, "y": labels}, images):
        assert size_of(batch) == 5 and size_of(few_of(batch)) == 2 and type(few_of(batch)) is type(batch)
    assert size_of(None) == size_of(torch.tensor(3.0)) == 0 and few_of("text") == "text"


def test_only_a_last_batch_of_one_is_joined_and_order_stays() -> None:
    def sizes(*counts: int) -> list[int]:
        batches, start = [], 0
        for count in counts:
            batches.append(pair(count, start))
            start += count
        joined = list(join_single(batches))
        assert torch.cat([labels for _, labels in joined]).tolist() == list(range(start))
        return [size_of(batch) for batch in joined]

    assert sizes(4, 4, 1) == [4, 5] and sizes(4, 1) == [5] and sizes(4, 4, 2) == [4, 4, 2]
    assert sizes(1) == [1] and sizes(1, 1, 1) == [1, 1, 1] and sizes(4) == [4]
    odd: list[Any] = [{"x": torch.zeros(2)}, {"x": torch.zeros(1)}]
    assert list(join_single(odd)) == odd and list(join_single([])) == []


def test_a_single_image_is_left_over_only_behind_larger_batches() -> None:
    left_over = LeftOver()
    assert [left_over("val", pair(n)) for n in (4, 4, 1, 4)] == [False, False, True, False]
    assert not left_over("train", pair(1)) and not left_over("train", pair(1))
