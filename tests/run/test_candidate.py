"""The record of a candidate: its format in candidates.json, and what a trial is told."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from nni_hypens.errors import InputError
from nni_hypens.run.candidate import Candidate, KnownBefore
from nni_hypens.run.settings import Settings
from nni_hypens.search.sampler import Candidate as Draw
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.build import fixed_network
from nni_hypens.space.draws import random_architectures
from search_spaces import OneCell

RECORD: dict[str, Any] = {
    "id": "c03",
    "lam": 2.5,
    "shared_edges": 3,
    "source": "draw",
    "supernet_nll": 0.75,
    "architecture": {"node_0/op": "conv", "node_0/input": [0, 1]},
    "edges": [["node_0", 0, "conv"], ["node_1", None, "pool"]],
    "text": "node_0: 0>conv; node_1: pool",
}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"lam": None},
        {"expected_gain": 0.25},
        {"expected_gain": None},  # adaptive training knew too little to expect anything
        {"parameters": 100, "flops": 2000},
        {"parameters": 100, "flops": None},
        {"known": {"accuracy": 0.9, "nll": None}},
        {"known": None},  # the table does not have it
        {"expected_gain": 0.25, "parameters": 100, "flops": 2000, "known": {"accuracy": 0.9}},
        {"expected_gain": 0.25, "parent": "c01"},
    ],
)
def test_a_record_survives_the_round_trip(more: dict[str, Any]) -> None:
    record = {**RECORD, **more}
    written = json.dumps(Candidate.from_json(record).to_json())
    assert written == json.dumps(record)  # the order of keys as well
    assert Candidate.from_json(json.loads(written)) == Candidate.from_json(record)


def test_adaptive_candidates_are_told_apart_even_without_a_gain() -> None:
    assert not Candidate.from_json(RECORD).adaptive
    assert Candidate.from_json({**RECORD, "expected_gain": None}).adaptive


def test_a_draw_becomes_a_candidate() -> None:
    structure = EdgeStructure.from_space(OneCell(channels=2))
    sample = random_architectures(structure, 1, 0)[0]
    found = Candidate.from_draw(structure, 7, Draw(1.5, 2, "draw", sample), 0.5, flops=3, parameters=2)
    assert (found.id, found.lam, found.shared_edges, found.source) == ("c07", 1.5, 2, "draw")
    assert found.edges == tuple(structure.edges(sample)) and found.text == structure.describe(sample)
    assert found.costs == {"id": "c07", "parameters": 2, "flops": 3}


def test_a_trial_is_told_what_it_needs() -> None:
    candidate = Candidate.from_json(RECORD)
    spec = candidate.trial(5, warm_start=True)
    assert (spec.id, spec.lam, spec.shared_edges, spec.text) == ("c03", 2.5, 3, RECORD["text"])
    assert (spec.architecture, spec.seed, spec.warm_start) == (RECORD["architecture"], 5, True)
    assert spec.parent is None and Candidate.from_json({**RECORD, "parent": "c01"}).trial(5).parent == "c01"


@pytest.mark.parametrize("parent", ["../c01", "", 3, None])
def test_a_parent_is_a_plain_name(parent: Any) -> None:
    with pytest.raises(InputError, match="parent"):
        Candidate.from_json({**RECORD, "parent": parent})


def test_costs_are_counted_where_they_are_limited() -> None:
    space = OneCell(channels=2, in_channels=1)
    sample = random_architectures(EdgeStructure.from_space(space), 1, 0)[0]
    shared = {"space": space, "train_space": space, "input_shape": (1, 8, 8), "known": None, "settings": Settings()}
    plan: Any = SimpleNamespace(**shared, limits={"max_latency_ms": 1.0})
    assert KnownBefore(plan)(sample) == {}
    plan.limits = {"max_total_params": 1000.0}
    network = fixed_network(space, sample)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert KnownBefore(plan)(sample)["parameters"] == parameters


def test_known_results_are_looked_up() -> None:
    plan: Any = SimpleNamespace(limits={}, known=SimpleNamespace(lookup={"a": {"nll": 1.0}, "b": None}.get))
    assert KnownBefore(plan)("a") == {"known": {"nll": 1.0}}
    assert KnownBefore(plan)("b") == {"known": {}}
