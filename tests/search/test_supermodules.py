from __future__ import annotations

import nni
import pytest
import torch
from nni.nas.hub.pytorch import NASNet
from nni.nas.nn.pytorch import InputChoice, LayerChoice, ModelSpace, Repeat
from nni.nas.oneshot.pytorch.supermodule.base import BaseSuperNetModule
from nni.nas.oneshot.pytorch.supermodule.sampling import PathSamplingCell
from nni.nas.strategy import RandomOneShot
from torch import nn

from nni_hypens.errors import InputError
from nni_hypens.search.hooks import LooseEndCell
from nni_hypens.search.path_weights import PathWeights
from nni_hypens.search.supermodules import WeightedCell
from nni_hypens.search.supernet import Supernet, batch_statistics
from nni_hypens.space.choices import ChoiceTable
from nni_hypens.space.draws import ChoiceLayout
from search_spaces import DartsSpace
from tests.support.space_checks import HUB
from tests.support.supernets import SPACES, draw, supernet_of


class Skipped(ModelSpace):
    """A repeat that may be left out, the mean of two of three inputs, and a nested choice."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = Repeat(lambda index: nn.Linear(6, 6), nni.choice("depth", [0, 2]))
        inner = LayerChoice({"relu": nn.ReLU(), "tanh": nn.Tanh()}, label="inner")
        nested = nn.Sequential(nn.Linear(6, 6), inner)
        self.outer = LayerChoice({"nested": nested, "plain": nn.Linear(6, 6)}, label="outer")
        self.pick = InputChoice(3, n_chosen=2, reduction="mean", label="pick")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        blocks = self.blocks(x)
        return self.pick([x, blocks, self.outer(blocks)])


MIXTURES = [
    *SPACES,
    (Skipped, (2, 6)),
    (HUB["NasBench201"], (2, 3, 8, 8)),
    (HUB["MobileNetV3Space"], (2, 3, 64, 64)),  # at 32 x 32 the last kernels see their own padding only
]


@pytest.mark.parametrize(("make", "shape"), MIXTURES)
def test_mixture_of_certain_choices_is_the_path(make, shape) -> None:
    """All options with weights 0 and 1 compute what the path does; relaxed weights send a gradient to all labels."""
    torch.manual_seed(0)
    supernet = supernet_of(make())
    inputs, layout = torch.randn(shape), ChoiceLayout(supernet.table)
    for seed in range(2):
        logits, path = draw(supernet.table, seed)
        with torch.no_grad(), batch_statistics(supernet.model):
            sample = supernet.set_draw(path, gradient=False)
            plain = supernet.model(inputs)
            supernet.set_mixture(layout.one_hot(sample))
            assert torch.allclose(supernet.model(inputs), plain, atol=1e-5)
        supernet.set_mixture(path.soft)
        with batch_statistics(supernet.model):  # untrained running statistics let the signal of a deep network fade
            (gradient,) = torch.autograd.grad(supernet.model(inputs).square().sum(), logits)
        open_labels = ~layout.full & (layout.mask.sum(-1) > 1)
        assert (gradient[open_labels].abs().sum(-1) > 0).float().mean() > 0.95  # one padding is not read
        with torch.no_grad(), batch_statistics(supernet.model):
            supernet.set_path(sample)
            assert torch.equal(supernet.model(inputs), plain)  # and paths are run again


def test_what_cannot_be_mixed_is_refused() -> None:
    class Joined(ModelSpace):
        def __init__(self) -> None:
            super().__init__()
            self.pick = InputChoice(3, n_chosen=2, reduction="concat", label="pick")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.pick([x, x, x])

    for space, shape, label in (
        (Joined(), (2, 6), "pick"),
        (NASNet(width=4, num_cells=(3, 6), dataset="cifar"), (2, 3, 16, 16), "depth"),
    ):
        supernet = supernet_of(space)
        _, path = draw(supernet.table, 0)
        supernet.set_draw(path, gradient=False)
        supernet.model(torch.randn(shape))
        supernet.set_mixture(path.soft)
        with pytest.raises(InputError, match=f"^label '{label}'.*paths="):
            supernet.model(torch.randn(shape))


def test_loose_ends_of_a_mixture_are_all_nodes() -> None:
    supernet = supernet_of(NASNet(width=4, num_cells=3, dataset="cifar"))
    _, path = draw(supernet.table, 0)
    supernet.set_draw(path, gradient=False)
    cells = [module for module in supernet.model.modules() if isinstance(module, LooseEndCell)]
    assert not all(all(cell.postprocessor.keep) for cell in cells)
    supernet.set_mixture(path.soft)
    supernet.model(torch.randn(2, 3, 16, 16))
    assert all(all(cell.postprocessor.keep) for cell in cells)


def test_cell_equals_nni_path_sampling() -> None:
    torch.manual_seed(0)
    ours = supernet_of(DartsSpace(width=4, num_cells=3, in_channels=1)).model.eval()
    theirs = RandomOneShot().mutate_model(DartsSpace(width=4, num_cells=3, in_channels=1)).eval()
    theirs.load_state_dict(ours.state_dict())
    assert any(isinstance(module, WeightedCell) for module in ours.modules())
    assert any(type(module) is PathSamplingCell for module in theirs.modules())
    supernet = Supernet(ours, ChoiceTable.from_space(DartsSpace(width=4, num_cells=3, in_channels=1)), PathWeights())
    images = torch.randn(2, 1, 16, 16)
    for seed in range(3):
        _, path = draw(supernet.table, seed)
        sample = supernet.set_draw(path, gradient=False)
        for module in theirs.modules():
            if isinstance(module, BaseSuperNetModule):
                module.resample(memo=sample)
        assert torch.allclose(ours(images), theirs(images), atol=1e-5)
