"""The paired bootstrap of test results, held against scipy's and against what is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import bootstrap, spearmanr

from nni_hypens import metrics
from nni_hypens.errors import InputError
from nni_hypens.metrics import statistics as intervals
from nni_hypens.metrics.statistics import image_scores, mean_scores, paired_intervals, rank_correlation, resampled_means


def make(n: int = 150, models: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 4, n)
    probs = generator.dirichlet(np.ones(4), (models, n)) + 0.8 * np.eye(4)[labels]
    return probs / probs.sum(2, keepdims=True), labels


def test_means_of_images_are_the_metrics() -> None:
    probs, labels = make()
    probs[0, :3] = np.eye(4)[(labels[:3] + 1) % 4]  # impossible labels cost what they do in the metric
    scores = image_scores(probs[0], labels)
    assert scores["nll"].mean() == pytest.approx(metrics.nll(probs[0], labels))
    assert scores["accuracy"].mean() == pytest.approx(metrics.accuracy(probs[0], labels))
    both = mean_scores([scores, image_scores(probs[1], labels)])
    assert both["nll"].mean() == pytest.approx(np.mean([metrics.nll(one, labels) for one in probs[:2]]))


def test_intervals_are_those_of_scipy() -> None:
    probs, labels = make()
    scores = {str(index): image_scores(one, labels) for index, one in enumerate(probs)}
    found = paired_intervals(scores, seed=0)
    json.dumps(found, allow_nan=False)
    assert {key: found[key] for key in ("level", "resamples", "seed", "images")} == {
        "level": 0.95, "resamples": 5000, "seed": 0, "images": 150
    }  # fmt: skip
    for key in ("accuracy", "nll"):
        step = 1 / 150 if key == "accuracy" else 0  # means of zeros and ones
        for row in found["rows"]:
            pairs = [(scores[row["name"]][key], row[key]["interval"])]
            if row["name"] != "0":
                difference = scores["0"][key] - scores[row["name"]][key]
                pairs.append((difference, row[key]["difference_interval"]))
                assert row[key]["difference"] == pytest.approx(difference.mean())
            assert row[key]["value"] == scores[row["name"]][key].mean()
            for values, ours in pairs:
                theirs = bootstrap((values,), np.mean, n_resamples=5000, method="percentile", rng=1).confidence_interval
                assert ours == pytest.approx(
                    [theirs.low, theirs.high], abs=0.3 * values.std() / np.sqrt(len(values)) + step
                )
    assert "difference" not in found["rows"][0]["nll"]


def test_models_are_compared_on_the_same_draws() -> None:
    """Two models that differ by a constant: each has a wide interval, their difference none."""
    values = np.random.default_rng(0).exponential(size=80)
    right = (values > 1).astype(float)
    scores = {"a": {"nll": values, "accuracy": right}, "b": {"nll": values + 0.5, "accuracy": right}}
    row = paired_intervals(scores, seed=3, resamples=200)["rows"][1]["nll"]
    assert row["difference_interval"] == pytest.approx([-0.5, -0.5]) and np.ptp(row["interval"]) > 0.2


def test_seed_and_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(2, 30))
    first = resampled_means(values, seed=5, resamples=100)
    assert first.shape == (2, 100) and not np.array_equal(first, resampled_means(values, seed=6, resamples=100))
    monkeypatch.setattr(intervals, "_BLOCK", 7 * 30)
    np.testing.assert_allclose(resampled_means(values, seed=5, resamples=100), first)
    counts = resampled_means(np.eye(30), seed=5, resamples=50) * 30  # how often each image is drawn
    np.testing.assert_allclose(counts, counts.round(), atol=1e-9)
    np.testing.assert_allclose(counts.sum(0), 30)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for seed in range(200):
        values = generator.normal(0.3, 1, 60)
        zeros = np.zeros_like(values)
        scores = {"a": {"nll": values, "accuracy": zeros}, "b": {"nll": zeros, "accuracy": zeros}}
        low, high = paired_intervals(scores, seed, 300)["rows"][1]["nll"]["difference_interval"]
        held += low <= 0.3 <= high
    assert 0.88 <= held / 200 <= 0.99


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match="scores"):
        paired_intervals({}, 0)
    with pytest.raises(InputError, match="scores"):
        paired_intervals({"a": {"nll": np.empty(0), "accuracy": np.empty(0)}}, 0)


def test_an_architecture_counts_once_by_the_mean_of_its_networks() -> None:
    rows = [("a", 1.0, 5.0), ("b", 2.0, 1.0), ("a", 1.0, 1.0), ("c", 3.0, 4.0), ("d", 4.0, 2.0)]
    wanted = spearmanr([1, 2, 3, 4], [3, 1, 4, 2]).statistic
    assert rank_correlation(rows, 4) == (pytest.approx(wanted), 4)
    assert rank_correlation(rows, 5) == (None, 4)


def test_nothing_is_said_where_all_are_alike() -> None:
    names = "abcd"
    assert rank_correlation([(name, 1.0, float(i)) for i, name in enumerate(names)], 3) == (None, 4)
    assert rank_correlation([(name, float(i), 1.0) for i, name in enumerate(names)], 3) == (None, 4)
    assert rank_correlation([], 1) == (None, 0)
