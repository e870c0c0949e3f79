"""The hypernetwork: a piecewise-linear map from ``lam`` to logits over every choice of a model space.

The papers' formula (4) and their code swap the two interpolation weights, which makes the map jump at every pivot, and
their code cuts the pivots off the graph. Ours is continuous in ``lam`` and differentiable in ``lam``, in the values
at the pivots and in the interior pivots.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from nni_hypens.errors import InputError
from nni_hypens.utils.checks import is_whole


class Hypernetwork(nn.Module):
    """``alpha(lam) = (1 - f) a_k + f a_{k+1}``, ``f = (lam - r_k) / (r_{k+1} - r_k)`` for lam in [r_k, r_{k+1}].

    The end pivots are fixed at ``low`` and ``high``; the interior ones are a cumulative softmax of trainable gaps, so
    they stay ordered after any optimiser step. Outside [low, high] the logits are those at the nearer end.

    Args:
        n_labels: Labels L, the rows of the logits.
        n_options: Options M of the longest label, the columns (shorter labels are masked by the caller).
        low: First pivot, in edges.
        high: Last pivot, in edges; above ``low``.
        n_pivots: Pivots K, at least 2.
        init_scale: Standard deviation of the initial values.
        generator: Source of the initial values.

    Raises:
        InputError: Fewer than two pivots, or an empty or endless range.

    Examples:
        >>> hypernetwork = Hypernetwork(n_labels=5, n_options=7, low=0.0, high=4.0)
        >>> hypernetwork(torch.tensor([0.0, 1.5, 4.0])).shape
        torch.Size([3, 5, 7])
        >>> hypernetwork.pivots.tolist()
        [0.0, 1.0, 2.0, 3.0, 4.0]
    """

    def __init__(
        self,
        n_labels: int,
        n_options: int,
        low: float,
        high: float,
        n_pivots: int = 5,
        init_scale: float = 1e-3,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not is_whole(n_pivots, 2):
            raise InputError("pivots", repr(n_pivots), "a whole number of at least 2")
        if not (high > low and math.isfinite(high - low)):
            raise InputError("lam range", f"[{low}, {high}]", "its low end below its high end")
        self.low = float(low)
        self.high = float(high)
        self.values = nn.Parameter(init_scale * torch.randn(n_pivots, n_labels, n_options, generator=generator))
        self.gaps = nn.Parameter(torch.zeros(n_pivots - 1))

    @property
    def pivots(self) -> torch.Tensor:
        """Pivots r_0..r_{K-1}, strictly increasing, ``K``."""
        # a floor under each gap keeps f finite even when training drives a gap to zero
        n_gaps = self.gaps.numel()
        share = 1e-3 / n_gaps + (1 - 1e-3) * F.softmax(self.gaps, dim=0)
        inner = self.low + (self.high - self.low) * share.cumsum(0)[:-1]
        return torch.cat([inner.new_full((1,), self.low), inner, inner.new_full((1,), self.high)])

    def forward(self, lam: torch.Tensor) -> torch.Tensor:
        """Logits at ``lam``.

        Args:
            lam: Any shape ``*``, requested shared edges.

        Returns:
            Logits ``* x L x M``.
        """
        pivots = self.pivots
        lam = lam.to(pivots).clamp(self.low, self.high)
        index = torch.searchsorted(pivots.detach(), lam.detach(), right=True).sub(1).clamp(0, pivots.numel() - 2)
        left, right = pivots[index], pivots[index + 1]
        fraction = ((lam - left) / (right - left))[..., None, None]
        return torch.lerp(self.values[index], self.values[index + 1], fraction)
