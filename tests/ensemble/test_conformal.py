"""Prediction sets: thresholds against a brute force, coverage by simulation, and files from somebody else."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from nni_hypens.ensemble import conformal as module
from nni_hypens.ensemble.conformal import Conformal, fit_conformal, measure, read_conformal
from nni_hypens.errors import InputError


def draw(seed: int, images: int, classes: int = 4, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from hidden probabilities; predictions are these with another temperature, so badly calibrated."""
    rng = np.random.default_rng(seed)
    truth = rng.dirichlet(np.full(classes, 0.7), images)
    labels = (truth.cumsum(1) < rng.random((images, 1))).sum(1).clip(0, classes - 1)
    given = np.maximum(truth, 1e-9) ** (1 / temperature)
    return given / given.sum(1, keepdims=True), labels


def brute_force(probs: np.ndarray, labels: np.ndarray, new: np.ndarray, coverage: Fraction) -> list[set[int]]:
    """Conformal prediction as its definition has it: a class is in the set unless its score, put among those of the
    calibration images, is among the largest share of 1 - coverage. No quantile, no sorting."""
    scores = [1 - row[label] for row, label in zip(probs, labels, strict=True)]
    found = []
    for row in new:
        kept = set()
        for label, p in enumerate(row):
            at_least = 1 + sum(score >= 1 - p for score in scores)  # itself, and those that fit no better
            if Fraction(at_least, len(scores) + 1) > 1 - coverage:
                kept.add(label)
        found.append(kept | {max(range(len(row)), key=lambda label: row[label])})
    return found


@pytest.mark.parametrize("images", [7, 19, 60])
def test_sets_are_those_of_the_definition(images: int) -> None:
    probs, labels = draw(images, images, temperature=2.0)
    new, _ = draw(100 + images, 25, temperature=2.0)
    for percent in (5, 30, 50, 80, 85):
        found = fit_conformal(probs, labels).sets(new, percent / 100)
        wanted = brute_force(probs, labels, new, Fraction(percent, 100))
        assert [set(np.flatnonzero(row).tolist()) for row in found] == wanted, percent


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_coverage_holds_whatever_the_probabilities_are(temperature: float) -> None:
    """Mean coverage over many draws: at least what was asked, without the top class at most 1/(n + 1) above it."""
    images, repeats, level = 39, 400, 0.9
    held, plain = [], []
    for seed in range(repeats):
        fitted = fit_conformal(*draw(2 * seed, images, temperature=temperature))
        new, labels = draw(2 * seed + 1, 200, temperature=temperature)
        held.append(fitted.sets(new, level)[np.arange(200), labels].mean())
        plain.append((new[np.arange(200), labels] >= fitted.threshold(level)).mean())
    error = 3 * np.std(plain) / np.sqrt(repeats)
    assert error < 0.01 and level - error <= np.mean(plain) <= level + 1 / (images + 1) + error
    assert np.mean(held) >= np.mean(plain)


def test_few_of_many_probabilities_are_kept_and_sets_only_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    probs, labels = draw(1, 1234)
    few = fit_conformal(probs, labels)
    monkeypatch.setattr(module, "MOST_KEPT", 10_000)
    every = fit_conformal(probs, labels)
    assert (len(few.probabilities), len(every.probabilities)) == (500, 1234) and few.images == every.images == 1234
    true_class = np.sort(probs[np.arange(1234), labels])
    for level in (0.01, 0.5, 0.801, 0.9, 0.95, 0.99, few.highest):
        assert few.threshold(level) <= every.threshold(level)
        share = [(true_class >= one.threshold(level)).mean() for one in (few, every)]
        assert level <= share[1] <= share[0] <= share[1] + 0.002 + 1 / 1234


def test_thresholds_are_rounded_down() -> None:
    rng = np.random.default_rng(0)
    values = [0.0, 1.0, 1e-12, 0.1, 0.3, 0.99999999, 1e-5, *rng.random(50), *(10 ** -rng.uniform(0, 15, 50))]
    for value in values:
        cut = module._cut(float(value))
        assert cut <= value and value - cut <= 1.1e-4 * value and cut == float(f"{cut:.4e}")


