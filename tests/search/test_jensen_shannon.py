from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import spearmanr

from nni_hypens.search.jensen_shannon import JensenShannon
from nni_hypens.space.draws import ChoiceLayout, draw_paths, relaxed_choice
from tests.support.structures import STRUCTURES, regularize_alone, samples


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


def test_jensen_shannon_obeys_as_a_target_and_not_as_a_weight() -> None:
    structure = STRUCTURES["one_cell"]
    layout = ChoiceLayout(structure.table)
    for target in (True, False):
        regulariser = JensenShannon(target=target)
        base, lams, modes = regularize_alone(regulariser, structure, 0, 800)
        positions = regulariser.position(torch.stack([layout.one_hot(mode) for mode in modes])).numpy()
        if target:
            assert np.abs(positions - lams).mean() <= 0.24 and spearmanr(positions, lams).statistic > 0.95
            assert positions[0] == pytest.approx(0, abs=0.05) and structure.shared_edges(base, modes[-1]) == 4
        else:
            assert positions.max() < 1 and np.abs(positions - lams).mean() > 1
