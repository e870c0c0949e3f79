"""The pool of architectures that are ranked before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Collection

from nni_hypens.proposals.names import WITH_LARGE
from nni_hypens.search.sampler import ArchitectureSampler, Candidate
from nni_hypens.space.architecture import EdgeKey
from nni_hypens.space.cost import NetworkSize
from nni_hypens.space.draws import by_size, random_architectures
from nni_hypens.utils.progress import Progress
from nni_hypens.utils.seeds import Purpose, derive_seed

OVERSAMPLE = 4
"""Architectures ranked on the supernet for each one that is trained."""
MIN_POOL = 16
"""Fewest hypernetwork draws in a pool for the rankings `WITH_LARGE`; half as many large architectures join them."""
MIN_RANDOM = 60
"""Fewest random architectures from which the large ones are taken."""


def draw_pool(
    sampler: ArchitectureSampler,
    size: NetworkSize,
    ranking: str,
    n: int,
    lam_range: tuple[float, float] | None,
    seed: int,
    known: Collection[EdgeKey] = (),
    progress: Progress | None = None,
) -> list[Candidate]:
    """Candidates to rank where `n` are to be trained, `OVERSAMPLE` for each.

    For the rankings `spread` and `ensemble`: the base, then draws of the hypernetwork. For `none` and `promising`: the
    base, draws and the largest of many random architectures.

    Args:
        sampler: Draws from the hypernetwork.
        size: Measures networks, for `none` and `promising`.
        ranking: One of `nni_hypens.proposals.names.RANKINGS`, but not `auto`.
        n: How many candidates are to be trained.
        lam_range: Lowest and highest lam of the draws, in shared edges; None for the whole dial.
        seed: Seed of the run.
        known: Keys of the candidates that exist already. None of them is in the pool, except the base of `spread` and
            `ensemble`, which those rankings start from.
        progress: Shows how many networks are measured.

    Returns:
        Different architectures, the base first where it is one of them. A small space or range may hold fewer.
    """
    wanted, draws_wanted = OVERSAMPLE * n, OVERSAMPLE * n + len(known)
    seed = derive_seed(seed, Purpose.CANDIDATES, len(known))
    if ranking in WITH_LARGE:
        progress = progress or Progress(quiet=True)
        progress.start("sizes", random_count(draws_wanted), "network")
        pool = promising_pool(sampler, size, draws_wanted, lam_range, seed, progress.step)
        progress.stop()
        return [candidate for candidate in pool if sampler.structure.key(candidate.architecture) not in known]
    base, *draws = sampler.pool(draws_wanted, lam_range, seed, at_least=1)
    return [base, *(draw for draw in draws if sampler.structure.key(draw.architecture) not in known)][: wanted + 1]


def random_count(wanted: int) -> int:
    """How many random architectures `promising_pool` measures when `wanted` draws are asked for."""
    return max(MIN_RANDOM, 3 * wanted)


def promising_pool(
    sampler: ArchitectureSampler,
    size: NetworkSize,
    wanted: int,
    lam_range: tuple[float, float] | None,
    seed: int,
    on_step: Callable[[], None] = lambda: None,
) -> list[Candidate]:
    """The base, draws of the hypernetwork, and the largest of many random architectures that keep the budget.

    Args:
        sampler: Draws from the hypernetwork; what its `accepts` refuses is not in the pool.
        size: Measures networks.
        wanted: How many base and draws are together, at least `MIN_POOL`; half as many large architectures join.
        lam_range: Range of lam of the draws. Large architectures may be anywhere on the dial; their `source` is
            `large`.
        seed: Seed of all draws.
        on_step: Called for each of the `random_count` networks that are measured.
    """
    structure = sampler.structure
    wanted_draws = max(MIN_POOL, wanted)
    pool = sampler.pool(wanted_draws, lam_range, seed, at_least=1)
    by_key = {structure.key(candidate.architecture): candidate for candidate in pool}
    random = random_architectures(structure, random_count(wanted), seed)
    for sample in random:
        size(sample)  # measured once and remembered
        on_step()
    large = (sample for sample in by_size(random, size) if sampler.accepts is None or sampler.accepts(sample))
    for sample, _ in zip(large, range(wanted_draws // 2), strict=False):
        shared = structure.shared_edges(sampler.base, sample)
        by_key.setdefault(structure.key(sample), Candidate(None, shared, "large", sample))
    for candidate in by_key.values():
        size(candidate.architecture)
    return list(by_key.values())
