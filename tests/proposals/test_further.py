"""What going on with a network gives: against a regression by hand, and what it must do in the limit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
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
    Change,
    expected_change,
    expected_kin_gain,
    image_noise,
    schedules,
    trainings,
    without_luck,
)
from nni_hypens.proposals.outlook import pair_gains


def test_schedules_and_trainings_follow_the_parents() -> None:
    parents = [None, None, 0, 2, 1, 3]
    assert schedules(parents) == [1, 1, 2, 3, 2, 4]
    assert trainings(parents) == [0, 1, 0, 0, 1, 0]
    assert schedules([]) == trainings([]) == []


def change(
    nll: Any, parents: list[int | None], temperatures: list[float], gain: float = 0.0, images: int = 500
) -> Change:
    """All pairs gain alike."""
    gains = np.full((len(parents), len(parents)), gain)
    return expected_change(np.asarray(nll, dtype=float), parents, temperatures, gains, images)


def test_before_any_result_the_temperature_decides() -> None:
    """The lower it is, the less finished are the networks, and the more going on is expected to help."""
    means = [change([2.0], [None], [hot]).mean / 2 for hot in (0.1, 0.8, 1.0, 1.5, 100.0)]
    assert means == sorted(means) and means[0] == LEAST and means[-1] == MOST
    assert means[1:4] == pytest.approx([AT_ONE + BELOW_ONE * np.log(0.8), AT_ONE, AT_ONE + ABOVE_ONE * np.log(1.5)])


def test_those_trained_further_do_not_count_for_the_temperature_or_the_level() -> None:
    """They are more finished, and better, than what the others would be."""
    one = change([2.0, 2.0], [None, None], [0.8, 0.8])
    more = change([2.0, 2.0, 2.0 + one.mean], [None, None, 0], [0.8, 0.8, 9.0])
    assert more.mean == pytest.approx(one.mean) and more.std < one.std and more.noise == one.noise


def test_results_move_it_as_in_bayesian_regression() -> None:
    """By brute force: the posterior of the mean and of the noise that all share, on a grid."""
    nll, parents, gain, images = [1.0, 1.2, 0.9, 0.88, 1.15], [None, None, 0, 2, 1], 0.02, 200
    found, level = change(nll, parents, [1.0, 1.0, 1.1, 1.2, 1.1], gain, images), 1.1
    mean, shared = np.meshgrid(np.linspace(-0.4, 0.4, 1601), np.linspace(-0.3, 0.3, 1201))
    log = norm.logpdf(mean, AT_ONE, CHANGE_SD) + norm.logpdf(shared, 0, np.sqrt(image_noise(gain, images)) / level)
    for seen, share in ((-0.1, 1.0), (-0.02, FADE), (-0.05, 1.0)):
        log = log + norm.logpdf(seen / level, share * mean + shared, NETWORK_SD)
    weights = np.exp(log - log.max())
    weights /= weights.sum()
    expected = (weights * mean).sum()
    assert found.mean == pytest.approx(level * expected, abs=1e-5)
    assert found.std == pytest.approx(level * np.sqrt((weights * (mean - expected) ** 2).sum()), rel=1e-3)


def test_in_the_end_the_results_alone_count_unless_the_images_are_few() -> None:
    nll, parents = [*[1.0] * 50, *[1.03] * 50], [*[None] * 50, *range(50)]
    sure, unsure = (change(nll, parents, [0.5] * 100, 0.02, images) for images in (10**6, 100))
    assert sure.mean == pytest.approx(0.03, abs=0.003) and sure.std < 0.1 * CHANGE_SD
    assert unsure.mean < 0 and unsure.std > 0.5 * CHANGE_SD


def test_the_noise_of_the_images_is_that_of_resampled_ones() -> None:
    """Against the variance of the difference of two NLLs over draws of images."""
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20_000, 5))
    probs = softmax(np.stack([logits, logits + 0.3 * generator.normal(size=logits.shape)]), axis=2)
    labels = (generator.random((20_000, 1)) > probs[0].cumsum(axis=1)).sum(axis=1)
    losses = -np.log(np.take_along_axis(probs, labels[None, :, None], axis=2))[..., 0]
    variance = float(np.var(losses[0] - losses[1])) / 400
    assert image_noise(pair_gains(probs)[0, 1], 400) == pytest.approx(variance, rel=0.1)


def test_luck_is_taken_from_the_lowest() -> None:
    """Without noise of images each network is believed; with much, all are as good as their mean."""
    nll, parents = np.array([0.9, 1.0, 1.1, 0.8]), [None, None, None, 0]
    none = Change(0.0, 0.0, NETWORK_SD)
    gains = np.full((4, 4), 0.05)
    exact = without_luck(nll, parents, gains, 10**9, 0.1, none)
    assert exact == pytest.approx(nll, abs=1e-5)
    lucky = without_luck(nll, parents, gains, 200, 0.1, none)
    assert 0.9 < lucky[0] < lucky[1] == 1.0 < lucky[2] < 1.1 and lucky[3] < lucky[0]
    assert lucky[0] - lucky[3] < 0.1  # of the change, too, a part may be luck
    assert without_luck(nll[:3], parents[:3], gains[:3, :3], 1, 0.1, none) == pytest.approx(np.full(3, 1.0))


def test_kin_move_from_the_prior_to_what_is_measured() -> None:
    gains = np.zeros((4, 4))
    assert expected_kin_gain(gains, [None] * 4, 0.2) == pytest.approx(KIN * 0.2)
    for one, two in ((0, 2), (0, 3), (2, 3)):
        gains[one, two] = gains[two, one] = 0.05
    found = expected_kin_gain(gains, [None, None, 0, 2], 0.2)  # 1 is of another training
    assert found == pytest.approx((KIN * 0.2 + 0.05) / 2)
    assert expected_kin_gain(gains, [None, None, 0, 2], 0.0) == 0.0
