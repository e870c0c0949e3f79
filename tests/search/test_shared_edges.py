from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from nni_hypens.search.shared_edges import SharedEdgeCounter, SharedEdges, expected_shared_edges
from nni_hypens.space.architecture import EdgeGroup, EdgeStructure
from nni_hypens.space.choices import ChoiceTable
from nni_hypens.space.draws import ChoiceLayout
from tests.support.structures import STRUCTURES, samples


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


def test_expected_count_of_slots_with_and_without_inputs() -> None:
    """A group of the user's own that mixes them: values of both kinds are the same, the edges are not."""
    options = {"width": ("x", "y"), "input": (0, 1), "op": ("y", "x"), "many": (0, 1, 2), "other": ("x", "z")}
    n_chosen = {**dict.fromkeys(options, 1), "many": 2}
    table = ChoiceTable(options, n_chosen, frozenset({"input", "many"}))
    structure = EdgeStructure(table, [EdgeGroup("g", ((None, ("width",)), ("input", ("op",)), ("many", ("other",))))])
    layout = ChoiceLayout(table)
    rows = itertools.product(*(itertools.combinations(range(len(options[name])), n_chosen[name]) for name in options))
    everything = [table.to_sample([list(row) for row in chosen]) for chosen in rows]
    assert len(everything) == 2 * 2 * 2 * 3 * 2 and structure.n_edges == 4
    for base in everything:
        counter = SharedEdgeCounter(structure, layout, base)
        shared = [structure.shared_edges(base, other) for other in everything]
        hard = torch.stack([layout.one_hot(other) for other in everything])
        assert counter.expected(hard).tolist() == shared
        uniform = expected_shared_edges(structure, base, torch.zeros(layout.n_labels, layout.n_options)).item()
        assert uniform == pytest.approx(np.mean(shared))


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
