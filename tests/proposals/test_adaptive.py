"""Adaptive training: what it does is checked against a simulated truth."""

from __future__ import annotations

from collections import Counter

import numpy as np

from nni_hypens import metrics
from nni_hypens.proposals.adaptive import MEASURED, AdaptiveTraining
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.cost import NetworkSize
from nni_hypens.space.draws import random_architectures
from search_spaces import OneCell
from tests.support.simulated_truth import LABELS, pool, train, truth


def run(structure: EdgeStructure, n: int, members: int = 3, seed: int = 0) -> list[tuple[dict, int, str]]:
    start = random_architectures(structure, 4, seed=seed + 100)
    rule = AdaptiveTraining(structure, start, [], LABELS, members, seed)
    trained: list[tuple[dict, int, str]] = []
    while len(trained) < n:
        probs = (
            np.stack([train(structure, sample, replica) for sample, replica, _ in trained]) if trained else np.empty(0)
        )
        proposal = rule.propose([sample for sample, _, _ in trained], probs)
        trained.append((proposal.sample, proposal.replica, proposal.source))
    return trained


def test_it_begins_with_the_start_and_repeats(structure: EdgeStructure) -> None:
    first = run(structure, 10)
    assert first == run(structure, 10)
    start = random_architectures(structure, 4, seed=100)
    assert [sample for sample, _, _ in first[:4]] == start and {source for *_, source in first[:4]} == {"start"}
    assert "start" not in {source for *_, source in first[4:]}
    keys = [(structure.key(sample), replica) for sample, replica, _ in first]
    assert len(set(keys)) == len(keys)  # no network twice


def test_it_finds_better_networks_than_chance(structure: EdgeStructure) -> None:
    """On average over seeds; a single start can be so poor that little is found in twelve trainings."""
    shares = []
    for seed in range(6):
        chosen = [truth(structure, sample) for sample, _, _ in run(structure, 16, seed=seed)[4:]]
        chance = [truth(structure, sample) for sample in random_architectures(structure, 200, seed=seed)]
        shares.append(np.mean(np.array(chance) < np.mean(chosen)))
    assert np.mean(shares) > 0.75


def test_what_is_in_training_is_not_proposed_again(structure: EdgeStructure) -> None:
    samples, probs = pool(structure, 8)
    rule = AdaptiveTraining(structure, samples[:2], samples[2:], LABELS, 3)
    first = rule.propose(samples, probs)
    second = rule.propose(samples, probs, pending=[first.sample])
    assert structure.key(first.sample) != structure.key(second.sample)
    assert first.gain is not None and second.gain is not None and first.gain >= second.gain


def test_a_budget_is_asked_once_for_each_architecture(structure: EdgeStructure) -> None:
    samples, probs = pool(structure, 6)
    asked = []

    def accepts(sample: dict) -> bool:
        asked.append(structure.key(sample))
        return not any(edge[2] == "sep_conv_5x5" for edge in structure.edges(sample))

    rule = AdaptiveTraining(structure, samples[:2], [], LABELS, 3, accepts=accepts)
    for _ in range(3):
        found = rule.propose(samples, probs).sample
        assert found in samples or accepts(found)
    assert max(Counter(asked).values()) <= 4  # once by the rule, and by this test


def test_the_best_gets_new_seeds_until_enough_is_known(structure: EdgeStructure) -> None:
    samples = random_architectures(structure, 3, seed=5)
    rule = AdaptiveTraining(structure, samples, [], LABELS, 3, learnt=6)
    trained = [(sample, 0) for sample in samples]

    def probabilities() -> np.ndarray:
        return np.stack([train(structure, sample, replica) for sample, replica in trained])

    for known in (3, 4, 5):
        proposal = rule.propose([sample for sample, _ in trained], probabilities())
        scores = {}
        for sample, replica in trained:
            key = structure.key(sample)
            scores.setdefault(key, []).append(metrics.nll(train(structure, sample, replica), LABELS))
        assert structure.key(proposal.sample) == min(scores, key=lambda key: np.mean(scores[key]))
        assert (proposal.source, proposal.gain) == ("replica", None)
        assert proposal.replica == sum(sample == proposal.sample for sample, _ in trained)
        if known == 3:  # two at once: not the same seed again
            twin = rule.propose(samples, probabilities(), pending=[proposal.sample])
            assert (twin.sample, twin.replica) == (proposal.sample, proposal.replica + 1)
        trained.append((proposal.sample, proposal.replica))
    assert rule.propose([sample for sample, _ in trained], probabilities()).gain is not None


def test_what_failed_is_not_proposed_again(structure: EdgeStructure) -> None:
    samples, probs = pool(structure, 3)
    rule = AdaptiveTraining(structure, samples, [], LABELS, 3, learnt=9)
    best = rule.propose(samples, probs).sample
    second = rule.propose(samples, probs, failed=[best, best])  # two of its seeds diverged
    assert second.source == "replica" and second.sample != best
    none_left = rule.propose(samples, probs, failed=samples)
    assert none_left.sample not in samples and none_left.gain is not None


def test_no_more_members_are_looked_at_than_help(structure: EdgeStructure) -> None:
    samples, probs = pool(structure, 9)
    three, nine = (AdaptiveTraining(structure, samples[:3], samples[3:], LABELS, members) for members in (3, 9))
    assert three.propose(samples, probs) == nine.propose(samples, probs)


def test_a_rule_asks_for_the_traits_of_few(structure: EdgeStructure) -> None:
    asked: list[dict] = []
    size = NetworkSize(OneCell(channels=2, nodes=4), (3, 16, 16))

    def traits(sample: dict) -> tuple[float, float]:
        asked.append(sample)
        return size(sample)

    samples, probs = pool(structure, 8)
    rule = AdaptiveTraining(structure, samples[:2], samples[2:], LABELS, 3, traits=traits)
    with_traits = rule.propose(samples, probs)
    assert len(asked) == MEASURED
    without = AdaptiveTraining(structure, samples[:2], samples[2:], LABELS, 3).propose(samples, probs)
    assert with_traits.gain != without.gain


def test_a_rule_that_begins_later_proposes_the_same(structure: EdgeStructure) -> None:
    samples, _ = pool(structure, 6)
    size = NetworkSize(OneCell(channels=2, nodes=4), (3, 16, 16))
    rule = AdaptiveTraining(structure, samples[:3], samples[3:], LABELS, 3, traits=size)
    trained: list[tuple[dict, int]] = []
    probs = np.empty((0, 0, 0))
    for _ in range(10):
        resumed = AdaptiveTraining(structure, samples[:3], samples[3:], LABELS, 3, traits=size)
        known = [sample for sample, _ in trained]
        proposal = rule.propose(known, probs)
        assert resumed.propose(known, probs) == proposal
        if len(known) > 3:  # in training elsewhere, proposed by a rule that has gone
            before = known[:-1], probs[:-1], known[-1:]
            assert rule.propose(*before) == resumed.propose(*before)
        trained.append((proposal.sample, proposal.replica))
        probs = np.stack([train(structure, sample, replica) for sample, replica in trained])
