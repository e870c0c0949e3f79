"""What a model space goes through in a search, one function for each step; and NNI's hub spaces, built small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from nni.nas.evaluator.pytorch import Classification, DataLoader
from nni.nas.experiment import NasExperiment, NasExperimentConfig
from nni.nas.hub import pytorch as hub
from nni.nas.nn.pytorch import ModelSpace
from torch import nn
from torch.nn import functional as F

from nni_hypens import EdgeNES, SharedEdges
from nni_hypens.search.supernet import batch_statistics

HUB: dict[str, Callable[[], ModelSpace]] = {
    "DARTS": lambda: hub.DARTS(width=4, num_cells=3, dataset="cifar"),
    "NASNet": lambda: hub.NASNet(width=4, num_cells=3, dataset="cifar"),
    "ENAS": lambda: hub.ENAS(width=4, num_cells=3, dataset="cifar"),
    "AmoebaNet": lambda: hub.AmoebaNet(width=4, num_cells=3, dataset="cifar"),
    "PNAS": lambda: hub.PNAS(width=4, num_cells=3, dataset="cifar"),
    "NasBench101": lambda: hub.NasBench101(stem_out_channels=4, num_stacks=2, num_modules_per_stack=1),
    "NasBench201": lambda: hub.NasBench201(stem_out_channels=4, num_modules_per_stack=1),
    "ProxylessNAS": lambda: hub.ProxylessNAS(10, base_widths=(8,) * 9),
    "MobileNetV3Space": lambda: hub.MobileNetV3Space(
        10, base_widths=(8,) * 9, width_multipliers=(1.0, 2.0), expand_ratios=(1.0, 2.0), depth_range=(1, 2)
    ),
    "ShuffleNetSpace": lambda: hub.ShuffleNetSpace(10, channel_search=True),
    "AutoFormer": lambda: hub.AutoFormer(
        search_embed_dim=(8, 16),
        search_mlp_ratio=(1.0, 2.0),
        search_num_heads=(1, 2),
        search_depth=(1, 2),
        img_size=32,
        patch_size=8,
        num_labels=10,
    ),
}
"""Every space of ``nni.nas.hub.pytorch``; inputs are B x 3 x 32 x 32."""

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
BATCH = 4


def evaluator(shape: tuple[int, ...], steps: int, epochs: int) -> Classification:
    """NNI's classification evaluator over random inputs of ``shape``, ten classes, ``steps`` batches in an epoch."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(BATCH * steps, *shape, generator=generator)
    data = torch.utils.data.TensorDataset(inputs, torch.arange(BATCH * steps) % 10)
    loader = DataLoader(data, BATCH)
    return Classification(
        num_classes=10,
        train_dataloaders=loader,
        val_dataloaders=loader,
        max_epochs=epochs,
        num_sanity_val_steps=0,
        **QUIET,
    )


def run(space: ModelSpace, strategy: Any, folder: str, shape: tuple[int, ...], steps: int, epochs: int) -> Any:
    """A NasExperiment of the strategy, to its end."""
    config = NasExperimentConfig("sequential", "raw", "local")
    config.experiment_working_directory = folder
    experiment = NasExperiment(space, evaluator(shape, steps, epochs), strategy, config)
    experiment.start()
    experiment.stop()
    return experiment


def search(space: ModelSpace, folder: str, shape: tuple[int, ...] = (3, 32, 32), steps: int = 6) -> tuple[Any, EdgeNES]:
    """One epoch of warm-up, one of base search, two of the hypernetwork, at a rate at which these few steps turn the
    dial."""
    strategy = EdgeNES(
        warmup_epochs=1,
        base_epochs=1,
        base_draws=2,
        architecture_lr=0.5,
        diversity=SharedEdges(weight=3.0, temperature=1.0),
    )
    return run(space, strategy, folder, shape, steps, 4), strategy


