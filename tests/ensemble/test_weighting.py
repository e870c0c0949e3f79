"""Weights of many members, against the stated objective minimised by other means."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar

from nni_hypens import metrics
from nni_hypens.ensemble.calibration import Combination, combine, fit_temperature
from nni_hypens.ensemble.weighting import fit_weights, weigh_all
from nni_hypens.errors import InputError


def draw(seed: int, skills: tuple[float, ...], n: int = 120, c: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Networks whose logits hold the label as strongly as their skill, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, c, n)
    logits = rng.normal(size=(len(skills), n, c)) + np.reshape(skills, (-1, 1, 1)) * np.eye(c)[labels]
    probs = np.exp(logits)
    return probs / probs.sum(axis=2, keepdims=True), labels


class Objective:
    """The function that `fit_weights` says it minimises, of `b` itself, written with a loop over the examples."""

    def __init__(self, probs: np.ndarray, labels: np.ndarray, scale: float) -> None:
        self.log_p, self.labels, self.scale = np.log(probs), labels, scale
        average = np.exp(self.log_p.mean(axis=0))
        self.equal = 1 / (len(probs) * fit_temperature(average / average.sum(axis=1, keepdims=True), labels))

    def __call__(self, b: np.ndarray) -> float:
        loss = 0.0
        for n, label in enumerate(self.labels):
            logits = b @ self.log_p[:, n]
            loss += np.log(np.exp(logits).sum()) - logits[label]
        return float(loss + ((b / self.equal - 1) ** 2).sum() / (2 * self.scale**2))


@pytest.mark.parametrize(("start", "scale"), [(0, 0.3), (1, 1.0), (2, 1.0), (3, 5.0)])
def test_any_start_of_another_minimiser_ends_there(start: int, scale: float) -> None:
    """The function is convex, so that Powell's method, without derivatives, finds the same weights from anywhere."""
    probs, labels = draw(1, (1.5, 1.0, 0.2), n=40)
    objective = Objective(probs, labels, scale)
    begin = np.random.default_rng(start).uniform(0, 4 * objective.equal, 3)
    found = minimize(objective, begin, method="Powell", bounds=[(0, 10)] * 3, options={"xtol": 1e-8, "ftol": 1e-12}).x
    assert fit_weights(probs, labels, scale) == pytest.approx(found / found.sum(), abs=1e-3)
    rng = np.random.default_rng(start)
    one, other = rng.uniform(0, 2, (2, 3))
    assert objective((one + other) / 2) <= (objective(one) + objective(other)) / 2


def test_a_small_scale_keeps_the_weights_equal_and_a_large_one_frees_them() -> None:
    probs, labels = draw(2, (2.0, 1.0, 0.1))
    assert fit_weights(probs, labels, 1e-3) == pytest.approx([1 / 3] * 3, abs=1e-4)
    spread = [np.ptp(fit_weights(probs, labels, scale)) for scale in (0.05, 0.3, 1.0, 10.0)]
    assert spread == sorted(spread) and spread[-1] > 2 * spread[0]


def test_more_examples_free_the_weights() -> None:
    probs, labels = draw(3, (2.0, 0.3), n=2000)
    few, many = fit_weights(probs[:, :20], labels[:20], 0.2), fit_weights(probs, labels, 0.2)
    assert abs(few[0] - 0.5) < abs(many[0] - 0.5)


def test_a_useless_member_gets_less_than_the_others() -> None:
    probs, labels = draw(4, (1.5, 1.5, 0.0), n=600)
    weights = fit_weights(probs, labels)
    assert weights.sum() == pytest.approx(1) and weights[2] < 0.1 < weights[:2].min()


def test_copies_of_a_member_share_its_weight_equally() -> None:
    probs, labels = draw(5, (1.0, 1.5))
    weights = fit_weights(probs[[0, 1, 1]], labels)
    assert weights[1] == pytest.approx(weights[2], abs=1e-4)
    alone = fit_weights(probs, labels, 100.0)  # without a prior that tells one copy from two
    assert fit_weights(probs[[0, 1, 1]], labels, 100.0)[1:].sum() == pytest.approx(alone[1], abs=0.01)


def test_a_member_that_harms_has_no_weight_at_all() -> None:
    probs, labels = draw(6, (2.0, 2.0, -1.5), n=600)
    assert fit_weights(probs, labels)[2] == 0 and (fit_weights(probs, labels)[:2] > 0.2).all()


def test_a_single_member_has_all_the_weight() -> None:
    probs, labels = draw(7, (1.0,))
    assert fit_weights(probs, labels) == pytest.approx([1.0])


def test_no_weights_have_a_lower_nll_without_the_prior() -> None:
    """With a weak prior, the weights and the best temperature are no worse on their data than any others drawn."""
    probs, labels = draw(8, (1.5, 1.0, 0.5), n=60)

    def best(weights: np.ndarray) -> float:
        def loss(log_t: float) -> float:
            return metrics.nll(combine(probs, weights, Combination(float(np.exp(log_t)), (1.0,) * 3)), labels)

        return float(minimize_scalar(loss, bounds=(-3, 3), method="bounded").fun)

    mine = best(fit_weights(probs, labels, 1e3))
    assert all(mine <= best(weights) + 1e-5 for weights in np.random.default_rng(0).dirichlet(np.ones(3), 20))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_scale_is_positive(scale: float) -> None:
    probs, labels = draw(9, (1.0, 1.0))
    with pytest.raises(InputError, match="^scale: got"):
        fit_weights(probs, labels, scale)


def test_an_ensemble_of_all_leaves_out_those_without_a_weight() -> None:
    probs, labels = draw(6, (2.0, -1.5, 2.0), n=600)
    members, weights = weigh_all(probs, labels)
    fitted = fit_weights(probs, labels)
    assert members.tolist() == [0, 2] and fitted[1] == 0 and np.array_equal(weights, fitted[[0, 2]])
