"""Rank correlation over architectures of which several networks may have been trained."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.stats import spearmanr


def rank_correlation(rows: Iterable[tuple[str, float, float]], fewest: int) -> tuple[float | None, int]:
    """Spearman's correlation of what is known of architectures with what their networks have reached.

    Args:
        rows: One for each network: its architecture, what is known of that, and what the network has reached. An
            architecture counts once, by the mean of its networks.
        fewest: Architectures below which the correlation says nothing.

    Returns:
        The correlation, None for fewer architectures or where all are alike; and their number.
    """
    known: dict[str, float] = {}
    reached: dict[str, list[float]] = {}
    for architecture, value, result in rows:
        known.setdefault(architecture, value)
        reached.setdefault(architecture, []).append(result)
    before, after = list(known.values()), [float(np.mean(results)) for results in reached.values()]
    if len(known) < fewest or len(set(before)) == 1 or len(set(after)) == 1:
        return None, len(known)
    return float(spearmanr(before, after).statistic), len(known)
