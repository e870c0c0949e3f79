"""Adaptive training: what it expects is checked against brute force, what it does against a simulated truth."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import spearmanr

from nni_hypens import metrics
from nni_hypens.proposals.adaptive import MEASURED, AdaptiveTraining
from nni_hypens.proposals.forecast import (
    architecture_features,
    ensemble_nll,
    forecast,
    pair_gains,
    predicted_nll,
    trait_features,
)
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.cost import NetworkSize
from nni_hypens.space.draws import random_architectures
from search_spaces import OneCell, darts

LABELS = np.arange(120) % 4
VALUE = {"sep_conv_5x5": -0.3, "sep_conv_3x3": -0.2, "dil_conv_5x5": -0.1, "skip_connect": 0.2, "avg_pool_3x3": 0.3}
"""Of an operation, in the simulated truth."""


@pytest.fixture(scope="module")
def structure() -> EdgeStructure:
    return EdgeStructure.from_space(OneCell(channels=2, nodes=4))


def truth(structure: EdgeStructure, sample: dict) -> float:
    """Logit of the true class in a simulated network of an architecture."""
    return 1.5 - sum(VALUE.get(edge[2], 0.0) for edge in structure.edges(sample))


def train(structure: EdgeStructure, sample: dict, seed: int) -> np.ndarray:
    """Validation probabilities of a simulated network: the better the architecture, the surer of the true class."""
    text = f"{structure.key(sample)} {seed}"
    generator = np.random.default_rng([*text.encode()])
    logits = generator.normal(size=(len(LABELS), 4))
    logits[np.arange(len(LABELS)), LABELS] += truth(structure, sample)
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def pool(structure: EdgeStructure, n: int, seed: int = 0) -> tuple[list[dict], np.ndarray]:
    samples = random_architectures(structure, n, seed)
    return samples, np.stack([train(structure, sample, 0) for sample in samples])


@pytest.mark.parametrize("space", [OneCell(channels=2), darts("tiny")], ids=["one_cell", "darts"])
def test_features_count_shared_edges_and_operations(space) -> None:
    structure = EdgeStructure.from_space(space)
    samples = random_architectures(structure, 12, seed=1)
    features, shared = architecture_features(structure, samples)
    for one, first in enumerate(samples):
        for two, second in enumerate(samples):
            edges = structure.shared_edges(first, second)
            bags = [Counter(str(edge[2]) for edge in structure.edges(sample)) for sample in (first, second)]
            operations = (bags[0] & bags[1]).total()
            assert shared[one, two] == pytest.approx(edges / structure.n_edges)
            assert features[one] @ features[two] == pytest.approx((edges + operations) / (2 * structure.n_edges))


def test_gains_of_pairs_and_what_they_say_of_an_average(structure: EdgeStructure) -> None:
    _, probs = pool(structure, 5)
    true = probs[:, np.arange(len(LABELS)), LABELS]
    gains = pair_gains(true)
    nll = np.array([metrics.nll(one, LABELS) for one in probs])
    for one in range(5):
        for two in range(5):
            joint = metrics.nll((probs[one] + probs[two]) / 2, LABELS)
            assert gains[one, two] == pytest.approx((nll[one] + nll[two]) / 2 - joint, abs=1e-6)
    pair = [0, 3]  # exact for two, near for more
    assert ensemble_nll(nll[pair], gains[np.ix_(pair, pair)]) == pytest.approx(
        metrics.nll(probs[pair].mean(axis=0), LABELS), abs=1e-6
    )
    assert ensemble_nll(nll, gains) == pytest.approx(metrics.nll(probs.mean(axis=0), LABELS), abs=0.05)
    assert ensemble_nll(nll[:1], gains[:1, :1]) == pytest.approx(nll[0])


def test_quality_is_carried_to_architectures_that_were_not_trained(structure: EdgeStructure) -> None:
    samples, probs = pool(structure, 60)
    features, _ = architecture_features(structure, samples)
    nll = np.array([metrics.nll(one, LABELS) for one in probs])
    mean, std = predicted_nll(features, np.arange(20), nll[:20])
    assert spearmanr(mean[20:], nll[20:])[0] > 0.6
    assert (std > 0).all() and std[20:].mean() > std[:20].mean()  # surer of what it has seen


def test_spreads_are_those_of_the_posterior(structure: EdgeStructure) -> None:
    """Against its closed form (Bishop 2006, 3.58 and 3.59), and the fixed point of its precisions (MacKay 1992)."""
    samples, probs = pool(structure, 40)
    features, _ = architecture_features(structure, samples)
    nll = np.array([metrics.nll(one, LABELS) for one in probs[:6]])
    mean, std = predicted_nll(features, np.arange(6), nll)
    scale = max(np.log(nll).std(), 0.02)
    target = (np.log(nll) - np.log(nll).mean()) / scale
    inputs = features - features[:6].mean(axis=0)
    noise, weight = 1.0, 1.0
    for _ in range(1000):
        covariance = np.linalg.inv(noise * inputs[:6].T @ inputs[:6] + weight * np.eye(inputs.shape[1]))
        coefficients = noise * covariance @ inputs[:6].T @ target
        effective = inputs.shape[1] - weight * np.trace(covariance)
        weight = (effective + 2) / (coefficients @ coefficients + 2)
        noise = (6 - effective + 2) / (((target - inputs[:6] @ coefficients) ** 2).sum() + 2)
    spread = np.sqrt(np.einsum("pf,fg,pg->p", inputs, covariance, inputs) + 1 / noise)
    np.testing.assert_allclose(mean, np.exp(inputs @ coefficients * scale + np.log(nll).mean()), rtol=1e-3)
    np.testing.assert_allclose(std, spread * scale * mean, rtol=1e-3)


def test_the_expected_gain_agrees_with_what_happens(structure: EdgeStructure) -> None:
    samples, probs = pool(structure, 60)
    features, shared = architecture_features(structure, samples)
    found = forecast(features, shared, list(range(15)), probs[:15], LABELS, members=3)
    assert (found.gain >= 0).all()

    def best(n: list[int]) -> float:
        from nni_hypens.selection.dispatch import select

        return select("exhaustive", probs[n], LABELS, size=3).score

    now = best(list(range(15)))
    real = np.array([now - best([*range(15), other]) for other in range(15, 60)])
    top = np.argsort(-found.gain[15:])[:10]
    assert real[top].mean() > 2 * real.mean() > 0


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


def test_traits_are_carried_to_all_from_those_that_were_measured(structure: EdgeStructure) -> None:
    samples = random_architectures(structure, 120, seed=0)
    size = NetworkSize(OneCell(channels=2, nodes=4), (3, 16, 16))
    features, _ = architecture_features(structure, samples)
    measured = {place: size(samples[place]) for place in range(0, 120, 3)}
    columns = trait_features(features, measured)
    assert columns.shape == (120, 2)
    of_measured = columns[list(measured)]
    np.testing.assert_allclose(of_measured.mean(axis=0), 0, atol=0.01)
    np.testing.assert_allclose(of_measured.std(axis=0), 1 / np.sqrt(2), rtol=0.01)  # together as much as the edges
    few = list(range(0, 120, 2))
    part = trait_features(features[few], {few.index(place): size(samples[place]) for place in range(0, 120, 6)})
    whole = trait_features(features, {place: size(samples[place]) for place in range(0, 120, 6)})
    np.testing.assert_allclose(part, whole[few])  # whatever else is on the table
    truth = np.log([size(sample) for sample in samples])
    for place in range(2):
        assert spearmanr(columns[:, place], truth[:, place]).statistic > 0.98


def test_traits_help_where_size_decides(structure: EdgeStructure) -> None:
    size = NetworkSize(OneCell(channels=2, nodes=4), (3, 16, 16))
    samples = random_architectures(structure, 150, seed=0)
    logs = np.log([size(sample)[1] for sample in samples])
    features, _ = architecture_features(structure, samples)
    with_traits = np.column_stack([features, trait_features(features, dict(enumerate(map(size, samples))))])
    noise = np.random.default_rng(0).normal(0, 0.05, len(samples))
    nll = np.exp(-0.3 * (logs - logs.mean()) / logs.std() + noise)
    owner = np.arange(6)
    without, _ = predicted_nll(features, owner, nll[owner])
    known, _ = predicted_nll(with_traits, owner, nll[owner])
    assert spearmanr(known, nll).statistic > max(0.8, spearmanr(without, nll).statistic)


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
