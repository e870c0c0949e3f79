"""Which architectures are trained first, by traits of untrained networks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nni_hypens.proposals.start import first_by_traits
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.cost import NetworkSize
from nni_hypens.space.draws import random_architectures
from nni_hypens.space.flow import SynapticFlow
from search_spaces import OneCell

SIZES = {"small": (10.0, 20.0), "large": (1000.0, 2000.0), "deep": (1000.0, 2000.0), "middle": (100.0, 200.0)}
FLOWS = {"small": -3.0, "large": 1.0, "deep": 9.0, "middle": 2.0}
NAMES = list(SIZES)


def first(flow: dict[str, float] | None) -> list[str]:
    samples = [{"name": name} for name in NAMES]
    known = None if flow is None else lambda sample: flow[sample["name"]]
    return [NAMES[index] for index in first_by_traits(samples, lambda sample: SIZES[sample["name"]], known)]


def test_the_best_expected_is_large_for_its_flow_and_the_other_has_the_least() -> None:
    assert first(FLOWS) == ["large", "small"]


def test_without_flow_the_largest_is_alone() -> None:
    assert first(None) == ["large"]
    assert first(dict.fromkeys(NAMES, math.nan)) == ["large"]


@pytest.mark.parametrize("unknown", [math.nan, math.inf, -math.inf])
def test_an_architecture_without_a_flow_is_not_the_one_with_the_least(unknown: float) -> None:
    assert first({**FLOWS, "small": unknown, "large": 5.0}) == ["large", "middle"]


def test_one_that_is_both_is_named_once_and_nothing_comes_of_nothing() -> None:
    assert first({**FLOWS, "large": -9.0}) == ["large"]
    assert first_by_traits([], lambda sample: (1.0,)) == []


@pytest.mark.parametrize("seed", range(3))
def test_on_a_space_the_second_has_the_least_flow(seed: int) -> None:
    space = OneCell(channels=2, nodes=3)
    samples = random_architectures(EdgeStructure.from_space(space), 12, seed)
    flow = SynapticFlow(space, (3, 8, 8))
    found = first_by_traits(samples, NetworkSize(space, (3, 8, 8)), flow)
    assert found[-1] == int(np.argmin([flow(sample) for sample in samples]))
