from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from nni_hypens.errors import InputError
from nni_hypens.search.path_weights import PathWeights
from nni_hypens.search.supernet import Supernet, batch_statistics
from nni_hypens.space.choices import ChoiceTable
from search_spaces import OneCell
from tests.support.supernets import draw, draw_sample, supernet_of


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


def test_a_choice_that_no_architecture_sets_is_refused() -> None:
    supernet = supernet_of(OneCell(channels=3, in_channels=1))
    table = ChoiceTable({"other": (0, 1)}, {"other": 1}, frozenset())
    with pytest.raises(InputError, match=r"^label 'node_0/.*: got a choice of the supernet .* that the space lacks"):
        Supernet(supernet.model, table, PathWeights())


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
