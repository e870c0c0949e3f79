"""Choose candidates before any is trained: by traits and the dial, or by their rank on the supernet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from nni_hypens import metrics
from nni_hypens.metrics.inputs import PROBABILITY_FLOOR
from nni_hypens.proposals.start import first_by_traits
from nni_hypens.search.sampler import Candidate
from nni_hypens.selection.methods import greedy
from nni_hypens.space.architecture import Sample
from nni_hypens.space.cost import NetworkSize
from nni_hypens.space.flow import flow_of

Predict = Callable[[Sequence[Sample]], np.ndarray]
"""`P` architectures -> `P x N x C` probabilities of validation images, with the supernet's weights."""


@dataclass(frozen=True)
class RankedPool:
    """A pool of candidates and which of them to train.

    Args:
        pool: `P` candidates; without a ranking those that are chosen.
        supernet_nll: `P` values, the validation NLL of each with the supernet's weights.
        chosen: Indices into the pool, in the order of training.
    """

    pool: list[Candidate]
    supernet_nll: list[float]
    chosen: list[int]

    @property
    def candidates(self) -> list[Candidate]:
        """The candidates to train."""
        return [self.pool[index] for index in self.chosen]


def rank_pool(
    pool: list[Candidate],
    predict: Predict,
    labels: np.ndarray,
    ranking: str,
    n: int,
    size: NetworkSize,
    base_exists: bool = False,
) -> RankedPool:
    """Choose `n` candidates of a pool to train, all of them if there are fewer.

    Args:
        pool: `P` candidates, from `nni_hypens.proposals.pool.draw_pool`.
        predict: Predictions of the supernet.
        labels: `N` labels of the validation images.
        ranking: One of `nni_hypens.proposals.names.RANKINGS`, but not `auto`.
        n: How many.
        size: Measures networks, for `none`, which looks at their synaptic flow too, and `promising`.
        base_exists: Whether the base, first in the pool of `spread` and `ensemble`, is a candidate already: then it is
            taken into account, but is not among the chosen.
    """
    if ranking == "none":
        first = first_by_traits([candidate.architecture for candidate in pool], size, flow_of(size))
        pool = [pool[index] for index in choose_start(pool, first, n)]
        nll = metrics.nll_of_each(predict([candidate.architecture for candidate in pool]), labels)
        return RankedPool(pool, nll.tolist(), list(range(len(pool))))
    probabilities = predict([candidate.architecture for candidate in pool])
    nll = metrics.nll_of_each(probabilities, labels)
    if ranking == "promising":
        volumes = [size.volume(candidate.architecture) for candidate in pool]
        chosen = choose_promising(nll, volumes, n)
    else:
        choose = {"spread": choose_spread, "ensemble": choose_ensemble}[ranking]
        chosen = choose(pool, probabilities, labels, min(n + base_exists, len(pool)))[int(base_exists) :]
    return RankedPool(pool, nll.tolist(), chosen)


def choose_start(pool: Sequence[Candidate], first: Sequence[int], n: int) -> list[int]:
    """Choose the base, those that traits of untrained networks put first, and draws spread evenly over the dial.

    The supernet does not decide: in the one cell of the pool, none of four recipes to train one ranks networks that
    were trained to the end as well as size and flow of untrained networks do, on average (`docs/guides/pool.md`).

    Args:
        pool: `P` candidates.
        first: Indices into the pool, from `nni_hypens.proposals.start.first_by_traits`.
        n: How many to choose, at most P.

    Returns:
        Indices into the pool, in the order of training.
    """
    base = [index for index, candidate in enumerate(pool) if candidate.source == "base"]
    chosen = list(dict.fromkeys([*base, *first]))
    rest = [index for index in range(len(pool)) if index not in chosen]
    draws = sorted((index for index in rest if pool[index].lam is not None), key=lambda index: pool[index].lam or 0.0)
    wanted = min(n - len(chosen), len(draws))
    if wanted > 0:
        chosen += [draws[int((place + 0.5) * len(draws) / wanted)] for place in range(wanted)]
    chosen += [index for index in rest if index not in chosen]  # too few draws
    return chosen[:n]


def choose_spread(pool: Sequence[Candidate], probabilities: np.ndarray, labels: np.ndarray, n: int) -> list[int]:
    """Choose the base, and from each part of the range of lam the candidate that helps most.

    Candidates other than the base are cut into `n - 1` groups of neighbouring lam. From each group the one is kept
    that gives the lowest NLL of the average with those kept before. The supernet's ranking alone can be upside down, so
    it decides within a group only, and training decides the rest.

    Args:
        pool: `P` candidates, the base first.
        probabilities: `P x N x C` on validation images, from the supernet.
        labels: `N`.
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
        averages = (total + true_class[group]) / (len(kept) + 1)  # of each in the group with those kept
        losses = -np.log(np.clip(averages, PROBABILITY_FLOOR, None)).mean(axis=1)
        best = int(group[int(np.argmin(losses))])
        kept.append(best)
        total += true_class[best]
    return kept


def choose_ensemble(pool: Sequence[Candidate], probabilities: np.ndarray, labels: np.ndarray, n: int) -> list[int]:
    """Choose the base, then step by step the candidate that helps the average most, wherever it is on the dial.

    Arguments and result as for `choose_spread`, the result in the order of choice.
    """
    return list(greedy(probabilities, labels, n, start=[0]).indices)


def choose_promising(nll: Sequence[float] | NDArray[np.floating], volumes: Sequence[float], n: int) -> list[int]:
    """Choose the `n` whose rank by supernet NLL (low is good) and rank by size (large is good) are best together.

    Args:
        nll: `P` values, of each architecture on the supernet.
        volumes: `P` values, parameters times FLOPs, see `nni_hypens.space.cost.NetworkSize.volume`.
        n: How many, at most P.

    Returns:
        Indices, the most promising first; the first of equals.

    Examples:
        >>> choose_promising(nll=[0.9, 0.5, 0.7], volumes=[10.0, 30.0, 20.0], n=2)
        [1, 2]
    """
    order = np.argsort(rankdata(nll) - rankdata(volumes), kind="stable")
    chosen: list[int] = order[:n].tolist()
    return chosen
