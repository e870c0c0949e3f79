"""What architectures and seeds were worth, on made-up predictions."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from nni_hypens.ensemble.calibration import apply_temperature, fit_temperature
from nni_hypens.proposals.outlook import SAME, SAME_WEIGHT
from nni_hypens.run.candidate import Candidate
from nni_hypens.run.variety import variety


def candidate(place: int, operation: str) -> Candidate:
    edges = (("node_0", 0, operation),)
    return Candidate(f"c{place:02d}", 1.0, 1, "draw", 1.0, {"node_0": operation}, edges, operation)


def test_gains_are_those_of_pairs_of_calibrated_networks() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 80)
    pool = {}
    for name in ("c00", "c01", "c02"):
        logits = rng.normal(0, 1, (80, 3)) + 2 * np.eye(3)[labels]
        probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        pool[name] = [probs, probs]
    own = {name: fit_temperature(probs, labels) for name, (probs, _) in pool.items()}
    found = variety(pool, labels, [candidate(0, "a"), candidate(1, "b"), candidate(2, "a"), candidate(3, "b")], own)
    alone = {name: apply_temperature(probs, own[name]) for name, (probs, _) in pool.items()}
    gains = {
        (one, other): -np.log(np.sqrt(alone[one] * alone[other]).sum(axis=1)).mean()
        for one, other in combinations(pool, 2)
    }
    different = (gains["c00", "c01"] + gains["c01", "c02"]) / 2
    assert found["different"] == pytest.approx(different, rel=1e-4)
    same = (SAME_WEIGHT * SAME * different + gains["c00", "c02"]) / (SAME_WEIGHT + 1)
    assert found["same"] == pytest.approx(same, rel=1e-4)
    assert (found["networks"], found["architectures"]) == (3, 2)
    assert found["between_architectures"] > 0 < found["between_seeds"]


def test_one_network_says_nothing() -> None:
    labels, probs = np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]])
    assert variety({"c00": [probs, probs]}, labels, [candidate(0, "a"), candidate(1, "b")], {"c00": 1.0}) == {}


def test_of_many_networks_the_pairs_of_some_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 20)
    pool = {f"c{place:02d}": [rng.dirichlet(np.ones(3), 20)] * 2 for place in range(7)}
    records, own = [candidate(place, str(place)) for place in range(7)], dict.fromkeys(pool, 1.5)
    every = variety(pool, labels, records, own)
    monkeypatch.setattr("nni_hypens.run.variety.MOST_PAIRED", 3)
    some = variety(pool, labels, records, own)
    three = [0, 3, 6]
    alone = variety({f"c{place:02d}": pool[f"c{place:02d}"] for place in three}, labels, records, own)
    assert some["different"] == alone["different"] != every["different"]
    assert {**some, "different": 0, "same": 0} == {**every, "different": 0, "same": 0}
