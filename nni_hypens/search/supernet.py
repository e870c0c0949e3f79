"""A model space turned into a supernet: choose a path, run it, and predict with its weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import nni.nas.strategy  # noqa: F401  # before nni.nas.oneshot: see nni_hypens/_nni.py
import torch
from nni.nas.nn.pytorch import ModelSpace
from nni.nas.oneshot.pytorch.supermodule.base import BaseSuperNetModule
from torch import nn

from nni_hypens.errors import InputError
from nni_hypens.search.batches import join_single
from nni_hypens.search.path_weights import PathWeights
from nni_hypens.space.architecture import Sample
from nni_hypens.space.choices import ChoiceTable
from nni_hypens.space.draws import PathDraw


class Supernet:
    """A mutated model space together with the means to choose and run its paths.

    Args:
        model: The space after mutation (in place) by an ``OneShotStrategy`` with `mutation_hooks`.
        table: Its choices.
        weights: The straight-through weights its modules share.

    Raises:
        InputError: A module has a choice that the table lacks: no architecture would set it, and NNI would draw it.
    """

    def __init__(self, model: ModelSpace, table: ChoiceTable, weights: PathWeights) -> None:
        self.model = model
        self.table = table
        self.weights = weights
        # Walking all modules at each step costs more than the choice itself. NNI also makes mixed operations of modules
        # without a choice (every convolution of its hub's DARTS): those are set once, here.
        self._modules: list[BaseSuperNetModule] = []
        for name, module in model.named_modules():
            if isinstance(module, BaseSuperNetModule):
                labels = [str(label) for label in module.simplify()]
                unknown = [label for label in labels if label not in table.options]
                if unknown:
                    raise InputError(
                        f"label {unknown[0]!r}",
                        f"a choice of the supernet ({name}) that the space lacks",
                        "modules and mutation hooks that keep the labels of the space",
                    )
                if labels:
                    self._modules.append(module)
                else:
                    module.resample(memo={})

    def set_path(self, sample: Sample) -> None:
        """Run this architecture, without weights."""
        self.weights.clear()
        for module in self._modules:
            module.resample(memo=sample)

    def set_draw(self, draw: PathDraw, gradient: bool) -> Sample:
        """Run a drawn architecture (``chosen`` L x k), with straight-through weights if ``gradient`` is True.

        On an accelerator ``chosen`` should be on the host, or this waits for it.
        """
        sample = self.table.to_sample(draw.chosen.tolist())
        self.set_path(sample)
        if gradient:
            self.weights.set(self.table, draw)
        return sample

    def set_mixture(self, soft: torch.Tensor) -> None:
        """Run every option of every choice, weighted by ``soft`` (L x M)."""
        self.weights.set_mixture(self.table, soft)

    @torch.no_grad()
    def predict(self, samples: Sequence[Sample], batches: Iterable[Any]) -> torch.Tensor:
        """Class probabilities of each architecture with inherited weights.

        BatchNorm uses the statistics of the batch: the running statistics of a supernet mix all its paths and fit none.

        Args:
            samples: S architectures.
            batches: (images, labels) pairs, in a fixed order; read once for each architecture.

        Returns:
            ``S x N x C``, float32 on the CPU.
        """
        device = next(self.model.parameters()).device
        result = []
        with batch_statistics(self.model):
            for sample in samples:
                self.set_path(sample)
                whole = join_single(batches)
                result.append(torch.cat([self.model(images.to(device)).softmax(-1).cpu() for images, _ in whole]))
        return torch.stack(result)


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, in which BatchNorm uses the statistics of each batch and does not update its running ones."""
    was_training = {module: module.training for module in model.modules()}
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    tracked = [norm.track_running_stats for norm in norms]
    model.eval()
    for norm in norms:
        norm.train()
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, track in zip(norms, tracked, strict=True):
            norm.track_running_stats = track
        for module, training in was_training.items():
            module.training = training
