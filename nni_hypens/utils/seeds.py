"""Where every seed comes from: one function of the run seed, a named purpose and an index.

Every random stream of a run has a `Purpose`. Streams with different run seeds, purposes or indices get different
seeds, and runs with neighbouring seeds share none: the three go through `numpy.random.SeedSequence`, whose algorithm
numpy keeps stable. Arithmetic such as ``1000 * seed + index`` does neither.
"""

from __future__ import annotations

import hashlib
import random
from enum import IntEnum, unique

import numpy as np

from nni_hypens.errors import InputError

SEED_SCHEME = 1
"""Version of the rule below and of how it is used. It is part of every run folder: one that was begun with another
version, or before there were versions, has other splits and networks, so nothing may be trained further in it. Raise it
with every change that gives an existing stream another seed."""
SEED_BITS = 63
"""Bits of a derived seed: a million streams collide with a probability below 1e-7. Python, numpy and CUDA use all of
them. torch's generator on the CPU keeps the lower 32: among the ten thousand steps of a search, two get the same noise
with a probability of about 1%, which does no harm, and among a hundred networks with one of about 1e-6."""


@unique
class Purpose(IntEnum):
    """What a stream is for. The comment gives its index. Numbers are part of every result: append, never renumber."""

    # the search; its streams are the same on every rank of a distributed search
    SUPERNET_WEIGHTS = 1  # -
    MUTATED_WEIGHTS = 2  # - (NNI builds cells anew when it mutates the space)
    ARCHITECTURE_LOGITS = 3  # - (initial base logits and hypernetwork)
    SEARCH_EPOCH = 4  # epoch
    WEIGHT_STEP_LAM = 5  # epoch, batch
    WEIGHT_STEP_PATHS = 6  # epoch, batch
    ARCHITECTURE_STEP_LAM = 7  # epoch, batch
    ARCHITECTURE_STEP_PATHS = 8  # epoch, batch
    REGULARIZER = 9  # epoch, batch, step (0: the joint step)
    BASE_CHOICE = 10  # epoch
    # architectures
    DRAWS_AT_LAM = 11  # -
    POOL = 12  # number of the attempt
    RANDOM_ARCHITECTURES = 13  # -
    CANDIDATES = 14  # number of candidates known before
    ADAPTIVE_OPTIONS = 15  # -
    # training
    NETWORK = 16  # architecture, replica
    # data and evaluation
    VALIDATION_SPLIT = 17  # -
    TRAIN_SUBSET = 18  # -
    TEST_SUBSET = 19  # -
    STRESS_IMAGES = 20  # -
    CORRUPTION = 21  # name, severity
    OUT_OF_DISTRIBUTION = 22  # -
    BOOTSTRAP = 23  # -
    RANDOM_SUBSETS = 24  # -
    # comparisons
    NNI_SEARCH = 25  # strategy, number of the search
    RANDOM_BASELINES = 26  # - (shared by the random baselines, so that they share networks)
    RANDOM_DEVIATIONS = 27  # -
    EVOLUTION = 28  # -
    POOL_REPLICAS = 29  # number of the architecture (which of its networks in a pool comes first)
    PEER = 30  # name, replica
    POOL_ARCHITECTURES = 31  # - (those of a pool that a simulated run can draw from)
    # adaptive training
    PLANS = 32  # number of trained networks, number of those in training
    # comparisons on a pool
    POOL_PEERS = 33  # name (which training or search of that name comes first)
    # training, again
    FURTHER = 34  # - (of the seed of the network that is trained further)


def derive_seed(seed: int, purpose: Purpose, *index: int | str) -> int:
    """The seed of one stream.

    Args:
        seed: The run seed, or the seed that a user gave to a function.
        purpose: What the stream is for.
        index: Which stream of that purpose: whole numbers below 2^64, or names. A purpose always has the same kinds of
            index.

    Returns:
        A whole number in 0..2^63-1.

    Raises:
        InputError: `seed` is not a whole number of at least 0.

    Examples:
        >>> derive_seed(0, Purpose.SEARCH_EPOCH, 3) == derive_seed(0, Purpose.SEARCH_EPOCH, 4)
        False
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError("seed", repr(seed), "a whole number of at least 0")
    # a spawn key, unlike more entropy, keeps a trailing 0 apart from nothing; two words for each entry keep [1, 0] and
    # [2^32] apart
    key = [int(purpose), *(word for entry in index for word in _words(_number(entry)))]
    state = np.random.SeedSequence(int(seed), spawn_key=key).generate_state(1, np.uint64)
    return int(state[0]) >> (64 - SEED_BITS)


def seed_words(seed: int, purpose: Purpose, *index: int | str) -> tuple[int, int]:
    """The seed of one stream as two numbers in 0..2^32-1, for `numpy.random.RandomState`, which takes no more bits in
    one number."""
    return _words(derive_seed(seed, purpose, *index))


def seed_generators(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch (on every device).

    Args:
        seed: A seed from `derive_seed`, 0..2^63-1.
    """
    import torch

    random.seed(seed)
    np.random.seed(_words(seed))
    torch.manual_seed(seed)


def seed_everything(seed: int) -> None:
    """`seed_generators`, and Lightning's ``PL_GLOBAL_SEED``, which distributed samplers and worker processes read.

    Args:
        seed: A seed from `derive_seed`, 0..2^63-1. Lightning takes 32 bits, so it gets the upper ones.
    """
    import pytorch_lightning as pl

    pl.seed_everything(seed >> (SEED_BITS - 32), verbose=False)
    seed_generators(seed)


def _number(entry: int | str) -> int:
    """An entry of an index as a number below 2^64."""
    if isinstance(entry, str):
        return int.from_bytes(hashlib.sha256(entry.encode()).digest()[:8], "big")
    if not 0 <= entry < 2**64:
        raise ValueError(f"index: got {entry}; expected a whole number in 0..2^64-1, or a name")
    return int(entry)


def _words(number: int) -> tuple[int, int]:
    """The two 32-bit words of a number below 2^64."""
    return number >> 32, number & 0xFFFFFFFF
