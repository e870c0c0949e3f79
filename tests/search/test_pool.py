from __future__ import annotations

import time

import pytest

from nni_hypens.errors import InputError
from nni_hypens.search.hypernetwork import Hypernetwork
from nni_hypens.search.sampler import ArchitectureSampler, Candidate
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.space.draws import ChoiceLayout
from search_spaces import OneCell
from tests.support.samplers import sampler


def test_pool_holds_the_base_and_spreads_over_the_dial() -> None:
    source = sampler()
    pool = source.pool(12, (1.0, 3.5))
    assert len({source.structure.key(one.architecture) for one in pool}) == 12
    assert pool[0] == Candidate(None, 4, "base", source.base)
    lams = [one.lam for one in pool[1:]]
    assert max(lams) == pytest.approx(3.5) and min(lams) == pytest.approx(1.0) and lams == sorted(lams, reverse=True)
    with pytest.raises(InputError, match="^candidates"):
        source.pool(3, (4.0, 4.0))
    assert len(source.pool(3, (4.0, 4.0), at_least=1)) == 1
    with pytest.raises(InputError, match="^lam_range"):
        source.pool(3, (3.0, 2.0))


def test_pool_goes_round_what_is_used_up() -> None:
    """Only the base shares all 4 edges; few share 3.6 or more. What such lam cannot give, the others do, and fast."""
    source = sampler()
    start = time.process_time()
    pool = source.pool(9, (3.0, 4.0))
    assert len({source.structure.key(one.architecture) for one in pool}) == 9
    assert all(abs(one.shared_edges - one.lam) <= 0.5 for one in pool[1:])
    with pytest.raises(InputError, match="^candidates: got 30; expected at most 1"):
        source.pool(30, (4.0, 4.0))
    assert len(source.pool(30, (4.0, 4.0), at_least=1)) == 1
    with pytest.raises(InputError, match="^candidates: got 30; expected at most 1"):
        source.pool(30, (4.0, 4.0), at_least=2)
    assert time.process_time() - start < 20
    assert source.pool(9, (3.0, 4.0)) == pool != source.pool(9, (3.0, 4.0), seed=1)
    assert [one.source for one in source.pool(1)] == ["base"]


def test_a_pool_of_all_there_are() -> None:
    """Two nodes, 98 architectures: the pool finds them all, and asking for far more costs no more."""
    structure = EdgeStructure.from_space(OneCell(channels=1, nodes=2))
    layout = ChoiceLayout(structure.table)
    base = structure.table.to_sample([[0]] * layout.n_labels)
    network = Hypernetwork(layout.n_labels, layout.n_options, -0.2, 2.2, 2)
    source = ArchitectureSampler(structure, network, base)
    pool = source.pool(5000, at_least=90)
    assert len({structure.key(one.architecture) for one in pool}) == len(pool) == 98
    with pytest.raises(InputError, match="^candidates: got 99; expected at most 98"):
        source.pool(99)


def test_pool_of_two() -> None:
    """The only lam asked for is the high end, where the base is alone: what lies below is looked at."""
    pool = sampler().pool(2)
    assert [one.source for one in pool][0] == "base" and pool[1].shared_edges == 2
    assert [one.source for one in sampler().pool(2, at_least=1)] == ["base"]
