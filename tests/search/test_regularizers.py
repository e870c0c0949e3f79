from __future__ import annotations

import itertools
import random

import nni
import numpy as np
import pytest
import torch
from nni.nas.nn.pytorch import InputChoice, LayerChoice, ModelSpace
from scipy.spatial.distance import jensenshannon
from scipy.stats import spearmanr
from torch import nn

from nni_hypens.errors import InputError
from nni_hypens.search.hypernetwork import Hypernetwork
from nni_hypens.search.jensen_shannon import JensenShannon
from nni_hypens.search.regularizers import Annealed
from nni_hypens.search.shared_edges import SharedEdgeCounter, SharedEdges, expected_shared_edges
from nni_hypens.space.architecture import EdgeGroup, EdgeStructure
from nni_hypens.space.choices import ChoiceTable
from nni_hypens.space.draws import ChoiceLayout, draw_paths, inclusion_probabilities, relaxed_choice
from search_spaces import DartsSpace, OneCell


class Plain(ModelSpace):
    """One edge per label, but two for the input choice."""

    def __init__(self) -> None:
        super().__init__()
        self.op = LayerChoice({"x": nn.Identity(), "y": nn.ReLU(), "z": nn.Tanh()}, label="op")
        self.inputs = InputChoice(5, n_chosen=2, label="inputs")
        self.add_mutable(nni.choice("width", [4, 8, 16]))
        self.add_mutable(nni.choice("depth", [4, 8]))


class Own(Plain):
    """Says that width and depth are unordered, and that the operation acts on the inputs."""

    def edge_groups(self) -> list[EdgeGroup]:
        return [
            EdgeGroup("sizes", ((None, ("width",)), (None, ("depth",)))),
            EdgeGroup("node", (("inputs", ("op",)),)),
        ]


STRUCTURES = {
    "one_cell": EdgeStructure.from_space(OneCell(channels=1)),
    "two_inputs": EdgeStructure.from_space(OneCell(channels=1, n_chosen=2)),
    "three_inputs": EdgeStructure.from_space(OneCell(channels=1, n_chosen=3)),
    "darts": EdgeStructure.from_space(DartsSpace(width=2, num_cells=3)),
    "plain": EdgeStructure.from_space(Plain()),
    "own": EdgeStructure.from_space(Own()),
}


def samples(structure: EdgeStructure, n: int, seed: int, logits: torch.Tensor | None = None) -> list[dict]:
    layout = ChoiceLayout(structure.table)
    logits = torch.zeros(layout.n_labels, layout.n_options) if logits is None else logits
    rows = draw_paths(logits.expand(n, -1, -1), layout, 1.0, torch.Generator().manual_seed(seed)).chosen.tolist()
    return [structure.table.to_sample(row) for row in rows]


@pytest.mark.parametrize("name", STRUCTURES)
def test_expected_count_is_exact_on_hard_choices(name: str) -> None:
    structure = STRUCTURES[name]
    layout = ChoiceLayout(structure.table)
    bases, others = samples(structure, 8, 0), samples(structure, 8, 1)
    for base in bases:
        counter = SharedEdgeCounter(structure, layout, base)
        for other in (*others, base):
            found = counter.expected(layout.one_hot(other)).item()
            assert found == pytest.approx(structure.shared_edges(base, other), abs=1e-5)


@pytest.mark.parametrize("name", STRUCTURES)
def test_expected_count_equals_monte_carlo(name: str) -> None:
    structure = STRUCTURES[name]
    layout = ChoiceLayout(structure.table)
    base = samples(structure, 1, 3)[0]
    noise = torch.randn(layout.n_labels, layout.n_options, generator=torch.Generator().manual_seed(8))
    logits = 1.5 * layout.one_hot(base) + noise
    expected = expected_shared_edges(structure, base, logits).item()
    counts = [structure.shared_edges(base, sample) for sample in samples(structure, 2000, 4, logits)]
    assert abs(np.mean(counts) - expected) < 4 * np.std(counts) / np.sqrt(len(counts))
    for other in (base, *samples(structure, 4, 5)):  # certain logits: the count itself
        shared = structure.shared_edges(base, other)
        assert expected_shared_edges(structure, base, 100 * layout.one_hot(other)).item() == pytest.approx(shared)


def plackett_luce(logits: torch.Tensor, k: int) -> torch.Tensor:
    """Reference: every order in which k options can be drawn without replacement."""
    found = torch.zeros_like(logits)
    for order in itertools.permutations(range(len(logits)), k):
        chance, rest = torch.ones((), dtype=logits.dtype), list(range(len(logits)))
        for index in order:
            chance = chance * torch.softmax(logits[rest], 0)[rest.index(index)]
            rest.remove(index)
        found[list(order)] += chance
    return found


