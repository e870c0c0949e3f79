"""Rank candidates before they are trained, on the supernet and by size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from nni_hypens.search.sampler import ArchitectureSampler, Candidate
from nni_hypens.space.cost import NetworkSize
from nni_hypens.space.draws import by_size, random_architectures
from nni_hypens.utils.progress import Progress


def looked_at(
    ranking: str,
    lam_range: tuple[float, float] | None,
    sampler: ArchitectureSampler,
    size: NetworkSize,
    wanted: int,
    seed: int,
    at_least: int = 1,
    progress: Progress | None = None,
) -> list[Candidate]:
    """Candidates to rank: base and hypernetwork draws, plus large random architectures if ranking is ``promising``."""
    if ranking != "promising":
        return sampler.pool(wanted, lam_range, seed, at_least=at_least)
    progress = progress or Progress(quiet=True)
    progress.start("sizes", n_drawn(wanted), "network")
    pool = promising_pool(sampler, size, wanted, lam_range, seed, progress.step)
    progress.stop()
    return pool


def choose_pool(pool: list[Candidate], probabilities: np.ndarray, labels: np.ndarray, n: int) -> list[int]:
    """Which ``n`` of a larger pool to train: the base, and for each part of the range of lam the one that helps most.

    Candidates other than the base (first in the pool) are cut into ``n - 1`` groups of neighbouring lam; from each,
    the one is kept that gives the lowest NLL of the average with those kept before. The supernet's ranking alone can
    be upside down, so it decides only within a group, and training decides the rest.

    Args:
        pool: P candidates, the base first.
        probabilities: ``P x N x C`` on validation images, from the supernet.
        labels: ``N``.
        n: How many to keep, 1..P.

    Returns:
        Indices into the pool, the base first.
    """
    kept = [0]
    others = sorted(range(1, len(pool)), key=lambda index: (-(pool[index].lam or 0.0), index))
    true_class = probabilities[:, np.arange(len(labels)), labels].astype(np.float64)  # P x N
    total = true_class[0].copy()
    for group in np.array_split(np.array(others, dtype=int), max(n - 1, 1)):
        if len(kept) == n or not len(group):
            continue
        losses = [
            -np.log(np.clip((total + true_class[index]) / (len(kept) + 1), 1e-12, None)).mean() for index in group
        ]
        best = int(group[int(np.argmin(losses))])
        kept.append(best)
        total += true_class[best]
    return kept


def choose_ensemble(pool: list[Candidate], probabilities: np.ndarray, labels: np.ndarray, n: int) -> list[int]:
    """Which ``n`` of a larger pool to train: the base, then whichever of all helps the average most, wherever it is
    on the dial.

    Arguments and result as for :func:`choose_pool`, the result in the order of choice; of equals the first is taken.
    """
    kept = [0]
    true_class = probabilities[:, np.arange(len(labels)), labels].astype(np.float64)  # P x N
    total = true_class[0].copy()
    while len(kept) < n:
        losses = -np.log(np.clip((total + true_class) / (len(kept) + 1), 1e-12, None)).mean(axis=1)
        losses[kept] = np.inf
        kept.append(int(np.argmin(losses)))
        total += true_class[kept[-1]]
    return kept


LOOKED_AT = 16
"""Fewest candidates of the hypernetwork that are looked at; half as many large architectures join them."""
DRAWN = 60
"""Fewest random architectures of which the largest join."""


def n_drawn(wanted: int) -> int:
    """How many random architectures are measured where so many candidates are wanted."""
    return max(DRAWN, 3 * wanted)


def promising_pool(
    sampler: ArchitectureSampler,
    size: NetworkSize,
    wanted: int,
    lam_range: tuple[float, float] | None,
    seed: int,
    on_step: Callable[[], None] = lambda: None,
) -> list[Candidate]:
    """The base, candidates of the hypernetwork, and the largest of many random architectures that fit the budget.

    Args:
        sampler: Of the hypernetwork; its ``accepts`` holds for all.
        size: Measures networks.
        wanted: Base and candidates of the hypernetwork, :data:`LOOKED_AT` at least, and twice as many as large ones.
        lam_range: Of the candidates; large ones are anywhere on the dial, their ``source`` is ``large``.
        seed: Of all draws.
        on_step: Called for each of :func:`n_drawn` networks that are measured.
    """
    structure = sampler.structure
    looked_at = max(LOOKED_AT, wanted)
    pool = sampler.pool(looked_at, lam_range, seed, at_least=1)
    found = {structure.key(one.architecture): one for one in pool}
    drawn, large = random_architectures(structure, n_drawn(wanted), seed), 0
    for sample in drawn:
        size(sample)  # it remembers
        on_step()
    for sample in by_size(drawn, size):
        if large == looked_at // 2:
            break
        if sampler.accepts is None or sampler.accepts(sample):
            shared = structure.shared_edges(sampler.base, sample)
            found.setdefault(structure.key(sample), Candidate(None, shared, "large", sample))
            large += 1
    return list(found.values())


def choose_promising(nll: Sequence[float] | NDArray[np.floating], volumes: Sequence[float], n: int) -> list[int]:
    """The ``n`` whose rank by supernet NLL (low is good) and rank by size (large is good) are best together.

    Args:
        nll: ``P``, of each architecture on the supernet.
        volumes: ``P``, parameters times FLOPs, see :meth:`nni_hypens.space.cost.NetworkSize.volume`.
        n: How many, at most P.

    Returns:
        Indices, the most promising first; of equals the first.
    """
    order = np.argsort(rankdata(nll) - rankdata(volumes), kind="stable")
    chosen: list[int] = order[:n].tolist()
    return chosen
