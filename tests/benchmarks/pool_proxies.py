"""Scores of untrained networks, which say before any training how good a network may become.

Computed once for the architectures of the pool, on their initial weights and the first training images.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from nni_hypens.space.build import fixed_network
from nni_hypens.space.flow import synaptic_flow
from tests.benchmarks import pool_training
from tests.benchmarks.pool_training import Cell

BATCH = 64
PROXIES = ("nwot", "jacov", "synflow", "relus")
_SMALL = 1e-5


def relu_scores(network: torch.nn.Module, images: torch.Tensor) -> tuple[float, float]:
    """NASWOT (Mellor et al. 2021), and how many units it looks at.

    A ReLU's inputs above 0 give each image a binary code. The score is the logarithm of the determinant of the kernel
    that counts in how many units two images agree.

    Args:
        network: With modules `torch.nn.ReLU`.
        images: `B x C x H x W`.

    Returns:
        The log determinant, -inf where two images have the same code, and the number of ReLU units of one image.
    """
    kernel = torch.zeros(len(images), len(images), dtype=torch.float64)
    units = 0

    def count(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal units
        on = (inputs[0].flatten(1) > 0).float()
        kernel.add_((on @ on.T + (1 - on) @ (1 - on).T).double())
        units += on.shape[1]

    handles = [m.register_forward_pre_hook(count) for m in network.modules() if isinstance(m, torch.nn.ReLU)]
    network.train()  # the statistics of the running average are not there yet
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()
    return float(torch.linalg.slogdet(kernel).logabsdet), float(units)


def jacobian_score(network: torch.nn.Module, images: torch.Tensor) -> float:
    """Jacobian covariance (Mellor et al. 2020): how unlike the gradients of the summed outputs by each image are."""
    network.train()
    inputs = images.clone().requires_grad_(True)
    network(inputs).sum().backward()
    assert inputs.grad is not None
    values = np.linalg.eigvalsh(np.corrcoef(inputs.grad.flatten(1).double().numpy()))
    return float(-np.sum(np.log(values + _SMALL) + 1 / (values + _SMALL)))


def proxy_scores(cell: Cell, cifar_file: Path) -> dict[str, list[float | None]]:
    """Name -> score of each architecture of the cell, on the weights with which replica 0 starts.

    A score that is not finite is None.
    """
    images = pool_training.load_images(cell.data, cell.train_images, cifar_file).train.images[:BATCH]
    space = pool_training.space_of(cell)
    found: dict[str, list[float | None]] = {name: [] for name in PROXIES}
    for number, sample in enumerate(pool_training.architectures()[: cell.architectures]):
        torch.manual_seed(pool_training.training_seed(cell, number, 0))
        network = fixed_network(space, sample)
        nwot, relus = relu_scores(network, images)
        jacov = jacobian_score(network, images)
        flow = synaptic_flow(network, cell.image_shape)  # the last: it changes the weights
        for name, value in zip(PROXIES, (nwot, jacov, flow, relus), strict=True):
            found[name].append(value if np.isfinite(value) else None)
    return found
