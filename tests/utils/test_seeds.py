"""Seeds: no two streams coincide, and none changes by accident."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from nni_hypens.errors import InputError
from nni_hypens.utils.seeds import Purpose, derive_seed, seed_everything, seed_generators, seed_words

EDGES = (0, 1, 2, 199, 200)


def streams() -> Iterator[tuple[int, Purpose, int]]:
    """Streams of runs 0..200 with few indices, and of few runs with indices 0..200."""
    for purpose in Purpose:
        yield from ((seed, purpose, index) for seed in range(201) for index in EDGES)
        yield from ((seed, purpose, index) for seed in EDGES for index in range(201) if index not in EDGES)


def test_no_two_streams_coincide() -> None:
    asked = list(streams())
    assert len(asked) == len(set(asked))
    assert len({derive_seed(*stream) for stream in asked}) == len(asked)


STREAMS = st.tuples(
    st.integers(0, 2**32 - 1),
    st.sampled_from(Purpose),
    st.lists(st.integers(0, 2**40), max_size=3).map(tuple),
)


@settings(max_examples=500)
@given(one=STREAMS, other=STREAMS)
def test_different_streams_have_different_seeds(one: tuple, other: tuple) -> None:
    same = derive_seed(one[0], one[1], *one[2]) == derive_seed(other[0], other[1], *other[2])
    assert same == (one == other)
    assert 0 <= derive_seed(one[0], one[1], *one[2]) < 2**63


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((0, 10_000), (1, 0)),  # 10_000 * seed + place
        ((0, 1000), (1000, 0)),  # seed + 1000 * place
        ((0, 1), (1, 0)),  # seed + offset
        ((0, 0), (0,)),  # SeedSequence([seed, epoch]) equals SeedSequence([seed, epoch, 0])
        ((2**32, 0), (0, 1)),  # numbers of two words
        ((0, 2**32), (0, 0, 1)),
        ((0, "a", "b"), (0, "ab")),
    ],
)
def test_sums_and_trailing_zeros_do_not_coincide(one: tuple, other: tuple) -> None:
    assert derive_seed(one[0], Purpose.NETWORK, *one[1:]) != derive_seed(other[0], Purpose.NETWORK, *other[1:])


def test_neighbouring_runs_do_not_overlap() -> None:
    """The first numbers that are drawn in one run's streams are drawn in no other run."""
    draws = [
        set(np.random.default_rng(derive_seed(seed, purpose, index)).integers(2**63, size=20).tolist())
        for seed in range(4)
        for purpose in Purpose
        for index in range(4)
    ]
    assert len(set().union(*draws)) == sum(map(len, draws))


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ((0, Purpose.SUPERNET_WEIGHTS), 2440950710608614359),
        ((1, Purpose.SUPERNET_WEIGHTS), 2021340933837429789),
        ((0, Purpose.SEARCH_EPOCH, 3), 3287280721765772395),
        ((7, Purpose.NETWORK, "(('node_0', None, 'conv'), 1)", 2), 8450580365069548417),
        ((2**32 - 1, Purpose.CORRUPTION, "jpeg", 5), 7859858283082703043),
    ],
)
def test_known_values(stream: tuple, expected: int) -> None:
    """Seeds are part of every result: these numbers stay."""
    assert derive_seed(*stream) == expected


def test_the_numbers_of_purposes_stay() -> None:
    assert [purpose.value for purpose in Purpose] == list(range(1, len(Purpose) + 1))
    assert (Purpose.SEARCH_EPOCH, Purpose.NETWORK, Purpose.EVOLUTION) == (4, 16, 28)


def test_numpy_integers_are_whole_numbers() -> None:
    assert derive_seed(np.int64(3), Purpose.POOL, 1) == derive_seed(3, Purpose.POOL, 1)


@pytest.mark.parametrize("seed", [-1, 1.0, True, "0", None])
def test_a_seed_that_is_no_whole_number_is_refused(seed: object) -> None:
    with pytest.raises(InputError, match="^seed: "):
        derive_seed(seed, Purpose.POOL, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("index", [-1, 2**64])
def test_an_index_out_of_range_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match="index"):
        derive_seed(0, Purpose.POOL, index)


def test_words_are_for_random_state() -> None:
    words = seed_words(0, Purpose.STRESS_IMAGES)
    assert words[0] << 32 | words[1] == derive_seed(0, Purpose.STRESS_IMAGES)
    assert all(0 <= word < 2**32 for word in words)
    np.random.RandomState(list(words))


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), torch.rand(1).item()


def test_generators_are_seeded() -> None:
    seed = derive_seed(0, Purpose.NETWORK, "a", 0)
    found = []
    for one in (seed, seed, seed ^ 1, seed ^ 2**62):
        seed_generators(one)
        found.append(drawn())
    assert found[0] == found[1]
    python, numpy, cpu = zip(*found[1:], strict=True)
    assert len(set(python)) == len(set(numpy)) == 3  # by all bits
    assert cpu[0] != cpu[1]  # torch on the CPU: by the lower 32


def test_lightning_gets_the_seed_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    monkeypatch.delenv("PL_SEED_WORKERS", raising=False)
    seed = derive_seed(0, Purpose.NETWORK, "a", 0)
    seed_everything(seed)
    found = drawn()
    assert os.environ["PL_GLOBAL_SEED"] == str(seed >> 31)
    seed_generators(seed)
    assert drawn() == found


def test_the_module_does_not_import_torch() -> None:
    code = "import sys, nni_hypens.utils.seeds; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
