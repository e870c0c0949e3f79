"""One look at loaders and labels before a run, and the checksum by which data are recognised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from nni_hypens import ImageData, InputError
from nni_hypens.data.checks import check_data, checksum


class Arrays:
    """A data module of the user: ten images in each split, of two classes."""

    num_classes = 2

    def __init__(self, seed: int = 0, **options: Any) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.rand(10, 1, 8, 8, generator=generator)
        self.targets = (torch.rand(10, generator=generator) < 0.5).long()
        self.options: dict[str, dict[str, Any]] = {"validation": {}, "test": {}, **options}

    def labels(self, split: str) -> np.ndarray:
        return self.targets.numpy()

    def val_dataloader(self) -> Any:
        return DataLoader(TensorDataset(self.images, self.targets), 4, **self.options["validation"])

    def test_dataloader(self) -> Any:
        return DataLoader(TensorDataset(self.images, self.targets), 4, **self.options["test"])


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shuffle": True}, r"label \d at image \d+, where labels\(\"{split}\"\) has \d .*shuffle=False"),
        ({"drop_last": True}, r"8 images for the 10 labels .*drop_last"),
        ({"sampler": range(9, -1, -1)}, "the order of labels"),
        ({"sampler": []}, "no batch"),
        ({"collate_fn": lambda rows: {"x": rows}}, "pairs of tensors"),
        ({"collate_fn": lambda rows: (torch.rand(4, 1, 8, 8), torch.tensor([y for _, y in rows]))}, "B x C x H x W"),
    ],
)
def test_a_loader_that_disagrees_with_the_labels_is_named(split: str, options: dict[str, Any], message: str) -> None:
    name = {"validation": "val_dataloader", "test": "test_dataloader"}[split]
    with pytest.raises(InputError, match=rf"^data\.{name}: .*{message.replace('{split}', split)}"):
        check_data(Arrays(**{split: options}))  # type: ignore[arg-type]


@pytest.mark.parametrize("labels", [np.full(10, -100), np.arange(10), np.zeros(10)])
def test_labels_that_are_no_classes_are_refused(labels: np.ndarray) -> None:
    data: Any = Arrays()
    data.labels = lambda split: labels if split == "train" else data.targets.numpy()
    with pytest.raises(InputError, match=r"^data.labels\(\"train\"\): got .* from 0 to 1"):
        check_data(data)


def test_random_augmentation_of_validation_images_is_refused() -> None:
    def noisy(rows: list[Any]) -> Any:
        images, targets = torch.utils.data.default_collate(rows)
        return images + torch.rand_like(images), targets

    with pytest.raises(InputError, match="other images each time"):
        check_data(Arrays(validation={"collate_fn": noisy}))  # type: ignore[arg-type]


def test_the_checksum_recognises_images_and_labels_of_every_split() -> None:
    data: Any = Arrays()
    before = torch.random.get_rng_state()
    known = check_data(data)
    assert known == check_data(Arrays()) != check_data(Arrays(seed=1))  # type: ignore[arg-type]
    assert torch.equal(before, torch.random.get_rng_state())
    data.images[9, 0, 7, 7] += 1e-3
    assert check_data(data) != known
    data = Arrays()
    data.targets[9] = 1 - data.targets[9]
    assert check_data(data) != known
    words = [np.array(list(text), object) for text in ("ab", "ab", "ba")]
    assert checksum(words[0]) == checksum(words[1]) != checksum(words[2])
    assert checksum(np.zeros((2, 3), np.int64)) != checksum(np.zeros((3, 2), np.int64)) != checksum(np.zeros((3, 2)))


@pytest.mark.parametrize("name", ["x_train", "y_train", "x_test", "y_test"])
def test_the_checksum_of_image_data_covers_each_array(tmp_path: Path, name: str) -> None:
    generator = np.random.default_rng(0)
    arrays = {f"x_{part}": generator.integers(0, 255, (20, 8, 8), np.uint8) for part in ("train", "test")}
    arrays |= {f"y_{part}": np.arange(20) % 2 for part in ("train", "test")}
    path = tmp_path / "images.npz"
    np.savez(path, **arrays)
    known = check_data(ImageData(str(path)))
    assert known == check_data(ImageData(str(path), batch_size=3, train_size=8)) and len(known) == 64
    np.savez(path, **arrays, range=[0, 254])
    assert check_data(ImageData(str(path))) != known
    arrays[name] = arrays[name].copy()
    arrays[name][-2:] = arrays[name][-2:][::-1].copy() if name[0] == "y" else 0
    np.savez(path, **arrays)
    assert check_data(ImageData(str(path))) != known
