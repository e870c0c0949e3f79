"""A suggested range of lam, and the measurements behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class LamRange:
    """A suggested range of lam, as `suggest_lam_range` returns it.

    Args:
        low: Lower end of the suggested range, a number of shared edges.
        high: Upper end, at least ``low``. ``(low, high)`` is what ``search_ensemble(lam_range=...)`` takes.
        table: One row per lam, ascending: ``lam``; ``architectures`` drawn there; mean, least and most of
            ``shared_edges`` (``shared_low``, ``shared_high``); mean and standard deviation over the architectures of
            ``accuracy`` (0..1) and ``nll`` (nats) on the supernet; ``disagreement`` with the base, the mean share
            (0..1) of validation images; ``different``, whether at least two architectures differ from the base;
            ``within``, whether the mean NLL is at most ``limit``.
        base_nll: NLL of the base on the supernet.
        limit: Largest mean NLL within the tolerance.
        n_edges: Edges of an architecture.
        reason: Why this range was chosen, in a sentence.

    Examples:
        >>> table = pd.DataFrame({"lam": [0.0, 2.0], "nll": [0.9, 0.5]})
        >>> LamRange(2.0, 2.0, table, base_nll=0.4, limit=0.6, n_edges=2, reason="above lam=0 only").range
        (2.0, 2.0)
    """

    low: float
    high: float
    table: pd.DataFrame
    base_nll: float
    limit: float
    n_edges: int
    reason: str

    @property
    def range(self) -> tuple[float, float]:
        """(low, high)."""
        return self.low, self.high

    def plot(self) -> Figure:
        """Shared edges, NLL and accuracy against lam, one above the other, the suggested range shaded."""
        from matplotlib.figure import Figure
        from matplotlib.ticker import PercentFormatter

        table, figure = self.table, Figure(figsize=(6.0, 6.0), layout="constrained", facecolor="white")
        edges, loss, right = figure.subplots(3, 1, sharex=True)
        edges.plot([0, self.n_edges], [0, self.n_edges], color="0.6", linestyle="--", label="as requested")
        edges.plot(table["lam"], table["shared_edges"], "o-", color="C0", label="mean of the draws")
        edges.fill_between(table["lam"], table["shared_low"], table["shared_high"], color="C0", alpha=0.2)
        edges.set_ylabel("shared edges")
        loss.errorbar(table["lam"], table["nll"], table["nll_std"], fmt="o-", color="C1", capsize=3, label="draws")
        loss.axhline(self.base_nll, color="0.3", linestyle=":", label="base")
        loss.axhline(self.limit, color="C3", linestyle="--", label="limit")
        loss.set_ylabel("NLL, supernet")
        right.errorbar(table["lam"], table["accuracy"], table["accuracy_std"], fmt="o-", color="C2", capsize=3)
        right.set(ylabel="accuracy, supernet", xlabel="lam (requested shared edges)")
        right.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        for axes in (edges, loss, right):
            axes.axvspan(self.low - 0.1, self.high + 0.1, color="C2", alpha=0.12, label="suggested")
            axes.grid(alpha=0.3)
        edges.legend(fontsize="small")
        loss.legend(fontsize="small")
        return figure
