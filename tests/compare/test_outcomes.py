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

    def score(members: tuple[int, ...]) -> float:
        mean = np.mean([networks[index].validation.astype(float) for index in members], axis=0)
        return float(-np.log(mean[np.arange(len(labels)), labels]).mean())

    best = min(itertools.combinations(range(9), 3), key=score)
    found = outcome(bench, Trained(networks, 2.5), 3)
    assert sorted(found["chosen"]) == sorted(bench.structure.describe(networks[index].sample) for index in best)
    assert found["validation_nll"] == pytest.approx(score(best), rel=1e-5)
    test = np.mean([networks[index].test.astype(float) for index in best], axis=0)
    assert found["nll_uncalibrated"] == pytest.approx(metrics.nll(test, bench.test_labels), rel=1e-5)
    logits = np.log(test) / found["temperature"]
    scaled = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert found["nll"] == pytest.approx(metrics.nll(scaled, bench.test_labels), rel=1e-4)
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
    probs = np.stack([network.validation for network in networks])
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

    def network(known: np.ndarray, sample: Sample) -> Network:
        """Gives the true class so much."""
        probs = np.repeat(((1 - known) / 9)[:, None], 10, axis=1)
        probs[np.arange(len(labels)), labels] = known
        return Network(sample, 0, probs, probs[: len(bench.test_labels)], float(-np.log(known).mean()), 1.0)

    known = [np.full(len(labels), 0.45), np.where(left, 0.99, 0.15), np.where(left, 0.15, 0.99)]
    samples = random_architectures(bench.structure, 3, 0)
    networks = [network(given, sample) for given, sample in zip(known, samples, strict=True)]
    texts = [bench.structure.describe(sample) for sample in samples]
    assert networks[0].nll < min(networks[1].nll, networks[2].nll)
    forward, best = (outcome(bench, Trained(networks, selection=how), 2) for how in (FORWARD_SELECT, None))
    assert texts[0] in forward["chosen"] and set(best["chosen"]) == set(texts[1:])
    assert best["validation_nll"] < forward["validation_nll"]
