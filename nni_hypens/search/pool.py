"""The pool of candidates: the base, and different architectures spread over a range of the dial."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from nni_hypens.errors import InputError
from nni_hypens.utils.seeds import Purpose, derive_seed

if TYPE_CHECKING:
    from nni_hypens.search.sampler import ArchitectureSampler, Candidate


def draw_pool(
    sampler: ArchitectureSampler, n: int, lam_range: tuple[float, float] | None, seed: int, at_least: int | None
) -> list[Candidate]:
    """The base and ``n - 1`` different candidates; see `ArchitectureSampler.pool`."""
    low, high = lam_range or (0.0, float(sampler.n_edges))
    if not sampler.check_lam(low, "lam_range") <= sampler.check_lam(high, "lam_range"):
        raise InputError("lam_range", f"({low:g}, {high:g})", "its low end first")
    pool = [sampler.candidate(None, "base", sampler.base)]
    keys = {sampler.structure.key(sampler.base)}
    lams = torch.linspace(high, low, max(n - 1, 1)).tolist()
    enough = n if at_least is None else min(n, at_least)
    attempts, misses, exhausted = 0, 0, set[int]()  # exhausted: numbers of shared edges with no new architecture left
    left = True  # whether some lam may hold a new one
    while len(pool) < n:
        if not left:
            # the ends may hold only the base, or nothing: go from the middle outwards
            whole = map(float, range(math.ceil(low), math.floor(high) + 1))
            lams = sorted(whole, key=lambda lam: abs(lam - (low + high) / 2))
            misses = 1 - len(pool)  # start with the first of them
            left = any(sampler.reach(lam) - exhausted for lam in lams)
            if len(pool) >= enough or not left:
                break
        lam = lams[(len(pool) - 1 + misses) % len(lams)]
        if sampler.reach(lam) <= exhausted:  # finding this out again would take thousands of draws
            misses += 1
            continue
        try:
            attempts += 1
            own_seed = derive_seed(seed, Purpose.POOL, attempts)
            new = sampler.sample(lam, 1, seed=own_seed, exclude=keys)[0]
        except InputError:
            misses += 1  # nothing left at this lam (only the base shares all edges): try the next
            exhausted |= sampler.reach(lam)
            left = any(sampler.reach(lam) - exhausted for lam in lams)
            continue
        pool.append(new)
        keys.add(sampler.structure.key(new.architecture))
    if len(pool) < enough:
        raise InputError("candidates", n, f"at most {len(pool)}: lam_range holds no more different architectures")
    return pool
