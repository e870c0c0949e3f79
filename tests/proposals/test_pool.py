"""The pool that is ranked before anything is trained."""

from __future__ import annotations

import pytest

from nni_hypens.proposals.pool import MIN_POOL, OVERSAMPLE, draw_pool
from nni_hypens.search.hypernetwork import Hypernetwork
from nni_hypens.search.sampler import ArchitectureSampler, Candidate
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.cost import NetworkSize
from nni_hypens.space.draws import ChoiceLayout, random_architectures
from search_spaces import OneCell

SPACE = OneCell(channels=2, nodes=3, in_channels=1)
SIZE = NetworkSize(SPACE, (1, 8, 8))


@pytest.fixture(scope="module")
def sampler() -> ArchitectureSampler:
    structure = EdgeStructure.from_space(SPACE)
    layout = ChoiceLayout(structure.table)
    network = Hypernetwork(layout.n_labels, layout.n_options, 0, structure.n_edges)
    return ArchitectureSampler(structure, network, random_architectures(structure, 1, 0)[0])


def keys(sampler: ArchitectureSampler, pool: list[Candidate]) -> list[object]:
    return [sampler.structure.key(candidate.architecture) for candidate in pool]


@pytest.mark.parametrize("ranking", ["spread", "ensemble"])
def test_the_pool_starts_with_the_base(ranking: str, sampler: ArchitectureSampler) -> None:
    pool = draw_pool(sampler, SIZE, ranking, 3, (0.0, 3.0), seed=1)
    assert len(set(keys(sampler, pool))) == len(pool) == OVERSAMPLE * 3
    assert pool[0].source == "base" and {candidate.source for candidate in pool[1:]} <= {"mode", "draw", "repaired"}
    assert draw_pool(sampler, SIZE, ranking, 3, (0.0, 3.0), seed=1) == pool
    assert draw_pool(sampler, SIZE, ranking, 3, (0.0, 3.0), seed=2) != pool


def test_draws_stay_in_the_range_of_lam(sampler: ArchitectureSampler) -> None:
    pool = draw_pool(sampler, SIZE, "spread", 3, (1.0, 2.0), seed=1)
    assert {candidate.shared_edges for candidate in pool[1:]} <= {1, 2}


def test_a_later_pool_has_no_known_architecture_but_the_base(sampler: ArchitectureSampler) -> None:
    known = set(keys(sampler, draw_pool(sampler, SIZE, "spread", 3, (0.0, 3.0), seed=1)[:5]))
    later = draw_pool(sampler, SIZE, "spread", 3, (0.0, 3.0), seed=1, known=known)
    assert later[0].source == "base" and not known & set(keys(sampler, later[1:]))
    assert len(later) == 1 + OVERSAMPLE * 3
    promising = draw_pool(sampler, SIZE, "promising", 3, (0.0, 3.0), seed=1, known=known)
    assert not known & set(keys(sampler, promising))


def test_large_architectures_join_a_promising_pool(sampler: ArchitectureSampler) -> None:
    pool = draw_pool(sampler, SIZE, "promising", 3, (1.0, 2.0), seed=1)
    large = [SIZE.volume(candidate.architecture) for candidate in pool if candidate.source == "large"]
    draws = [SIZE.volume(candidate.architecture) for candidate in pool if candidate.source != "large"]
    assert len(draws) == MIN_POOL and 0 < len(large) <= MIN_POOL // 2
    assert min(large) > sum(draws) / len(draws)
