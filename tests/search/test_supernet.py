from __future__ import annotations

import random

import nni
import pytest
import torch
from nni.nas.hub.pytorch import MobileNetV3Space, NasBench201, NASNet
from nni.nas.nn.pytorch import InputChoice, LayerChoice, ModelSpace, MutableLinear, MutableMultiheadAttention, Repeat
from nni.nas.oneshot.pytorch.supermodule.base import BaseSuperNetModule
from nni.nas.oneshot.pytorch.supermodule.sampling import PathSamplingCell
from nni.nas.strategy import RandomOneShot
from torch import nn

from nni_hypens.errors import InputError
from nni_hypens.search.hooks import LooseEndCell
from nni_hypens.search.path_weights import PathWeights
from nni_hypens.search.strategy import EdgeNES
from nni_hypens.search.supermodules import WeightedCell
from nni_hypens.search.supernet import Supernet, batch_statistics
from nni_hypens.space.choices import ChoiceTable
from nni_hypens.space.draws import ChoiceLayout, PathDraw, draw_paths
from search_spaces import DartsSpace, OneCell


def supernet_of(space: ModelSpace) -> Supernet:
    strategy = EdgeNES()
    strategy.mutate_model(space)
    return strategy.trained_supernet


def draw(table: ChoiceTable, seed: int, temperature: float = 1.0) -> tuple[torch.Tensor, PathDraw]:
    layout = ChoiceLayout(table)
    logits = torch.randn(layout.n_labels, layout.n_options, generator=torch.Generator().manual_seed(seed))
    logits.requires_grad_(True)
    return logits, draw_paths(logits, layout, temperature, torch.Generator().manual_seed(seed))


def draw_sample(supernet: Supernet, seed: int) -> dict:
    return supernet.table.to_sample(draw(supernet.table, seed)[1].chosen.tolist())


class Mixed(ModelSpace):
    """Depth, width and a plain layer choice."""

    def __init__(self) -> None:
        super().__init__()
        width = nni.choice("width", [4, 8])
        self.first = MutableLinear(6, width)
        self.second = MutableLinear(width, 5)
        self.blocks = Repeat(lambda index: nn.Linear(5, 5), nni.choice("depth", [1, 3]))
        self.act = LayerChoice({"relu": nn.ReLU(), "tanh": nn.Tanh()}, label="act")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.blocks(self.second(self.first(x))))


SPACES = [
    (lambda: OneCell(channels=3, in_channels=1), (2, 1, 8, 8)),
    (lambda: OneCell(channels=3, n_chosen=2, layers=2, in_channels=1), (2, 1, 8, 8)),
    (lambda: DartsSpace(width=4, num_cells=3, in_channels=1, num_classes=3), (2, 1, 8, 8)),
    (Mixed, (2, 6)),
]


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
    (lambda: NasBench201(stem_out_channels=4, num_modules_per_stack=1), (2, 3, 8, 8)),
    (lambda: MobileNetV3Space(num_labels=10), (2, 3, 64, 64)),
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
        (NASNet(width=4, num_cells=(6, 9), dataset="cifar"), (2, 3, 16, 16), "depth"),
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


def test_only_the_path_counts() -> None:
    supernet = supernet_of(OneCell(channels=3, in_channels=1))
    logits, path = draw(supernet.table, 0)
    sample = supernet.set_draw(path, gradient=True)
    (gradient,) = torch.autograd.grad(supernet.model(torch.randn(2, 1, 8, 8)).sum(), logits)
    for node in range(4):
        for source in range(node + 1):
            row = supernet.table.labels.index(f"node_{node}/op_{source}")
            on_path = sample[f"node_{node}/input"] == [source]
            assert bool(gradient[row].abs().sum() > 0) == on_path


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


def test_a_plain_path_has_no_weights_left_over() -> None:
    supernet = supernet_of(OneCell(channels=3, in_channels=1))
    _, path = draw(supernet.table, 0)
    sample = supernet.set_draw(path, gradient=True)
    assert supernet.weights.values is not None
    supernet.set_path(sample)
    assert supernet.weights.values is None
    supernet.set_draw(path, gradient=True)
    supernet.set_draw(path, gradient=False)
    assert supernet.weights.values is None


def test_path_equals_the_frozen_network() -> None:
    torch.manual_seed(0)
    supernet = supernet_of(OneCell(channels=3, n_chosen=2, in_channels=1))
    for seed in range(3):
        _, path = draw(supernet.table, seed)
        sample = supernet.set_draw(path, gradient=False)
        frozen = supernet.model.freeze(sample).eval()
        images = torch.randn(3, 1, 8, 8)
        supernet.model.eval()
        assert torch.allclose(supernet.model(images), frozen(images), atol=1e-6)


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


def test_batch_statistics_leaves_everything_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    network[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    images = 5 + torch.randn(8, 1, 8, 8)
    with batch_statistics(network):
        first, second = network(images), network(images)
    assert torch.equal(first, second)  # no dropout
    assert first.mean(dim=(0, 2, 3)).abs().max() < 1e-5  # normalised by the batch
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert modes == [module.training for module in network.modules()] and network[1].track_running_stats


def test_predict_runs_each_path_on_each_batch() -> None:
    supernet = supernet_of(OneCell(channels=3, in_channels=1, num_classes=4))
    generator = random.Random(0)
    table = supernet.table
    samples = [
        table.validate({label: generator.choice(options) for label, options in table.options.items()}) for _ in range(3)
    ]
    batches = [(torch.randn(5, 1, 8, 8), torch.zeros(5)), (torch.randn(2, 1, 8, 8), torch.zeros(2))]
    probabilities = supernet.predict(samples, batches)
    assert probabilities.shape == (3, 7, 4) and torch.allclose(probabilities.sum(-1), torch.ones(3, 7))
    assert torch.equal(supernet.predict(samples[1:2], batches)[0], probabilities[1])


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


def test_predict_leaves_no_trace() -> None:
    supernet = supernet_of(OneCell(channels=3, in_channels=1))
    before = {name: value.clone() for name, value in supernet.model.state_dict().items()}
    sample = draw_sample(supernet, 0)
    supernet.predict([sample], [(torch.randn(5, 1, 8, 8), None)])
    assert all(torch.equal(before[name], value) for name, value in supernet.model.state_dict().items())
    assert supernet.model.training and supernet.weights.values is None


def test_an_error_inside_batch_statistics_restores_the_modes() -> None:
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout())
    with pytest.raises(RuntimeError), batch_statistics(network):
        raise RuntimeError
    assert network.training and network[0].track_running_stats and network[1].training


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