def three_lams(strategy: EdgeNES) -> list[dict[str, Any]]:
    """One architecture at a low, a middle and a high lam; each shares about lam edges with the base."""
    lams = (1.0, strategy.n_edges // 2, strategy.n_edges - strategy.n_edges // 5)
    found = [strategy.sample(lam)[0] for lam in lams]
    for lam, sample in zip(lams, found, strict=True):
        assert abs(strategy.structure.shared_edges(strategy.base_architecture, sample) - lam) <= 0.5
    return found


def train_step(network: nn.Module, inputs: torch.Tensor) -> None:
    """One step of SGD changes the weights, by finite amounts."""
    network.train()
    before = [parameter.detach().clone() for parameter in network.parameters()]
    loss = F.cross_entropy(network(inputs), torch.arange(len(inputs)) % 10)
    loss.backward()
    torch.optim.SGD(network.parameters(), 0.1).step()
    assert torch.isfinite(loss)
    assert any(not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))


def stir(model: nn.Module, seed: int = 0) -> None:
    """Give every BatchNorm weights and statistics of its own: at 1, 0, 0, 1 a mix-up would not be seen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
                shape = module.running_mean.shape
                module.running_mean.copy_(0.2 * torch.randn(shape, generator=generator))
                module.running_var.copy_(0.5 + torch.rand(shape, generator=generator))
                if module.affine:
                    module.weight.copy_(1 + 0.2 * torch.randn(shape, generator=generator))
                    module.bias.copy_(0.2 * torch.randn(shape, generator=generator))


@torch.no_grad()
def difference(strategy: EdgeNES, sample: dict[str, Any], network: nn.Module, inputs: torch.Tensor) -> float:
    """Largest difference between the outputs of a network and of the supernet on the same path, relative to the
    largest output: with running statistics, and with those of the batch."""
    supernet = strategy.trained_supernet
    supernet.set_path(sample)
    supernet.model.eval()
    network.eval()
    worst = []
    for by_batch in (False, True):
        if by_batch:
            with batch_statistics(supernet.model), batch_statistics(network):
                ours, theirs = network(inputs), supernet.model(inputs)
        else:
            ours, theirs = network(inputs), supernet.model(inputs)
        worst.append(((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-6)).item())
    return max(worst)


def check_space(
    make: Callable[[], ModelSpace], folder: str, shape: tuple[int, ...] = (3, 32, 32), steps: int = 6
) -> dict[str, Any]:
    """Everything a space goes through, from search to an instance with the supernet's weights.

    Returns:
        Edges of the space, and the largest relative difference of outputs over three instances.

    Raises:
        InputError: The space is refused.
        AssertionError: A step does not do what it should.
    """
    torch.manual_seed(0)
    experiment, strategy = search(make(), folder, shape, steps)
    samples = three_lams(strategy)
    inputs = torch.randn(BATCH, *shape, generator=torch.Generator().manual_seed(1))
    frozen = make().freeze(samples[1])
    train_step(frozen, inputs)
    exported = experiment.export_top_models(1, formatter="dict")
    assert exported == [strategy.base_architecture] == [strategy.structure.table.validate(exported[0])]
    stir(strategy.trained_supernet.model)
    instance = experiment.export_top_models(1, formatter="instance")[0]
    networks = [strategy.inherited(sample) for sample in samples[:2]]
    apart = [difference(strategy, exported[0], instance, inputs)]
    apart += [difference(strategy, *pair, inputs) for pair in zip(samples[:2], networks, strict=True)]
    assert max(apart) < 1e-5
    shapes = [{name: tensor.shape for name, tensor in one.state_dict().items()} for one in (frozen, networks[1])]
    assert shapes[0] == shapes[1]
    train_step(instance, inputs)  # which neither the supernet nor another instance may notice
    assert difference(strategy, samples[0], networks[0], inputs) < 1e-5
    return {"edges": strategy.n_edges, "difference": max(apart)}