@pytest.mark.parametrize("spread", [0.1, 1.0, 5.0, 50.0])
def test_inclusion_probabilities_against_enumeration(spread: float) -> None:
    wanted = {"one": (4, 1), "two": (6, 2), "three": (5, 3), "four": (5, 4), "all": (3, 3)}
    options = {label: tuple(range(n)) for label, (n, _) in wanted.items()}
    layout = ChoiceLayout(ChoiceTable(options, {label: k for label, (_, k) in wanted.items()}, frozenset(wanted)))
    generator = torch.Generator().manual_seed(0)
    logits = spread * torch.randn(3, 5, 6, dtype=torch.float64, generator=generator)
    found = inclusion_probabilities(logits, layout)
    for batch in range(3):
        for row, (n, k) in enumerate(wanted.values()):
            assert torch.allclose(found[batch, row, :n], plackett_luce(logits[batch, row, :n], k), rtol=0, atol=1e-10)
            assert not found[batch, row, n:].any()
    assert torch.allclose(found.sum(-1), layout.n_chosen.double().expand(3, -1))
    single = inclusion_probabilities(logits.float(), layout)
    assert single.dtype == torch.float32 and torch.allclose(single, found.float(), atol=1e-5)


def test_inclusion_probabilities_are_differentiable() -> None:
    layout = ChoiceLayout(STRUCTURES["two_inputs"].table)
    logits = torch.randn(layout.n_labels, layout.n_options, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: inclusion_probabilities(x, layout)[-4:], (logits,))
    sharp = 1e4 * torch.randn(layout.n_labels, layout.n_options, requires_grad=True)
    (gradient,) = torch.autograd.grad(inclusion_probabilities(sharp, layout).square().sum(), sharp)
    assert torch.isfinite(gradient).all()


def test_expected_count_of_slots_without_inputs() -> None:
    """A group of the user's own: unordered values, of which each slot can hold only some."""
    table = ChoiceTable({"a": ("x", "y"), "b": ("y", "z"), "c": ("y", "x")}, dict.fromkeys("abc", 1), frozenset())
    structure = EdgeStructure(table, [EdgeGroup("g", tuple((None, (label,)) for label in "abc"))])
    layout = ChoiceLayout(table)
    everything = [dict(zip("abc", values, strict=True)) for values in itertools.product(*table.options.values())]
    probabilities = torch.softmax(torch.randn(3, 2, dtype=torch.float64), -1)
    for base in everything:
        counter = SharedEdgeCounter(structure, layout, base)
        mean = 0.0
        for other in everything:
            shared = structure.shared_edges(base, other)
            assert counter.expected(layout.one_hot(other)).item() == shared
            mean += shared * (layout.one_hot(other) * probabilities).sum(-1).prod().item()
        assert counter.expected(probabilities).item() == pytest.approx(mean)


def test_shared_edges_is_the_squared_distance_to_the_dial() -> None:
    structure = STRUCTURES["darts"]
    layout = ChoiceLayout(structure.table)
    base, *others = samples(structure, 5, 7)
    regulariser = SharedEdges()
    regulariser.bind(structure, layout, base)
    lam = torch.tensor([0.0, 3.5, 8.0, 16.0])
    sharp = 100 * torch.stack([layout.one_hot(other) for other in others])  # certain, whatever the noise
    shared = np.array([structure.shared_edges(base, other) for other in others])
    expected = ((lam.numpy() - shared) ** 2).mean() / 16
    assert regulariser(lam, sharp, 1.0, torch.Generator().manual_seed(0)).item() == pytest.approx(expected, rel=1e-4)


