"""What going on with a network gives: against a regression by hand, and what it must do in the limit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from nni_hypens.proposals.further import (
    ABOVE_ONE,
    AT_ONE,
    BELOW_ONE,
    CHANGE_SD,
    FADE,
    KIN,
    LEAST,
    MOST,
    NETWORK_SD,
    expected_change,
    expected_kin_gain,
    schedules,
    trainings,
)


def test_schedules_and_trainings_follow_the_parents() -> None:
    parents = [None, None, 0, 2, 1, 3]
    assert schedules(parents) == [1, 1, 2, 3, 2, 4]
    assert trainings(parents) == [0, 1, 0, 0, 1, 0]
    assert schedules([]) == trainings([]) == []


def test_before_any_result_the_temperature_decides() -> None:
    """The lower it is, the less finished are the networks, and the more going on is expected to help."""
    means = [expected_change(np.array([2.0]), [None], [hot]).mean / 2 for hot in (0.1, 0.8, 1.0, 1.5, 100.0)]
    assert means == sorted(means) and means[0] == LEAST and means[-1] == MOST
    assert means[1:4] == pytest.approx([AT_ONE + BELOW_ONE * np.log(0.8), AT_ONE, AT_ONE + ABOVE_ONE * np.log(1.5)])


def test_those_trained_further_do_not_count_for_the_temperature_or_the_level() -> None:
    """They are more finished, and better, than what the others would be."""
    one = expected_change(np.array([2.0, 2.0]), [None, None], [0.8, 0.8])
    prior = expected_change(np.array([2.0, 2.0, 2.0 + one.mean]), [None, None, 0], [0.8, 0.8, 9.0])
    assert prior.mean == pytest.approx(one.mean) and prior.std < one.std and prior.noise == one.noise


def test_results_move_it_as_in_bayesian_regression() -> None:
    """By brute force: the posterior of the mean on a grid."""
    nll, parents, hot = np.array([1.0, 1.2, 0.9, 0.88, 1.15]), [None, None, 0, 2, 1], [1.0, 1.0, 1.1, 1.2, 1.1]
    found, level = expected_change(nll, parents, hot), 1.1
    grid = np.linspace(-0.5, 0.5, 200_001)
    log = norm.logpdf(grid, AT_ONE, CHANGE_SD)
    for change, share in ((-0.1, 1.0), (-0.02, FADE), (-0.05, 1.0)):
        log = log + norm.logpdf(change / level, share * grid, NETWORK_SD)
    weights = np.exp(log - log.max())
    weights /= weights.sum()
    mean = weights @ grid
    assert found.mean == pytest.approx(level * mean, abs=1e-5)
    assert found.std == pytest.approx(level * np.sqrt(weights @ (grid - mean) ** 2), rel=1e-3)


def test_in_the_end_the_results_alone_count() -> None:
    nll = np.concatenate([np.full(50, 1.0), np.full(50, 1.03)])
    found = expected_change(nll, [*[None] * 50, *range(50)], [0.5] * 100)
    assert found.mean == pytest.approx(0.03, abs=0.003) and found.std < 0.1 * CHANGE_SD


def test_kin_move_from_the_prior_to_what_is_measured() -> None:
    gains = np.zeros((4, 4))
    assert expected_kin_gain(gains, [None] * 4, 0.2) == pytest.approx(KIN * 0.2)
    for one, two in ((0, 2), (0, 3), (2, 3)):
        gains[one, two] = gains[two, one] = 0.05
    found = expected_kin_gain(gains, [None, None, 0, 2], 0.2)  # 1 is of another training
    assert found == pytest.approx((KIN * 0.2 + 0.05) / 2)
    assert expected_kin_gain(gains, [None, None, 0, 2], 0.0) == 0.0
