from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nni_hypens.errors import InputError
from nni_hypens.hypernetwork import Hypernetwork


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


def test_bad_arguments() -> None:
    for arguments, field in (((3, 4, 0.0, 4.0, 1), "pivots"), ((3, 4, 4.0, 4.0, 5), "lam range")):
        with pytest.raises(InputError, match=field):
            Hypernetwork(*arguments)
