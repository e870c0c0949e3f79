from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from nni_hypens.errors import InputError
from nni_hypens.search.hypernetwork import Hypernetwork


def make(seed: int = 0, pivots: int = 5) -> Hypernetwork:
    network = Hypernetwork(3, 4, -0.2, 4.2, pivots, init_scale=1.0, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        network.gaps.copy_(torch.randn(pivots - 1, generator=torch.Generator().manual_seed(seed + 1)))
    return network.double()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), pivots=st.integers(2, 8))
def test_exact_at_the_pivots_and_continuous_everywhere(seed: int, pivots: int) -> None:
    network = make(seed, pivots)
    knots = network.pivots
    assert torch.allclose(network(knots), network.values, atol=1e-9)
    step = 1e-9
    assert (network(knots + step) - network(knots - step)).abs().max() < 1e-4  # the papers' map jumps here
    middle = (knots[:-1] + knots[1:]) / 2
    assert torch.allclose(network(middle), (network.values[:-1] + network.values[1:]) / 2, atol=1e-9)
    outside = torch.tensor([-9.0, 99.0], dtype=torch.float64)
    assert torch.allclose(network(outside), network.values[[0, -1]])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), rate=st.sampled_from([0.1, 1.0, 30.0]))
def test_pivots_stay_ordered_whatever_the_optimiser_does(seed: int, rate: float) -> None:
    network = make(seed)
    optimizer = torch.optim.Adam(network.parameters(), rate)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(20):
        loss = (network(4 * torch.rand(8, generator=generator).double()) * 10).square().sum()
        optimizer.zero_grad()
        (-loss).backward()
        optimizer.step()
        assert (network.pivots.diff() > 0).all()
        assert network.pivots[[0, -1]].tolist() == pytest.approx([-0.2, 4.2])


def test_gradients_reach_values_gaps_and_lam() -> None:
    network = make()
    lam = torch.tensor([0.3, 1.1, 2.2, 3.9], dtype=torch.float64, requires_grad=True)
    network(lam).square().sum().backward()
    assert (lam.grad != 0).all() and (network.gaps.grad != 0).all()
    assert (network.values.grad.flatten(1).abs().sum(1) > 0).all()
    assert torch.autograd.gradcheck(network, (lam.detach().requires_grad_(),))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), lams=st.lists(st.floats(-1, 5), min_size=1, max_size=9))
def test_equals_numpy_interpolation(seed: int, lams: list[float]) -> None:
    network = make(seed)
    found = network(torch.tensor(lams, dtype=torch.float64)).detach().numpy()
    knots, values = network.pivots.detach().numpy(), network.values.detach().numpy()
    for row in range(3):
        for option in range(4):
            assert np.allclose(found[:, row, option], np.interp(lams, knots, values[:, row, option]), atol=1e-9)


def test_shapes_and_seed() -> None:
    network = make()
    for shape in ((), (2,), (2, 3)):
        assert network(torch.zeros(shape)).shape == (*shape, 3, 4)
    first, again, other = (Hypernetwork(3, 4, 0.0, 4.0, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first.values, again.values) and not torch.equal(first.values, other.values)
    assert first.pivots.tolist() == pytest.approx([0, 1, 2, 3, 4])
    assert first.values.abs().max() < 0.01  # the search begins without a preference


def test_only_the_segment_of_lam_learns_but_all_gaps_do() -> None:
    network = make()
    knots = network.pivots.detach()
    network((knots[1] + knots[2]) / 2).square().sum().backward()
    reached = network.values.grad.flatten(1).abs().sum(1) > 0
    assert reached.tolist() == [False, True, True, False, False] and (network.gaps.grad != 0).all()


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((3, 4, 0.0, 4.0, 1), "pivots"),
        ((3, 4, 0.0, 4.0, 5.0), "pivots"),
        ((3, 4, 0.0, 4.0, True), "pivots"),
        ((3, 4, 4.0, 4.0, 5), "lam range"),
        ((3, 4, 0.0, float("nan"), 5), "lam range"),
        ((3, 4, 0.0, float("inf"), 5), "lam range"),
    ],
)
def test_bad_arguments(arguments: tuple, field: str) -> None:
    with pytest.raises(InputError, match=f"^{field}"):
        Hypernetwork(*arguments)
