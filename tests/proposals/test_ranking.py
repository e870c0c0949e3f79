"""Which of a pool of candidates are trained."""

from __future__ import annotations

import numpy as np
import pytest

from nni_hypens.proposals.ranking import choose_ensemble, choose_spread, choose_start
from nni_hypens.search.sampler import Candidate


def test_the_start_is_the_base_what_traits_put_first_and_draws_over_the_dial() -> None:
    draws = [Candidate(lam, round(lam), "draw", {}) for lam in (4.0, 1.0, 3.0, 2.0, 0.0)]
    pool = [Candidate(None, 4, "base", {}), *draws, Candidate(None, 1, "large", {}), Candidate(None, 2, "large", {})]
    assert choose_start(pool, [7, 4], 1) == [0]
    assert choose_start(pool, [7, 4], 2) == [0, 7]
    assert choose_start(pool, [7, 4], 3) == [0, 7, 4]
    assert choose_start(pool, [7], 3) == [0, 7, 4]  # the middle of the dial
    assert choose_start(pool, [0, 7], 3) == [0, 7, 4]  # the base is first by its traits too
    assert choose_start(pool, [7], 5) == [0, 7, 5, 4, 1]  # both ends and the middle
    assert choose_start(pool, [7], 8) == [0, 7, 5, 2, 4, 3, 1, 6]
    assert choose_start(pool[1:], [6], 2) == [6, 3]  # the base is a candidate already


def test_choose_spread_looks_at_all_that_is_kept() -> None:
    """Alone with the base, the second expert on images 1 wins; beside the first of them, the one on images 2 does."""
    experts = {"base": (0.9, 0.1, 0.1), "one": (0.1, 0.9, 0.1), "poor": (0.2, 0.2, 0.2)}
    experts |= {"also_one": (0.1, 0.95, 0.1), "two": (0.1, 0.1, 0.9)}
    right = np.repeat(np.array(list(experts.values())), 10, axis=1)
    probabilities = np.stack([right, 1 - right], axis=-1)  # P x N x 2, the true class first
    pool = [Candidate(None, 4, "base", {})] + [Candidate(float(lam), 1, "draw", {}) for lam in (4, 3, 2, 1)]
    assert choose_spread(pool, probabilities, np.zeros(30, dtype=int), 3) == [0, 1, 4]


@pytest.mark.parametrize("seed", range(3))
def test_choose_spread_keeps_the_most_helpful_of_each_part_of_the_dial(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, 20)
    probabilities = generator.dirichlet(np.ones(3), (9, 20))
    pool = [Candidate(None, 4, "base", {})] + [Candidate(float(lam), 1, "draw", {}) for lam in (4, 4, 3, 3, 2, 2, 1, 1)]
    kept = choose_spread(pool, probabilities, labels, 5)
    expected = [0]
    for group in ((1, 2), (3, 4), (5, 6), (7, 8)):

        def nll(index: int) -> float:
            mean = probabilities[[*expected, index]].mean(0)
            return -np.log(mean[np.arange(20), labels]).mean()

        expected.append(min(group, key=nll))
    assert kept == expected
    assert choose_spread(pool, probabilities, labels, 1) == [0]
    assert sorted(choose_spread(pool, probabilities, labels, 9)) == list(range(9))


@pytest.mark.parametrize("seed", range(3))
def test_choose_ensemble_looks_at_the_whole_pool(seed: int) -> None:
    """Each step against every architecture, one average at a time; lam does not matter."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, 20)
    probabilities = generator.dirichlet(np.ones(3), (9, 20))
    pool = [Candidate(None, 4, "base", {})] + [Candidate(float(i % 4), 1, "draw", {}) for i in range(8)]
    kept = choose_ensemble(pool, probabilities, labels, 4)
    expected = [0]
    for _ in range(3):

        def nll(index: int) -> float:
            mean = probabilities[[*expected, index]].mean(0)
            return -np.log(mean[np.arange(20), labels]).mean()

        expected.append(min(set(range(9)) - set(expected), key=nll))
    assert kept == expected
    assert choose_ensemble(pool, probabilities, labels, 1) == [0]
    assert sorted(choose_ensemble(pool, probabilities, labels, 9)) == list(range(9))


def test_choose_ensemble_may_stay_in_one_part_of_the_dial() -> None:
    experts = [(0.9, 0.1, 0.1), (0.2, 0.2, 0.2), (0.2, 0.2, 0.2), (0.1, 0.9, 0.1), (0.1, 0.1, 0.9)]
    right = np.repeat(np.array(experts), 10, axis=1)
    probabilities = np.stack([right, 1 - right], axis=-1)
    pool = [Candidate(None, 4, "base", {}), *(Candidate(lam, 1, "draw", {}) for lam in (4.0, 4.0, 1.0, 1.0))]
    labels = np.zeros(30, dtype=int)
    assert sorted(choose_ensemble(pool, probabilities, labels, 3)) == [0, 3, 4]
    assert 1 in choose_spread(pool, probabilities, labels, 3)
