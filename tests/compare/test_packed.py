"""Packed ensembles: their width, and, where torch-uncertainty is installed, their networks and a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nni_hypens import InputError
from nni_hypens.compare import packed, searches
from nni_hypens.compare.bench import Workbench
from nni_hypens.compare.methods import METHODS
from nni_hypens.compare.outcomes import outcome
from nni_hypens.compare.packed import EveryMember, PackedNetwork, by_member, fitting_width, width_step
from nni_hypens.compare.peers import residual_sizes
from nni_hypens.compare.residual import Residual
from nni_hypens.utils.files import read_object
from tests.support.comparison_fixture import SETTINGS, SimulatedBench, make_plan, total

pytestmark = pytest.mark.usefixtures("simulated_searches")
needs_packed = pytest.mark.skipif(
    not packed.has_torch_uncertainty(), reason="torch-uncertainty is not installed: pip install 'nni-hypens[packed]'"
)


@pytest.mark.parametrize(("members", "step"), [(1, 1), (2, 1), (3, 3), (4, 2), (5, 5), (8, 4)])
def test_widths_divide_among_the_members(members: int, step: int) -> None:
    assert width_step(members) == step and packed.ALPHA * step % members == 0


def test_the_width_fits_the_budget() -> None:
    asked: list[int] = []

    def seconds(width: int) -> float:  # a part that does not depend on the width, as on a small machine
        asked.append(width)
        return 20 + 0.05 * width**2

    width = fitting_width(seconds, 100.0, first=4, step=2)
    assert width % 2 == 0 and 90 <= seconds(width) <= 100 and len(asked) <= packed.PROBES + 1
    assert fitting_width(seconds, 10.0, first=40, step=5) == 5  # nothing fits: the narrowest
    assert fitting_width(seconds, -1.0, first=40, step=5) == 5  # a search for its sizes has spent it
    assert fitting_width(lambda width: 1.0 * width**2, 100.0, first=1, step=4) == 8  # the first is too narrow to pack


def test_a_packed_ensemble_is_as_wide_as_the_budget_pays_for(tmp_path: Path) -> None:
    found = {}
    for budget in (10.0, 40.0):
        bench = SimulatedBench(tmp_path)
        trained = METHODS["packed_ensemble"].recipe(bench, 3, budget)
        (record,) = tmp_path.glob(f"packed-3-1-{budget:g}.json")
        found[budget] = read_object(record)["sizes"]
        seconds = bench.training_seconds(type("Build", (), {"args": [Residual(**found[budget])]}))
        most = (1 - packed.RESERVED) * (budget - residual_sizes(bench)[1])
        assert 0.6 * most < seconds <= most and found[budget]["width"] % 3 == 0
        assert len(trained.networks) == 3 and trained.search_s > read_object(record)["cost"]
        assert len({network.seed for network in trained.networks}) == 1
        assert outcome(bench, trained, 3)["architectures"] == 1
        assert total(METHODS["packed_ensemble"].recipe(SimulatedBench(tmp_path, costs=(9.0,)), 3, budget)) == total(
            trained
        )  # read again
    assert found[40.0]["width"] > found[10.0]["width"]


def test_a_missing_package_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searches, "has_torch_uncertainty", lambda: False)
    with pytest.raises(InputError, match=r"^methods: got packed_ensemble@2 without .*nni-hypens\[packed\]"):
        searches.check_installed("packed_ensemble@2")


def test_members_are_taken_apart() -> None:
    probabilities = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(np.stack(by_member(probabilities), axis=1), probabilities)


@needs_packed
@pytest.mark.parametrize(("members", "growth"), [(2, 1), (3, 2), (4, 2)])
def test_members_of_a_packed_network_do_not_see_one_another(members: int, growth: int) -> None:
    width = 2 * width_step(members)
    network = PackedNetwork(Residual(width, stages=2, growth=growth), members, 1, 5).train()
    images = torch.rand(6, 1, 8, 8)
    logits = network(images)
    assert logits.shape == (members * 6, 5)
    network.by_member(logits)[:, 0].sum().backward()  # the first member alone
    each = packed.ALPHA * width // members  # channels of a member
    first = network.network.features[0].weight.grad
    assert first[:each].abs().sum() > 0 and first[each:].abs().sum() == 0
    network.eval()
    probabilities = EveryMember(network)(images).softmax(-1)
    assert probabilities.shape == (6, members, 5)
    torch.testing.assert_close(network(images).exp(), probabilities.mean(1))


@needs_packed
def test_a_packed_ensemble_is_trained_once_for_all_members(tmp_path: Path) -> None:
    bench = Workbench(make_plan(SETTINGS), tmp_path)
    trained = METHODS["packed_ensemble"].recipe(bench, 2, 0.1)
    one, other = trained.networks
    assert one.cost == other.cost > 0 and one.test.shape == (100, 10)
    assert not np.array_equal(one.test, other.test) and one.finite and other.finite
    again = METHODS["packed_ensemble"].recipe(Workbench(bench.plan, tmp_path), 2, 0.1)
    np.testing.assert_array_equal(again.networks[1].test, other.test)
