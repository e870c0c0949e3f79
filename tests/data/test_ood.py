from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nni_hypens.data import ood
from nni_hypens.errors import InputError


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8)])
@pytest.mark.parametrize("name", ["noise", "digits"])
def test_images_fit_the_data(name: str, shape: tuple[int, int, int]) -> None:
    images = ood.ood_images(name, 30, *shape, seed=1)
    assert images.shape == (30, *shape) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1 and images.std() > 0.1
    assert torch.equal(images, ood.ood_images(name, 30, *shape, seed=1))
    assert not torch.equal(images, ood.ood_images(name, 30, *shape, seed=2))


def test_a_small_set_is_taken_whole_and_colour_is_averaged(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    pictures = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    np.savez(path, x_test=pictures)
    images = ood.ood_images(str(path), 100, 1, 8, 8)
    assert images[:, 0].numpy() == pytest.approx(pictures.mean(3) / 255, abs=1e-6)
    np.savez(path, x_test=np.array([[-2.0, 2.0]]).repeat(8, 0).repeat(4, 1)[None])
    assert set(ood.read_ood(str(path)).ravel().tolist()) == {0.0, 1.0}


def test_what_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ood, "DEBIAN_FASHION_MNIST", tmp_path / "none")
    monkeypatch.setattr(ood, "cache_folder", lambda: tmp_path)
    with pytest.raises(InputError, match="ood: got fashion_mnist, which is not on this computer"):
        ood.check_ood("fashion_mnist", "digits")
    ood.check_ood("auto", "digits")  # what it adds may be missing
    with pytest.raises(InputError, match="ood: got .*gone.npz"):
        ood.check_ood(str(tmp_path / "gone.npz"), None)
    np.savez(tmp_path / "no.npz", x=np.zeros((2, 8, 8)))
    np.savez(tmp_path / "tiny.npz", x_test=np.zeros((2, 3, 3)))
    np.savez(tmp_path / "pickle.npz", x_test=np.array([{}, {}], dtype=object))
    np.save(tmp_path / "array.npz.npy", np.zeros((2, 8, 8)))
    (tmp_path / "array.npz.npy").rename(tmp_path / "array.npz")
    for name in ("no", "tiny", "pickle", "array"):
        with pytest.raises(InputError, match=f"ood: got .*{name}.npz"):
            ood.check_ood(str(tmp_path / f"{name}.npz"), None)


def test_fashion_mnist_is_read_where_it_is_installed() -> None:
    if not ood.DEBIAN_FASHION_MNIST.is_dir():
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    assert ood.ood_images("fashion_mnist", 12, 1, 8, 8).shape == (12, 1, 8, 8)
