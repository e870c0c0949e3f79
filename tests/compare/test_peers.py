"""Methods without a search: a residual network, and snapshots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nni_hypens import InputError
from nni_hypens.compare import peers
from nni_hypens.compare.bench import Workbench
from nni_hypens.compare.method import random_samples
from nni_hypens.compare.methods import METHODS
from nni_hypens.compare.outcomes import outcome
from nni_hypens.compare.residual import Residual, residual_of_size
from nni_hypens.space.cost import NetworkSize
from tests.support.comparison_fixture import SETTINGS, SimulatedBench, make_plan, total

pytestmark = pytest.mark.usefixtures("simulated_searches")


def test_a_residual_network_keeps_its_sizes() -> None:
    network = Residual(width=4, blocks=2, stages=3, growth=2).network(1, 5)
    seen: list[tuple[int, ...]] = []
    for block in network.features[3:]:
        block.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape[1:])))
    assert network(torch.zeros(2, 1, 9, 9)).shape == (2, 5)
    assert seen == [(4, 9, 9)] * 2 + [(8, 5, 5)] * 2 + [(16, 3, 3)] * 2


def test_a_block_without_a_residual_passes_its_input_on() -> None:
    block = Residual(2).network(1, 2).features[4]
    torch.nn.init.zeros_(block.residual[-1].weight)
    image = torch.rand(1, 2, 4, 4)
    torch.testing.assert_close(block(image), image[:, :, ::2, ::2])  # the second stage begins by halving


@pytest.mark.parametrize("shape", [(1, 14, 14), (3, 16, 16)])
def test_sizes_are_found_again(shape: tuple[int, int, int]) -> None:
    sizes = Residual(width=11, blocks=2, stages=3, growth=1)
    assert residual_of_size(*map(float, sizes.cost(shape, 10)), shape, 10) == sizes


def test_the_residual_network_has_the_size_of_the_median_architecture(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    sizes, seconds = peers.residual_sizes(bench)
    size = NetworkSize(bench.plan.train_space, bench.plan.input_shape)
    costs = np.median([size.cost(sample) for sample in random_samples(bench, peers.MEASURED)], axis=0)
    factors = np.asarray(sizes.cost(bench.plan.input_shape, 10)) / costs
    assert (1 / 1.5 < factors).all() and (factors < 1.5).all()
    assert peers.residual_sizes(bench) == (sizes, seconds) and seconds > 0  # read, so charged the same again


def test_a_residual_ensemble_spends_the_budget_on_seeds(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    trained = METHODS["residual_ensemble"].recipe(bench, 3, 30.0)
    assert trained.choose and 29 < total(trained) <= 30
    assert len({network.seed for network in trained.networks}) == len(trained.networks)
    found = outcome(bench, trained, 3)
    assert found["architectures"] == found["member_architectures"] == 1 and found["chosen"] == ["residual"] * 3
    assert not list(bench.trained())  # no architecture of the space


def test_snapshots_are_charged_for_every_cycle_and_not_trained_again(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path, costs=(1.0, 2.0, 4.0))
    five = METHODS["snapshots"].recipe(bench, 5, 1.0)
    assert [network.cost for network in five.networks] == [1.0, 2.0, 4.0, 1.0, 2.0] and not five.choose
    three = METHODS["snapshots"].recipe(bench, 3, 1.0)
    assert len(bench.begun) == 5  # the first three of five
    for one, other in zip(three.networks, five.networks, strict=False):
        np.testing.assert_array_equal(one.test, other.test)


def test_each_cycle_goes_on_from_the_weights_of_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, built = Workbench(make_plan(SETTINGS), tmp_path), []

    def build() -> torch.nn.Module:
        built.append(Residual(2).network(1, 10))
        return built[-1]

    first, second = bench.peer("tiny", build, cycles=2)
    assert len(built) == 1 and first.cost > 0 and second.cost > 0 and first.seed == second.seed
    assert first.test.shape == (100, 10) and not np.array_equal(first.test, second.test)
    (alone,) = Workbench(bench.plan, tmp_path / "alone").peer("tiny", build)
    np.testing.assert_array_equal(alone.test, first.test)  # a cycle is the training of a network


def test_tables_have_no_residual_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = SimulatedBench(tmp_path)
    monkeypatch.setattr(peers, "is_image", lambda spec: False)
    for name in ("residual_ensemble", "snapshots"):
        with pytest.raises(InputError, match="^methods: got a residual network"):
            METHODS[name].recipe(bench, 3, 10.0)