def test_no_set_is_empty() -> None:
    """Certain and right calibration images: the threshold is 1, and an uncertain image keeps its best class."""
    found = Conformal(9, (1.0,) * 9).sets([[0.3, 0.4, 0.3], [0.5, 0.5, 0.0]], 0.9)
    assert found.tolist() == [[False, True, False], [True, False, False]]


def test_coverage_is_checked() -> None:
    fitted = Conformal(9, (1.0,) * 9)
    assert fitted.threshold(0.9) == 1.0
    for wrong in (0, 1, -0.1, 90, float("nan"), float("inf"), True):
        with pytest.raises(InputError, match="^coverage: got .*; expected a number above 0 and below 1"):
            fitted.threshold(wrong)
    with pytest.raises(InputError, match="^coverage: got 0.91; expected at most 0.9, what 9 validation images"):
        fitted.threshold(0.91)


def test_what_is_measured() -> None:
    probs, labels = draw(3, 50)
    test, truth = draw(4, 300)
    fitted = fit_conformal(probs, labels)
    rows = measure(fitted, test, truth)
    json.dumps(rows, allow_nan=False)
    assert [row["coverage"] for row in rows] == [0.8, 0.9, 0.95]  # 50 images cannot give 0.99
    for row in rows:
        sets = fitted.sets(test, row["coverage"])
        held = np.array([sets[i, label] for i, label in enumerate(truth)])
        assert row["measured"] == pytest.approx(held.mean()) and row["mean_size"] == pytest.approx(sets.sum() / 300)
        assert row["interval"][0] < row["measured"] < row["interval"][1]
        assert row["single"] == pytest.approx(np.mean([sum(one) == 1 for one in sets]))
        shares = {label: held[truth == label].mean() for label in range(4)}
        lowest = row["lowest_class"]
        assert lowest["measured"] == pytest.approx(min(shares.values())) == pytest.approx(shares[lowest["class"]])
        assert lowest["images"] == (truth == lowest["class"]).sum()


def test_classes_without_test_images_do_not_count() -> None:
    row = measure(Conformal(9, (0.5,) * 9), [[0.0, 1.0, 0.0]] * 3, [1, 1, 1])[0]
    assert row["lowest_class"] == {"class": 1, "measured": 1.0, "images": 3} and row["interval"][1] == 1.0


def test_json_and_back() -> None:
    fitted = fit_conformal(*draw(5, 30))
    assert read_conformal(json.loads(json.dumps(fitted.to_json())), "ensemble.json") == fitted
    assert read_conformal(None, "ensemble.json") is None


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("score", "aps", "score"),
        ("images", 1, "images"),
        ("images", True, "images"),
        ("images", -5, "images"),
        ("images", 3.5, "images"),
        ("probabilities", [], "images"),
        ("probabilities", [0.1, 0.9], "probabilities"),
        ("probabilities", [1.5, 0.9], "probabilities"),
        ("probabilities", [0.9, -0.1], "probabilities"),
        ("probabilities", ["0.9", "0.1"], "probabilities"),
        ("probabilities", [True, False], "probabilities"),
        ("probabilities", [[0.9], 0.1], "probabilities"),
        ("probabilities", [0.0] * 10_001, "images"),
        ("probabilities", None, "probabilities"),
    ],
)
def test_a_file_from_somebody_else_is_checked(field: str, value: Any, named: str) -> None:
    content = {"score": "lac", "images": 20_000 if value == [0.0] * 10_001 else 2, "probabilities": [0.9, 0.1]}
    assert read_conformal(content, "x") is not None
    with pytest.raises(InputError, match=f"^x.conformal.{named}: got"):
        read_conformal({**content, field: value}, "x")
    for wrong in ("lac", [1], 3):
        with pytest.raises(InputError, match="^x.conformal: got"):
            read_conformal(wrong, "x")
