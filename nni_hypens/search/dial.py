"""Which part of the dial is useful: accuracy, NLL and shared edges against lam on the supernet, before training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl

from nni_hypens import metrics
from nni_hypens.errors import InputError
from nni_hypens.search.lam_range import LamRange
from nni_hypens.search.sampler import ArchitectureSampler, Candidate
from nni_hypens.search.strategy import EdgeNES
from nni_hypens.search.supernet import Supernet
from nni_hypens.space.architecture import Sample
from nni_hypens.utils.checks import is_number, is_whole

if TYPE_CHECKING:
    pass

MOST_LAMS = 17
"""Largest number of positions of the dial to evaluate when none are given."""


def suggest_lam_range(
    strategy: EdgeNES,
    data: pl.LightningDataModule,
    *,
    tolerance: float = 0.1,
    draws: int = 8,
    lams: Sequence[float] | None = None,
    seed: int = 0,
) -> LamRange:
    """Suggest where on the dial candidates are worth training, from the supernet and validation data alone.

    The upper end is the greatest lam with at least two architectures besides the base. From there the range goes down
    while the mean supernet NLL of the draws is at most ``NLL(base) + tolerance * (log C - NLL(base))``, with C classes:
    draws lose at most the share ``tolerance`` of the base's advantage over chance. A supernet ranks architectures
    roughly, so take the range as a suggestion.

    Args:
        strategy: A strategy whose search has ended.
        data: Data module; only ``val_dataloader()`` is read, batches of (images, labels) in a fixed order.
        tolerance: In 0..1.
        draws: Different architectures at each lam, at least 2; fewer if the dial does not hold so many there.
        lams: Positions of the dial, each in 0..n_edges; None for all whole numbers, or 17 evenly spaced values if
            there are more.
        seed: Seed of the draws.

    Raises:
        InputError: An argument out of its range; a supernet whose base is no better than chance; or no lam at which
            there are two architectures besides the base.

    Examples:
        >>> from nni_hypens import EdgeNES, ImageData
        >>> suggest_lam_range(EdgeNES(), ImageData("digits"), tolerance=1.5)
        Traceback (most recent call last):
        nni_hypens.errors.InputError: tolerance: got 1.5; expected a number in 0..1

        After ``NasExperiment(space, evaluator, strategy).run()``::

            found = suggest_lam_range(strategy, data)
            strategy.pool(16, lam_range=found.range)
    """
    if not is_number(tolerance) or not 0 <= tolerance <= 1:
        raise InputError("tolerance", repr(tolerance), "a number in 0..1")
    if not is_whole(draws, 2):
        raise InputError("draws", repr(draws), "a whole number of at least 2")
    sampler = strategy.sampler
    positions = _positions(sampler, lams)
    scores = _SupernetScores(strategy.trained_supernet, data)
    base = scores.predict(sampler.base)
    base_nll, chance = metrics.nll(base, scores.labels), math.log(base.shape[1])
    if not base_nll < chance:
        got = f"a supernet on which the base has a validation NLL of {base_nll:.3f}"
        raise InputError("strategy", got, f"a better NLL than chance, {chance:.3f}: search for more epochs")
    limit = base_nll + tolerance * (chance - base_nll)
    base_key = sampler.structure.key(sampler.base)
    rows = []
    for lam in positions:
        candidates = draw_at(sampler, lam, draws, seed)
        others = sum(sampler.structure.key(candidate.architecture) != base_key for candidate in candidates)
        rows.append({"lam": lam, **scores.row(candidates, base), "different": others >= 2})
    table = pd.DataFrame(rows)
    table["within"] = table["nll"] <= limit
    low, high, reason = choose_range(table, limit)
    return LamRange(low, high, table, base_nll, limit, sampler.n_edges, reason)


def choose_range(table: pd.DataFrame, limit: float) -> tuple[float, float, str]:
    """Low end, high end and the reason, from the columns ``lam`` (ascending), ``different`` and ``within``.

    Raises:
        InputError: No lam gives different architectures.
    """
    usable = table[table["different"]]
    if usable.empty:
        raise InputError("lams", list(table["lam"]), "a lam with at least two architectures besides the base")
    high = low = float(usable["lam"].iloc[-1])
    if not usable["within"].iloc[-1]:
        return (
            low,
            high,
            f"no lam keeps the NLL of draws within {limit:.3f}: only the lam nearest to the base is suggested",
        )
    for lam, different, within in table.loc[table["lam"] <= high, ["lam", "different", "within"]].iloc[::-1].values:
        if not (different and within):
            return low, high, f"below lam={low:g} the NLL of draws is above {limit:.3f}, or all draws are the same"
        low = float(lam)
    return low, high, f"the NLL of draws is within {limit:.3f} at every lam"


def draw_at(sampler: ArchitectureSampler, lam: float, draws: int, seed: int) -> list[Candidate]:
    """Up to ``draws`` different architectures at lam; fewer if no more were found, none if the position is empty."""
    for wanted in range(draws, 0, -1):
        try:
            return sampler.sample(lam, wanted, seed=seed)
        except InputError as error:
            if error.field != "n":
                raise
    return []


def _positions(sampler: ArchitectureSampler, lams: Sequence[float] | None) -> list[float]:
    if lams is None:
        return [float(lam) for lam in np.linspace(0, sampler.n_edges, min(sampler.n_edges + 1, MOST_LAMS))]
    if not len(lams):
        raise InputError("lams", "none", "at least one position of the dial")
    return sorted({sampler.check_lam(lam, "lams") for lam in lams})


class _SupernetScores:
    """Scores of architectures on the supernet and the validation data."""

    def __init__(self, supernet: Supernet, data: pl.LightningDataModule) -> None:
        self.supernet = supernet
        self.batches = list(data.val_dataloader())
        self.labels = np.concatenate([np.asarray(labels) for _, labels in self.batches])

    def predict(self, sample: Sample) -> np.ndarray:
        """Probabilities ``N x C``."""
        return self.supernet.predict([sample], self.batches)[0].numpy()

    def row(self, candidates: Sequence[Candidate], base: np.ndarray) -> dict[str, Any]:
        """A row of the table, for the architectures at one lam; NaN if there are none."""
        predictions = [self.predict(candidate.architecture) for candidate in candidates]
        shared = [candidate.shared_edges for candidate in candidates]
        columns = {
            "accuracy": [metrics.accuracy(probs, self.labels) for probs in predictions],
            "nll": [metrics.nll(probs, self.labels) for probs in predictions],
        }
        spread = {f"{name}_std": np.std(values) if values else math.nan for name, values in columns.items()}
        return {
            "architectures": len(candidates),
            "shared_edges": _mean(shared),
            "shared_low": min(shared, default=math.nan),
            "shared_high": max(shared, default=math.nan),
            **{name: _mean(values) for name, values in columns.items()},
            **spread,
            "disagreement": _mean([metrics.disagreement(base, probs) for probs in predictions]),
        }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else math.nan