def test_expected_count_is_differentiable() -> None:
    structure = STRUCTURES["darts"]
    layout = ChoiceLayout(structure.table)
    counter = SharedEdgeCounter(structure, layout, samples(structure, 1, 0)[0])
    probabilities = torch.rand(layout.n_labels, layout.n_options, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(counter.expected, (probabilities,))


def test_jensen_shannon_against_scipy() -> None:
    structure = STRUCTURES["one_cell"]
    layout = ChoiceLayout(structure.table)
    base = samples(structure, 1, 0)[0]
    regulariser = JensenShannon(tau=0.9)
    regulariser.bind(structure, layout, base)
    logits = torch.randn(layout.n_labels, layout.n_options, dtype=torch.float64)
    expected = []
    for row, (label, options) in enumerate(structure.table.options.items()):
        alpha = torch.softmax(logits[row, : len(options)], 0).numpy()
        smooth = np.full(len(options), 0.1 / len(options))
        smooth[structure.table.to_indices(base)[label]] += 0.9
        expected.append(jensenshannon(alpha, smooth) ** 2)
    assert regulariser.divergence(logits).item() == pytest.approx(np.mean(expected), rel=1e-5)
    linear = JensenShannon(tau=0.9, target=False)
    linear.bind(structure, layout, base)
    lam = torch.tensor([0.0, 2.0, 4.0])
    values = [linear(one[None], logits[None], 1.0, None).item() for one in lam]
    assert values == pytest.approx([-np.mean(expected), -np.mean(expected) / 2, 0.0], rel=1e-5)


def test_jensen_shannon_of_several_inputs_and_its_gradient() -> None:
    structure = STRUCTURES["two_inputs"]
    layout = ChoiceLayout(structure.table)
    base = samples(structure, 1, 1)[0]
    regulariser = JensenShannon(tau=0.9)
    regulariser.bind(structure, layout, base)
    logits = torch.randn(layout.n_labels, layout.n_options, dtype=torch.float64)
    expected = []
    for row, (label, options) in enumerate(structure.table.options.items()):
        chosen = structure.table.to_indices(base)[label]
        smooth = np.full(len(options), 0.1 / len(options))
        smooth[chosen] += 0.9 / len(chosen)
        alpha = relaxed_choice(layout.masked(logits), layout, 0.7)[row, : len(options)].numpy()
        expected.append(jensenshannon(alpha, smooth) ** 2)
        if len(chosen) == len(options):  # nothing to choose, so nothing to differ by
            assert expected[-1] == pytest.approx(0, abs=1e-9)
    assert regulariser.divergence(logits, 0.7).item() == pytest.approx(np.mean(expected), rel=1e-5)
    logits.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: regulariser.divergence(x, 0.7), (logits,))
    sharp = (1e3 * layout.one_hot(base)).requires_grad_(True)  # probabilities of exactly 0
    (gradient,) = torch.autograd.grad(regulariser.divergence(sharp), sharp)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", STRUCTURES)
def test_position_on_the_dial_of_jensen_shannon(name: str) -> None:
    """From n_edges for the base to 0 for what chooses nothing of it (or as little as there can be), and none beyond."""
    structure = STRUCTURES[name]
    layout = ChoiceLayout(structure.table)
    base, *others = samples(structure, 40, 2)
    regulariser = JensenShannon()
    regulariser.bind(structure, layout, base)
    away = {}
    for label, options in structure.table.options.items():
        chosen = [options[index] for index in structure.table.to_indices(base)[label]]
        picked = ([o for o in options if o not in chosen] + chosen)[: len(chosen)]
        away[label] = picked if label in structure.table.multiple else picked[0]
    away = structure.table.validate(away)
    positions = regulariser.position(torch.stack([layout.one_hot(one) for one in (base, away, *others)]))
    assert positions[0].item() == pytest.approx(structure.n_edges, rel=0.02)
    assert positions[1].item() == pytest.approx(0, abs=1e-4)
    assert positions.min() > -1e-4 and positions.max() == positions[0]
    lam = torch.tensor([0.0, 0.3 * structure.n_edges, structure.n_edges + 0.2])
    logits = 3 * torch.stack([layout.one_hot(one) for one in others[:3]])
    soft = draw_paths(logits, layout, 0.3, torch.Generator().manual_seed(0)).soft
    error = regulariser.position(soft) - lam.clamp(max=structure.n_edges)
    value = regulariser(lam, logits, 0.3, torch.Generator().manual_seed(0)).item()
    assert value == pytest.approx((error**2).mean().item() / structure.n_edges, rel=1e-4)


def test_hard_draws_follow_the_softmax_and_modes_the_logits() -> None:
    structure = STRUCTURES["one_cell"]
    layout = ChoiceLayout(structure.table)
    logits = torch.randn(layout.n_labels, layout.n_options, generator=torch.Generator().manual_seed(0))
    chosen = draw_paths(logits.expand(20_000, -1, -1), layout, 0.1, torch.Generator().manual_seed(1)).chosen[..., 0]
    share = torch.nn.functional.one_hot(chosen, layout.n_options).double().mean(0)
    assert torch.allclose(share, torch.softmax(layout.masked(logits), -1).double(), atol=0.02)
    assert torch.equal(draw_paths(logits, layout, 1.0, noise=False).chosen[..., 0], layout.masked(logits).argmax(-1))
    again = [draw_paths(logits, layout, 1.0, torch.Generator().manual_seed(5)).soft for _ in range(2)]
    assert torch.equal(*again)


