from __future__ import annotations

import nni
import pytest
import torch
from nni.nas.nn.pytorch import ModelSpace, MutableMultiheadAttention

from nni_hypens.search.path_weights import PathWeights
from nni_hypens.search.supernet import batch_statistics
from nni_hypens.space.choices import ChoiceTable
from nni_hypens.space.draws import PathDraw
from search_spaces import OneCell
from tests.support.supernets import SPACES, draw, supernet_of


@pytest.mark.parametrize(("make", "shape"), SPACES)
def test_weights_are_one_and_carry_the_gradient(make, shape) -> None:
    torch.manual_seed(0)
    supernet = supernet_of(make())
    images = torch.randn(shape)
    for seed in range(3):
        logits, path = draw(supernet.table, seed)
        with batch_statistics(supernet.model):
            sample = supernet.set_draw(path, gradient=False)
            plain = supernet.model(images)
            assert supernet.set_draw(path, gradient=True) == sample
            weighted = supernet.model(images)
        assert torch.allclose(plain, weighted, atol=1e-5)
        (gradient,) = torch.autograd.grad(weighted.square().sum(), logits)
        assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0
        rows = gradient.abs().sum(1)
        for row, (label, options) in enumerate(supernet.table.options.items()):
            if len(options) == 1 or supernet.table.n_chosen[label] == len(options):
                assert rows[row] < 1e-6, label  # nothing to choose


def test_gradient_is_that_of_the_relaxed_choice() -> None:
    """d loss / d logits = (d loss / d weight) (d soft / d logits), the first factor by finite differences."""
    torch.manual_seed(0)
    supernet = supernet_of(OneCell(channels=2, nodes=1, in_channels=1))
    images = torch.randn(4, 1, 8, 8)
    logits, path = draw(supernet.table, 1)
    row = supernet.table.labels.index("node_0/op_0")
    with batch_statistics(supernet.model):
        supernet.set_draw(path, gradient=True)
        (soft,) = torch.autograd.grad(path.soft[row, path.chosen[row, 0]], logits, retain_graph=True)
        (gradient,) = torch.autograd.grad(supernet.model(images).square().sum(), logits)
        losses = []
        for weight in (1 - 1e-3, 1 + 1e-3):
            values = {label: (torch.tensor(1.0),) for label in supernet.table.options}
            values["node_0/op_0"] = (torch.tensor(weight),)
            supernet.weights.values = values
            losses.append(supernet.model(images).square().sum().item())
    slope = (losses[1] - losses[0]) / 2e-3
    assert torch.allclose(gradient[row], slope * soft[row], rtol=0.02, atol=1e-3)


def test_each_of_two_inputs_gets_its_own_gradient() -> None:
    """The slope of the loss in the weight of one input, by finite differences, goes to that input's option."""
    torch.manual_seed(0)
    supernet = supernet_of(OneCell(channels=2, nodes=3, n_chosen=2, in_channels=1))
    images = torch.randn(4, 1, 8, 8)
    row = supernet.table.labels.index("node_2/input")
    orders = set()
    for seed in range(8):
        _, path = draw(supernet.table, seed)
        orders.add(bool(path.chosen[row, 0] > path.chosen[row, 1]))
        soft = path.soft.detach().requires_grad_(True)
        with batch_statistics(supernet.model):
            sample = supernet.set_draw(PathDraw(path.chosen, soft), gradient=True)
            (gradient,) = torch.autograd.grad(supernet.model(images).square().sum(), soft)
            ones = {label: (torch.tensor(1.0),) * n for label, n in supernet.table.n_chosen.items()}
            for position, source in enumerate(sample["node_2/input"]):
                losses = []
                for weight in (1 - 1e-2, 1 + 1e-2):
                    pair = [torch.tensor(1.0), torch.tensor(1.0)]
                    pair[position] = torch.tensor(weight)
                    supernet.weights.values = {**ones, "node_2/input": tuple(pair)}
                    losses.append(supernet.model(images).square().sum().item())
                slope = (losses[1] - losses[0]) / 2e-2
                assert gradient[row, source].item() == pytest.approx(slope, rel=0.02, abs=2e-3)
        unchosen = [source for source in range(3) if source not in sample["node_2/input"]]
        assert gradient[row, unchosen].tolist() == [0.0]
    assert orders == {True, False}  # the likelier input was before the other, and after it


@pytest.mark.parametrize(("make", "shape"), SPACES[2:])
def test_every_label_of_the_path_gets_a_gradient(make, shape) -> None:
    """On a hub cell the operation's weight counts as well as the input's; so do depth and width."""
    torch.manual_seed(0)
    supernet = supernet_of(make())
    for seed in range(2):
        logits, path = draw(supernet.table, seed)
        with batch_statistics(supernet.model):
            supernet.set_draw(path, gradient=True)
            (gradient,) = torch.autograd.grad(supernet.model(torch.randn(shape)).square().sum(), logits)
        reached = gradient.abs().sum(1) > 0
        assert [label for label, hit in zip(supernet.table.labels, reached, strict=True) if not hit] == []


def test_outputs_that_are_no_tensors() -> None:
    """Attention returns (output, None)."""

    class Attention(ModelSpace):
        def __init__(self) -> None:
            super().__init__()
            self.layer = MutableMultiheadAttention(8, nni.choice("heads", [2, 4]), batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x, x, x, need_weights=False)[0]

    supernet = supernet_of(Attention())
    images = torch.randn(2, 3, 8)
    logits, path = draw(supernet.table, 0)
    supernet.set_draw(path, gradient=False)
    plain = supernet.model(images)
    supernet.set_draw(path, gradient=True)
    weighted = supernet.model(images)
    assert torch.allclose(plain, weighted)
    assert torch.autograd.grad(weighted.square().sum(), logits)[0].abs().sum() > 0


def test_scale() -> None:
    weights = PathWeights()
    item = (torch.ones(2), [torch.ones(1)])
    assert weights.scale([item], ["a"]) == [item]
    weights.values = {"a": (torch.tensor(2.0),), "b": (torch.tensor(3.0), torch.tensor(5.0))}
    assert weights.scale([item], ["a"])[0][1][0].item() == 2
    assert [x.item() for x in weights.scale([torch.tensor(1.0)] * 2, ["b"])] == [3, 5]
    assert weights.scale([torch.tensor(1.0)], ["a", "b"])[0].item() == 30


def test_weights_follow_the_order_of_the_sample() -> None:
    """With two inputs chosen, NNI runs them in ascending order, while top-k gives the likelier one first."""
    table = ChoiceTable({"input": (0, 1, 2)}, {"input": 2}, frozenset({"input"}))
    path = PathDraw(torch.tensor([[2, 0]]), torch.tensor([[0.3, 0.1, 0.6]], requires_grad=True))
    weights = PathWeights()
    weights.set(table, path)
    assert table.to_sample(path.chosen.tolist()) == {"input": [0, 2]}
    first, second = weights.values["input"]
    assert torch.autograd.grad(first, path.soft, retain_graph=True)[0].tolist() == [[1, 0, 0]]
    assert torch.autograd.grad(second, path.soft)[0].tolist() == [[0, 0, 1]]
