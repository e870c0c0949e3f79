"""Disagreement, oracle accuracy and contributions against brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from nni_hypens import metrics
from nni_hypens.errors import InputError
from nni_hypens.metrics import diversity
from nni_hypens.metrics.diversity import mean_disagreements


def make(seed: int, m: int, n: int = 40, c: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(c, 0.5), size=(m, n)), rng.integers(0, c, n)


def test_disagreement_and_oracle() -> None:
    probs, labels = make(0, m=3)
    matrix = metrics.pairwise_disagreement(probs)
    for i in range(3):
        for j in range(3):
            expected = sum(probs[i, k].argmax() != probs[j, k].argmax() for k in range(40)) / 40
            assert matrix[i, j] == pytest.approx(expected)
            assert metrics.disagreement(probs[i], probs[j]) == pytest.approx(expected)
    oracle = sum(any(probs[m, k].argmax() == labels[k] for m in range(3)) for k in range(40)) / 40
    assert metrics.oracle_accuracy(probs, labels) == pytest.approx(oracle)
    assert oracle >= max(metrics.accuracy(probs[m], labels) for m in range(3))


def test_contributions_by_brute_force() -> None:
    probs, labels = make(7, m=4, n=80)
    right = [[int(row.argmax()) == y for row, y in zip(member, labels, strict=True)] for member in probs]
    pairs = {pair: metrics.disagreement(probs[pair[0]], probs[pair[1]]) for pair in combinations(range(4), 2)}
    for index, row in enumerate(metrics.contributions(probs, labels)):
        rest = [right[i] for i in range(4) if i != index]
        columns = list(zip(right[index], *rest, strict=True))
        assert row["right_alone"] == sum(own and not any(others) for own, *others in columns)
        assert row["wrong_alone"] == sum(not own and all(others) for own, *others in columns)
        assert row["right_of_majority_wrong"] == sum(own and sum(others) <= 1 for own, *others in columns)
        assert row["disagreement"] == pytest.approx(np.mean([v for pair, v in pairs.items() if index in pair]))


def test_a_single_member_contributes_nothing_to_compare() -> None:
    probs, labels = make(0, m=1)
    assert set(metrics.contributions(probs, labels)[0].values()) == {None}


def test_bad_input_is_named() -> None:
    probs, labels = make(0, m=3)
    with pytest.raises(InputError, match=r"b: got shape \(20, 4\)"):
        metrics.disagreement(probs[0], probs[0, :20])
    for function in (metrics.oracle_accuracy, metrics.contributions):
        with pytest.raises(InputError, match="members x examples x classes"):
            function(probs[0], labels)
        with pytest.raises(InputError, match="labels"):
            function(probs, labels[:-1])
    with pytest.raises(InputError, match="members x examples x classes"):
        metrics.pairwise_disagreement(probs[0])


@pytest.mark.parametrize("members", [1, 2, 7])
def test_mean_disagreements_are_means_over_pairs_that_are_not_compared(
    members: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    probs, labels = make(3, m=members)
    pairs = metrics.pairwise_disagreement(probs)
    found = mean_disagreements(probs.argmax(axis=2))
    assert found == pytest.approx(pairs.sum(axis=1) / max(members - 1, 1))
    monkeypatch.setattr(diversity, "differing_answers", lambda *given: pytest.fail("all pairs"))
    assert len(metrics.contributions(probs, labels)) == members
