from __future__ import annotations

import itertools

import pytest
import torch

from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.choices import ChoiceTable
from nni_hypens.space.draws import (
    ChoiceLayout,
    draw_paths,
    inclusion_probabilities,
    neighbours,
    random_architectures,
    relaxed_choice,
)
from search_spaces import OneCell, darts
from tests.support.structures import STRUCTURES


@pytest.fixture(scope="module")
def structure() -> EdgeStructure:
    return EdgeStructure.from_space(OneCell(channels=2, nodes=4))


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


def test_random_architectures_are_different_and_repeat_with_the_seed(structure: EdgeStructure) -> None:
    first = random_architectures(structure, 50, seed=3)
    assert first == random_architectures(structure, 50, seed=3) != random_architectures(structure, 50, seed=4)
    assert len({structure.key(sample) for sample in first}) == 50
    small = EdgeStructure.from_space(OneCell(channels=2, nodes=1, operations=["skip_connect", "sep_conv_3x3"]))
    assert len(random_architectures(small, 50, seed=0)) == 2  # all there are


@pytest.mark.parametrize("space", [OneCell(channels=2), darts("tiny")], ids=["one_cell", "darts"])
def test_neighbours_are_all_one_choice_changes(space) -> None:
    structure = EdgeStructure.from_space(space)
    sample = random_architectures(structure, 1, seed=0)[0]
    found = neighbours(structure, sample)
    keys = {structure.key(other) for other in found}
    assert len(keys) == len(found) and structure.key(sample) not in keys
    for other in found:
        assert sum(other[label] != sample[label] for label in sample) == 1
        assert structure.table.validate(other) == other
    wanted = set()
    for label, options in structure.table.options.items():
        for value in options:
            kind = [value] if label in structure.table.multiple else value
            wanted.add(structure.key({**sample, label: kind}))
    if all(n == 1 for n in structure.table.n_chosen.values()):
        assert keys == wanted - {structure.key(sample)}
