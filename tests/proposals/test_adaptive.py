"""Adaptive training on simulated networks: what it proposes, and what it may not."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from nni_hypens.proposals.adaptive import HORIZON, MEASURED, AdaptiveTraining, Proposal
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.cost import NetworkSize
from nni_hypens.space.draws import random_architectures
from search_spaces import OneCell
from tests.support.simulated_truth import LABELS, pool, train, truth

NOTHING = np.empty((0, 0, 0))


def rule_of(structure: EdgeStructure, start: list[Sample], others: list[Sample], **more: Any) -> AdaptiveTraining:
    return AdaptiveTraining(structure, start, others, LABELS, **{"members": 3, **more})


def run(structure: EdgeStructure, rule: AdaptiveTraining, n: int) -> list[Proposal]:
    """Train what a rule proposes until there are `n` networks."""
    found: list[Proposal] = []
    while len(found) < n:
        networks = [train(structure, one.sample, one.replica) for one in found]
        probs = np.stack(networks) if networks else NOTHING
        found.append(rule.propose([one.sample for one in found], probs, n - len(found)))
    return found


def test_it_begins_with_the_start_and_repeats(structure: EdgeStructure) -> None:
    start = random_architectures(structure, 4, seed=100)
    first = run(structure, rule_of(structure, start, []), 10)
    assert first == run(structure, rule_of(structure, start, []), 10)
    assert [one.sample for one in first[:4]] == start
    assert {(one.source, one.gain) for one in first[:4]} == {("start", None)}
    for one in first[4:]:
        assert one.source in ("random", "neighbour", "replica") and one.gain is not None and one.gain > 0
    assert len({(structure.key(one.sample), one.replica) for one in first}) == 10  # no network twice


def test_it_finds_better_networks_than_chance(structure: EdgeStructure) -> None:
    """On average over seeds; a single start can be so poor that little is found."""
    shares = []
    for seed in range(3):
        rule = rule_of(structure, random_architectures(structure, 4, seed=seed + 100), [], seed=seed)
        chosen = [truth(structure, one.sample) for one in run(structure, rule, 12)[4:]]
        chance = [truth(structure, sample) for sample in random_architectures(structure, 200, seed=seed)]
        shares.append(np.mean(np.array(chance) < np.mean(chosen)))
    assert np.mean(shares) > 0.75


def test_what_is_in_training_is_not_proposed_again(structure: EdgeStructure) -> None:
    samples, probs = pool(structure, 8)
    rule, pending = rule_of(structure, samples[:2], samples[2:]), list[Sample]()
    for left in (6, 5, 4, 3):
        pending.append(rule.propose(samples, probs, left, pending=pending).sample)
    assert len({structure.key(sample) for sample in pending}) == 4


def test_a_network_does_not_go_on_while_its_architecture_is_in_training(structure: EdgeStructure) -> None:
    samples, probs = pool(structure, 3)
    unsure = probs**0.2 / (probs**0.2).sum(axis=2, keepdims=True)  # temperatures below 1: going on is expected to help
    rule = rule_of(structure, samples, [], closed=True)
    free = rule.propose(samples, unsure, 3, further=[0, 1, 2])
    assert free.source == "further" and free.parent is not None
    told = {"pending": [free.sample], "parents": [None, None, None, free.parent]}
    for left in (1, 2, 5):
        waits = rule.propose(samples, unsure, left, further=[free.parent], **told)
        assert waits.sample != free.sample and waits.parent is None


@pytest.mark.parametrize("left", [1, 6])
def test_what_failed_is_not_proposed_again(structure: EdgeStructure, left: int) -> None:
    samples, probs = pool(structure, 6)
    rule = rule_of(structure, samples[:2], samples[2:], closed=True)
    failed = list[Sample]()
    for _ in range(6):
        proposal = rule.propose(samples, probs, left, failed=failed)
        assert proposal.sample in samples and proposal.sample not in failed and proposal.replica == 1
        failed.append(proposal.sample)
    with pytest.raises(RuntimeError):
        rule.propose(samples, probs, left, failed=failed)


def test_a_seed_is_trained_again_before_its_result_only_where_nothing_else_may_be(structure: EdgeStructure) -> None:
    samples, probs = pool(structure, 2)
    rule = rule_of(structure, samples, [], closed=True)
    first = rule.propose(samples, probs, 3)
    second = rule.propose(samples, probs, 2, pending=[first.sample])
    assert first.sample != second.sample and first.replica == second.replica == 1
    third = rule.propose(samples, probs, 1, pending=[first.sample, second.sample])
    assert third.sample in samples and third.replica == 2


def test_where_too_much_failed_to_learn_from_untried_ones_follow_in_turn(structure: EdgeStructure) -> None:
    samples, probs = pool(structure, 6)
    rule = rule_of(structure, samples[:3], samples[3:], closed=True)
    assert rule.propose([], NOTHING, 6, failed=samples[:3]) == Proposal(samples[3], 0, "pool")
    assert rule.propose(samples[:1], probs[:1], 6, failed=samples[1:4]) == Proposal(samples[4], 0, "pool")
    last = rule.propose(samples[:1], probs[:1], 6, failed=samples[1:])
    assert last == Proposal(samples[0], 1, "replica")
    with pytest.raises(RuntimeError):
        rule.propose([], NOTHING, 6, failed=samples)


def test_a_closed_rule_proposes_nothing_that_it_was_not_given(structure: EdgeStructure) -> None:
    samples, _ = pool(structure, 7)
    found = run(structure, rule_of(structure, samples[:3], samples[3:], closed=True), 12)
    assert {structure.key(one.sample) for one in found} <= {structure.key(sample) for sample in samples}
    assert {one.source for one in found} <= {"start", "pool", "replica"}


def test_a_budget_holds_and_is_asked_once_for_each_architecture(structure: EdgeStructure) -> None:
    samples, probs = pool(structure, 6)
    asked: Counter[object] = Counter()

    def keeps(sample: Sample) -> bool:
        return not any(edge[2] == "sep_conv_5x5" for edge in structure.edges(sample))

    def accepts(sample: Sample) -> bool:
        asked[structure.key(sample)] += 1
        return keeps(sample)

    rule = rule_of(structure, samples[:2], [], accepts=accepts)
    for left in (3, 2, 1):
        found = rule.propose(samples, probs, left)
        assert found.source == "replica" or keeps(found.sample)
    assert set(asked.values()) == {1}
    none = rule_of(structure, samples[:2], [], accepts=lambda sample: False)
    assert none.propose(samples, probs, 5).source == "replica"


def test_the_number_of_trainings_that_are_left_matters(structure: EdgeStructure) -> None:
    samples, probs = pool(structure, 6)
    rule = rule_of(structure, samples[:2], samples[2:])
    one, many = (rule.propose(samples, probs, left).gain for left in (1, 12))
    assert one is not None and many is not None and many > one > 0
    assert rule.propose(samples, probs, HORIZON) == rule.propose(samples, probs, 10**9)  # as far as plans look
    assert rule.propose(samples, probs, 0) == rule.propose(samples, probs, 1)  # the budget pays for more than expected


def test_a_rule_asks_for_the_traits_of_few(structure: EdgeStructure) -> None:
    asked: list[Sample] = []
    size = NetworkSize(OneCell(channels=2, nodes=4), (3, 16, 16))

    def traits(sample: Sample) -> tuple[float, float]:
        asked.append(sample)
        return size(sample)

    samples, probs = pool(structure, 8)
    with_traits = rule_of(structure, samples[:2], samples[2:], traits=traits).propose(samples, probs, 4)
    assert len(asked) == MEASURED
    without = rule_of(structure, samples[:2], samples[2:]).propose(samples, probs, 4)
    assert with_traits.gain != without.gain


def test_the_flow_of_few_decides_where_nothing_else_is_known(structure: EdgeStructure) -> None:
    samples = random_architectures(structure, 60, 0)
    asked: list[Sample] = []
    low = samples[30]

    def flow(sample: Sample) -> float:
        asked.append(sample)
        return 0.0 if structure.key(sample) == structure.key(low) else 9.0

    _, probs = pool(structure, 2)
    told = {"traits": lambda _: (1.0, 1.0), "closed": True}
    rule = rule_of(structure, samples[:2], samples[2:40], flow=flow, **told)
    assert rule.propose(samples[:2], probs, 4).sample == low and len(asked) == MEASURED
    unknown = rule_of(structure, samples[:2], samples[2:40], flow=lambda _: float("nan"), **told)
    without = rule_of(structure, samples[:2], samples[2:40], **told)
    assert unknown.propose(samples[:2], probs, 4) == without.propose(samples[:2], probs, 4)


def test_networks_are_judged_with_their_own_temperature(structure: EdgeStructure) -> None:
    samples, probs = pool(structure, 6)
    sharper = probs**3 / (probs**3).sum(axis=-1, keepdims=True)
    rule = rule_of(structure, samples[:2], samples[2:])
    first, second = rule.propose(samples, probs, 4), rule.propose(samples, sharper, 4)
    assert first.sample == second.sample and first.gain == pytest.approx(
        second.gain, rel=0.1
    )  # temperatures have a prior


def test_a_rule_that_begins_later_proposes_the_same(structure: EdgeStructure) -> None:
    samples, _ = pool(structure, 6)
    size = NetworkSize(OneCell(channels=2, nodes=4), (3, 16, 16))

    def rule() -> AdaptiveTraining:
        return rule_of(structure, samples[:3], samples[3:], traits=size)

    whole, trained, probs = rule(), list[Proposal](), NOTHING
    for left in range(10, 0, -1):
        known = [one.sample for one in trained]
        proposal = whole.propose(known, probs, left)
        assert rule().propose(known, probs, left) == proposal
        if len(known) > 3:  # in training elsewhere, proposed by a rule that has gone
            before = known[:-1], probs[:-1], left, known[-1:]
            assert whole.propose(*before) == rule().propose(*before)
        trained.append(proposal)
        probs = np.stack([train(structure, one.sample, one.replica) for one in trained])
