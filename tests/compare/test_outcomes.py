"""Outcomes of methods: members, calibration and measures, against brute force."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from nni_hypens import metrics
from nni_hypens.compare import outcomes
from nni_hypens.compare.bench import Network
from nni_hypens.compare.method import Trained
from nni_hypens.compare.outcomes import outcome
from nni_hypens.compare.pools import FORWARD_SELECT
from nni_hypens.ensemble.calibration import apply_temperature, calibrated_alone, fit_temperature
from nni_hypens.selection.dispatch import select
from nni_hypens.space.architecture import Sample
from nni_hypens.space.draws import random_architectures
from tests.support.comparison_fixture import SimulatedBench, note_labels


def pool(bench: SimulatedBench, n: int) -> list[Network]:
    return [bench.network(sample) for sample in random_architectures(bench.structure, n, 0)]


def test_members_are_those_of_brute_force(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    networks = pool(bench, 9)
    labels = bench.plan.data.labels("validation")

    def alone(network: Network) -> np.ndarray:
        return apply_temperature(network.validation, fit_temperature(network.validation, labels))

    own = [alone(network) for network in networks]
    best = min(
        itertools.combinations(range(9), 3), key=lambda rows: metrics.nll(np.mean([own[i] for i in rows], 0), labels)
    )
    found = outcome(bench, Trained(networks, 2.5), 3)
    assert sorted(found["chosen"]) == sorted(bench.structure.describe(networks[index].sample) for index in best)

    def scaled(part: str, temperature: float) -> np.ndarray:
        """The members' logarithms averaged, divided by the temperature and renormalised."""
        logits = np.mean([np.log(getattr(networks[index], part).astype(float)) for index in best], axis=0) / temperature
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    test = scaled("test", 1.0)
    assert found["temperature"] == pytest.approx(fit_temperature(scaled("validation", 1.0), labels), rel=1e-4)
    on_validation = scaled("validation", found["temperature"])
    assert found["validation_nll"] == pytest.approx(metrics.nll(on_validation, labels), rel=1e-4)
    assert found["nll_uncalibrated"] == pytest.approx(metrics.nll(test, bench.test_labels), rel=1e-4)
    on_test = scaled("test", found["temperature"])
    assert found["nll"] == pytest.approx(metrics.nll(on_test, bench.test_labels), rel=1e-4)
    assert found["accuracy"] == pytest.approx((test.argmax(axis=1) == bench.test_labels).mean())
    assert (found["networks"], found["training_s"], found["search_s"], found["total_s"]) == (9, 9.0, 2.5, 11.5)


def test_without_a_choice_all_are_members(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    networks = pool(bench, 4)
    found = outcome(bench, Trained(networks, choose=False), 4)
    assert found["chosen"] == [bench.structure.describe(network.sample) for network in networks]
    single = outcome(bench, Trained(networks[:1], choose=False), 4)
    assert len(single["chosen"]) == 1


def test_test_labels_are_read_after_the_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, asked = SimulatedBench(tmp_path), []
    networks = pool(bench, 5)
    note_labels(bench, asked, monkeypatch)
    choose, calibrate = outcomes.choose_members, outcomes.calibrate
    monkeypatch.setattr(outcomes, "choose_members", lambda *a: asked.append("choose") or choose(*a))
    monkeypatch.setattr(outcomes, "calibrate", lambda *a: asked.append("calibrate") or calibrate(*a))
    outcome(bench, Trained(networks), 2)
    assert asked.index("choose") < asked.index("calibrate") < asked.index("test")


def test_what_diverged_is_charged_and_never_a_member(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path, diverging=[0, 3])
    networks = pool(bench, 5)
    lost = {bench.structure.describe(networks[index].sample) for index in (0, 3)}
    found = outcome(bench, Trained(networks), 3)
    assert found["networks"] == 5 and found["training_s"] == 5.0 and not lost & set(found["chosen"])
    assert np.isfinite(found["nll"])
    with pytest.raises(RuntimeError, match="3 networks did not diverge, too few for 4"):
        outcome(bench, Trained(networks), 4)


def test_a_method_may_choose_its_members_in_its_own_way(tmp_path: Path) -> None:
    bench = SimulatedBench(tmp_path)
    networks = pool(bench, 7)
    probs = calibrated_alone(np.stack([network.validation for network in networks]), bench.validation_labels)
    for method in ("greedy", "top_k", "exhaustive"):
        members = select(method, probs, bench.validation_labels, size=3).members
        found = outcome(bench, Trained(networks, selection=method), 3)
        assert found["chosen"] == [bench.structure.describe(networks[index].sample) for index in members]
    assert outcome(bench, Trained(networks), 3) == found


def test_forward_selection_may_miss_the_best_choice(tmp_path: Path) -> None:
    """The best network alone is no member of the best pair: each of the pair knows the half that the other does not."""
    bench = SimulatedBench(tmp_path)
    labels = bench.validation_labels
    left = np.arange(len(labels)) % 2 == 0

    def network(probs: np.ndarray, sample: Sample) -> Network:
        return Network(sample, 0, probs, probs[: len(bench.test_labels)], metrics.nll(probs, labels), 1.0, probs)

    true, other = np.eye(10)[labels], np.eye(10)[(labels + 1) % 10]
    sure, unknown = 0.9 * true + 0.01, np.full((len(labels), 10), 0.1)
    # no temperature can help: it leaves a tie of two classes, and ten equal ones, as they are
    known = [
        0.45 * (true + other) + 0.01,
        np.where(left[:, None], sure, unknown),
        np.where(left[:, None], unknown, sure),
    ]
    samples = random_architectures(bench.structure, 3, 0)
    networks = [network(given, sample) for given, sample in zip(known, samples, strict=True)]
    texts = [bench.structure.describe(sample) for sample in samples]
    assert networks[0].nll < min(networks[1].nll, networks[2].nll)
    forward, best = (outcome(bench, Trained(networks, selection=how), 2) for how in (FORWARD_SELECT, None))
    assert texts[0] in forward["chosen"] and set(best["chosen"]) == set(texts[1:])
    assert best["validation_nll"] < forward["validation_nll"]