def test_relaxed_choice() -> None:
    one, two = (ChoiceLayout(STRUCTURES[name].table) for name in ("one_cell", "two_inputs"))
    generator = torch.Generator().manual_seed(0)
    logits = one.masked(torch.randn(one.n_labels, one.n_options, generator=generator))
    assert torch.allclose(relaxed_choice(logits, one, 0.5), torch.softmax(logits / 0.5, -1))
    logits = two.masked(torch.randn(two.n_labels, two.n_options, generator=generator))
    sums = relaxed_choice(logits, two, 0.05).sum(-1)
    assert torch.allclose(sums, two.n_chosen.float(), atol=0.2)
    row = STRUCTURES["two_inputs"].table.labels.index("node_1/input")  # both of two inputs: nothing to choose
    assert relaxed_choice(logits, two, 1.0)[row, :2].tolist() == [1, 1]


def test_annealing() -> None:
    assert [Annealed((0.3, 3.0), "w").at(p) for p in (-1, 0, 0.5, 1, 2)] == pytest.approx([0.3, 0.3, 1.65, 3, 3])
    assert Annealed(2, "w").at(0.7) == 2
    for wrong in ("x", (1,), (1, -1), (1, 2, 3), True, None, float("nan"), (1.0, float("inf"))):
        with pytest.raises(InputError, match="^w"):
            Annealed(wrong, "w")
    for make in (
        lambda: SharedEdges(temperature=0.0),
        lambda: JensenShannon(tau=1.0),
        lambda: JensenShannon(tau="x"),
        lambda: JensenShannon(tau=float("nan")),
        lambda: JensenShannon(target=1),
        lambda: SharedEdges(weight=-1.0),
    ):
        with pytest.raises(InputError, match="^diversity"):
            make()


def test_regularisers_need_their_base() -> None:
    for regulariser in (SharedEdges(), JensenShannon()):
        with pytest.raises(RuntimeError, match="bind"):
            regulariser(torch.zeros(1), torch.zeros(1, 14, 7), 1.0, None)


def alone(regulariser: SharedEdges | JensenShannon, structure: EdgeStructure, seed: int, steps: int) -> tuple:
    """Base, lam = 0..n_edges by a quarter, and the modes there, of a hypernetwork trained on the regulariser alone."""
    layout = ChoiceLayout(structure.table)
    generator = torch.Generator().manual_seed(seed)
    base = samples(structure, 1, random.Random(seed).randrange(99))[0]
    n_edges = structure.n_edges
    network = Hypernetwork(layout.n_labels, layout.n_options, -0.2, n_edges + 0.2, generator=generator)
    regulariser.bind(structure, layout, base)
    optimizer = torch.optim.Adam(network.parameters(), 0.03, betas=(0.5, 0.999))
    for step in range(steps):
        lam = (n_edges + 0.4) * torch.rand(64, generator=generator) - 0.2
        loss = regulariser(lam, network(lam), regulariser.temperature.at(step / steps), generator)
        optimizer.zero_grad()
        (regulariser.weight.at(step / steps) * loss).backward()
        optimizer.step()
    lams = torch.arange(4 * n_edges + 1) / 4
    rows = draw_paths(network(lams).detach(), layout, 1.0, noise=False).chosen.tolist()
    return base, lams.numpy(), [structure.table.to_sample(row) for row in rows]


@pytest.mark.parametrize(("name", "seed", "most"), [("one_cell", 0, 0.4), ("one_cell", 1, 0.4), ("darts", 0, 0.96)])
def test_the_regulariser_alone_makes_the_dial_obey(name: str, seed: int, most: float) -> None:
    structure = STRUCTURES[name]
    base, lams, modes = alone(SharedEdges(), structure, seed, 400 if name == "one_cell" else 1200)
    shared = [structure.shared_edges(base, mode) for mode in modes]
    assert np.abs(np.array(shared) - lams).mean() <= most and (min(shared), max(shared)) == (0, structure.n_edges)


def test_jensen_shannon_obeys_as_a_target_and_not_as_a_weight() -> None:
    structure = STRUCTURES["one_cell"]
    layout = ChoiceLayout(structure.table)
    for target in (True, False):
        regulariser = JensenShannon(target=target)
        base, lams, modes = alone(regulariser, structure, 0, 800)
        positions = regulariser.position(torch.stack([layout.one_hot(mode) for mode in modes])).numpy()
        if target:
            assert np.abs(positions - lams).mean() <= 0.24 and spearmanr(positions, lams).statistic > 0.95
            assert positions[0] == pytest.approx(0, abs=0.05) and structure.shared_edges(base, modes[-1]) == 4
        else:
            assert positions.max() < 1 and np.abs(positions - lams).mean() > 1
