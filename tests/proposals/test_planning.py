"""Plans, on outlooks that are made up so that the best plan is known."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from nni_hypens.proposals.further import FADE, Change
from nni_hypens.proposals.outlook import Outlook
from nni_hypens.proposals.planning import PLAYS, Plan, Plays, spread_over

COUNT = 30


def view(
    owner: list[int],
    between: float = 0.05,
    seeds: float = 0.02,
    same: float = 0.05,
    different: float = 0.1,
    **more: Any,
) -> Outlook:
    """Untrained architectures: all that is known is how much they differ and what pairs gain."""
    alike = np.equal.outer(owner, owner)
    gains = np.where(alike, same, different) * (1 - np.eye(len(owner)))
    mean, nll = np.full(COUNT, 1.0), np.full(len(owner), 1.0)
    change = Change(mean=0.0, std=0.0, noise=0.0)
    made = Outlook(mean, np.full(COUNT, between), between, seeds, nll, gains, same, different, same / 2, change, nll)
    return replace(made, **more)


def plays(found: Outlook, owner: list[int], nll: Any = None, seed: int = 0, **more: Any) -> Plays:
    if nll is not None:
        found = replace(found, nll=np.asarray(nll, dtype=float), believed=np.asarray(nll, dtype=float))
    begun = {*owner, *more.get("pending", ())}
    given: dict[str, Any] = {"pending": [], "new": [i for i in range(COUNT) if i not in begun], "members": 3}
    given |= {"seeds": sorted(set(owner)), **more}
    return Plays(found, owner, generator=np.random.default_rng(seed), **given)


@pytest.mark.parametrize("left", [1, 2, 7])
def test_where_architectures_differ_in_what_they_know_alone_all_are_new(left: int) -> None:
    owner = [0, 1, 2]
    found = view(owner, between=0.001, seeds=0.001, same=0.01, different=0.2)
    assert plays(found, owner, members=3 + left).best_plan(left).new == left


def test_where_architectures_differ_in_level_alone_seeds_of_the_best_follow_some_new_ones() -> None:
    owner = [0, 1, 2]
    found = view(owner, between=0.1, seeds=0.03, same=0.1, different=0.1)
    plan = plays(found, owner).best_plan(12)
    assert 0 < plan.new < 12 and plan.best > 0


def test_where_the_best_is_known_its_seeds_follow_at_once() -> None:
    owner = [0, 1, 2]
    mean, std = np.full(COUNT, 1.0), np.full(COUNT, 0.01)
    mean[0] = 0.5
    found = view(owner, mean=mean, std=std, same=0.1, different=0.1)
    play = plays(found, owner, [0.5, 1.0, 1.0])
    assert [(plan.new, plan.best) for plan in (play.best_plan(2), play.best_plan(8))] == [(0, 1)] * 2


def test_the_expected_nll_is_that_of_an_ensemble_of_what_is_trained() -> None:
    """Without any uncertainty the end of every plan can be written down."""
    owner = [0]
    found = view(owner, between=0.0, seeds=0.0, same=0.02, different=0.06, std=np.zeros(COUNT))
    play = plays(found, owner)
    assert play.now() == pytest.approx(1.0)
    assert play.best_plan(1) == Plan(1, 0, pytest.approx(1 - 0.06))
    assert play.best_plan(2) == Plan(2, 0, pytest.approx(1 - 4 * 3 * 0.06 / 9))
    no_new = plays(found, owner, new=[])
    assert no_new.best_plan(2) == Plan(0, 1, pytest.approx(1 - 4 * 3 * 0.02 / 9))
    one_new = plays(found, owner, new=[7])  # two of one architecture, one of another
    assert one_new.best_plan(2) == Plan(1, 1, pytest.approx(1 - 4 * (0.02 + 2 * 0.06) / 9))


def test_what_is_known_about_an_architecture_counts_for_its_seeds() -> None:
    """Of two that are believed to be alike, seeds are worth as much as their mean, not as their lucky first network."""
    owner = [0]
    found = view(owner, seeds=0.3, same=0.0, different=0.0, std=np.zeros(COUNT))
    lucky = plays(found, owner, [0.2], members=1)
    assert lucky.best_plan(1).nll == pytest.approx(0.2, abs=0.01)
    average = plays(found, owner, [1.0], members=1).best_plan(1).nll
    assert average == pytest.approx(1 - 0.3 / np.sqrt(2 * np.pi), abs=0.06)  # E min(0, normal of 0.3)


def by_brute_force(found: Outlook, nll: np.ndarray, members: int) -> float:
    """The best of all choices, each by the NLL of its average."""
    every = combinations(range(len(nll)), min(members, len(nll)))

    def value(chosen: tuple[int, ...]) -> float:
        pairs = found.gains[np.ix_(chosen, chosen)].sum() / 2
        return float(nll[list(chosen)].mean() - 4 * pairs / len(chosen) ** 2)

    return min(map(value, every))


@pytest.mark.parametrize("members", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_now_is_the_best_choice_of_all(seed: int, members: int) -> None:
    """Greedy is exact where pairs gain alike, and where the members that gain are also the best ones."""
    random = np.random.default_rng(seed)
    owner = list(range(4))
    alike = view(owner)
    nll = 1 + 0.1 * random.normal(size=4)
    assert plays(alike, owner, nll, members=members).now() == pytest.approx(by_brute_force(alike, nll, members))
    worth = np.sort(random.uniform(0.01, 0.1, 4))[::-1]  # the lower the NLL, the more with any other
    together = view(owner, gains=np.sqrt(np.outer(worth, worth)) * (1 - np.eye(4)))
    nll = np.sort(nll)
    found = plays(together, owner, nll, members=members).now()
    assert found == pytest.approx(by_brute_force(together, nll, members))


def going_on(mean: float, std: float = 0.0) -> Outlook:
    """Three trained networks of a known architecture each; going on changes their NLL, and nothing else helps."""
    change = Change(mean, std, noise=0.0)
    return view([0, 1, 2], 0.0, 0.0, 0.0, 0.0, std=np.zeros(COUNT), kin=0.0, change=change)


def test_where_networks_are_not_trained_to_the_end_going_on_wins() -> None:
    owner, nll = [0, 1, 2], [1.0, 0.9, 1.1]
    once = plays(going_on(-0.1), owner, nll, members=1, further=[0, 1, 2])
    assert once.further == [1, 0, 2]  # the one that is expected to be best then comes first
    assert once.best_plan(1) == Plan(0, 1, pytest.approx(0.8), further=True)
    assert once.best_plan(2).nll == pytest.approx(0.9 - 0.1 * (1 + FADE))
    assert not plays(going_on(0.1), owner, nll, members=1, further=[0, 1, 2]).best_plan(2).further
    assert not plays(going_on(-0.1), owner, nll, members=1).best_plan(2).further  # none may be trained further
    hopeful = plays(going_on(0.01, std=0.1), owner, nll, members=1, further=[1])
    assert hopeful.best_plan(1).further  # what is not known about it may be good


def test_a_network_gains_less_with_the_one_that_it_goes_on_from() -> None:
    """Three members: of one network and two of its later selves, or of three that each went on once."""
    owner, nll = [0, 1, 2], [1.0, 1.0, 1.0]
    far = replace(going_on(-0.2), same=0.1, different=0.1, gains=0.1 * (1 - np.eye(3)))
    alone = plays(far, owner, nll, further=[0])
    assert alone.best_plan(1).nll == pytest.approx((0.8 + 1 + 1) / 3 - 4 * 3 * 0.1 / 9)
    plan = plays(far, owner, nll, further=[0, 1, 2]).best_plan(3)
    assert plan == Plan(0, 3, pytest.approx(0.8 - 4 * 3 * 0.1 / 9), further=True)


def test_a_network_that_went_on_changes_less_the_next_time() -> None:
    found = view([0, 0, 1], 0.0, 0.0, 0.0, 0.0, std=np.zeros(COUNT), kin=0.0, change=Change(-0.1, 0.0, 0.0))
    play = plays(found, [0, 0, 1], [1.0, 0.9, 0.95], members=1, parents=[None, 0, None], further=[1, 2])
    assert play.further == [2, 1] and play.best_plan(1).nll == pytest.approx(0.85)


def test_measured_gains_decide_between_trained_networks() -> None:
    owner = [0, 1, 2]
    gains = np.array([[0.0, 0.01, 0.3], [0.01, 0.0, 0.3], [0.3, 0.3, 0.0]])
    found = plays(view(owner, gains=gains), owner, [1.0, 1.01, 1.1], members=2).now()
    assert found == pytest.approx(1.05 - 0.3)


def test_networks_in_training_count() -> None:
    owner = [0, 1]
    found = view(owner, between=0.0, seeds=0.0, std=np.zeros(COUNT))
    idle, busy = plays(found, owner, members=4), plays(found, owner, members=4, pending=[2])
    assert busy.best_plan(1).nll < idle.best_plan(1).nll and busy.now() == idle.now()
    assert busy.best_plan(1).nll == pytest.approx(idle.best_plan(2).nll)


def test_a_network_in_training_that_goes_on_ends_near_its_parent() -> None:
    mean = np.where(np.arange(COUNT) == 0, 1.0, 9.0)
    found = replace(going_on(-0.2), mean=mean, same=0.1, kin=0.05, different=0.1, gains=0.1 * (1 - np.eye(3)))
    given: dict[str, Any] = {"pending": [0], "new": [], "seeds": [1], "further": []}
    alone = plays(found, [0, 1, 2], [1.0, 2.0, 2.0], members=1, parents=[None, None, None, 0], **given)
    assert alone.best_plan(1).nll == pytest.approx(0.8)
    pair = plays(found, [0, 1, 2], [1.0, 2.0, 2.0], members=2, parents=[None, None, None, 0], **given)
    fresh = plays(found, [0, 1, 2], [1.0, 2.0, 2.0], members=2, parents=[None] * 4, **given)
    assert pair.best_plan(1).nll == pytest.approx((0.8 + 1.0) / 2 - 0.05)
    assert fresh.best_plan(1).nll == pytest.approx((1.0 + 1.0) / 2 - 0.1)


def test_without_new_ones_or_with_few_seeds_are_all_that_is_left() -> None:
    owner = [0, 1]
    found = view(owner, same=0.0, different=0.3)
    play = plays(found, owner, new=[])
    plan = play.best_plan(5)
    assert plan.new == 0 and 1 <= plan.best <= 2
    assert plays(found, owner, new=[5, 6]).best_plan(9).new <= 2
    only = plays(found, owner, new=[], seeds=[1]).best_plan(4)
    assert (only.new, only.best) == (0, 1)


def test_the_generator_decides() -> None:
    owner = [0, 1, 2]
    found = view(owner)
    first, again, other = (plays(found, owner, seed=seed).best_plan(6) for seed in (0, 0, 1))
    assert first == again and first.nll != other.nll
    assert first.nll == pytest.approx(other.nll, abs=5 * 0.1 / np.sqrt(PLAYS))


def test_seeds_are_spread_over_the_best() -> None:
    assert spread_over([4, 4, 2], [4, 2, 7], 1) == 4
    assert spread_over([4, 4, 2], [4, 2, 7], 2) == 2
    assert spread_over([4, 2, 7], [4, 2, 7], 3) == 4
