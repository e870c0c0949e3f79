"""The regulariser of the 2023 paper: the Jensen-Shannon divergence from the base."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nni_hypens.errors import InputError
from nni_hypens.search.regularizers import Annealed
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.draws import ChoiceLayout, draw_paths, relaxed_choice
from nni_hypens.utils.checks import is_number


class JensenShannon:
    """``(D / D_max - (1 - lam / n_edges))^2`` times ``n_edges``: lam asks for a share of the largest divergence.

    D is the mean over labels of the Jensen-Shannon divergence between the base, smoothed to tau onehot + (1 - tau) /
    |O|, and a Gumbel-softmax sample at lam. D_max is the divergence of an architecture that shares no choice with the
    base. lam = n_edges asks for no divergence (the base) and 0 for D_max, the scale of `SharedEdges`, so the two are
    interchangeable. Labels of inputs that are not chosen count as well, as in the paper.

    The 2023 EdgeNES paper has ``- lam' D`` instead, with D of the softmax itself. Such a weight reaches only extremes:
    any push that matters drives D to its maximum, and without a push nothing leads to the base. Measured on digits (one
    seed), that form shared no edge with the base at any lam on OneCell, and 2 of 16 at every lam on hub DARTS. It is
    available as ``target=False``, with ``- (1 - lam / n_edges) D``. We use samples instead of the softmax because
    undecided logits can also reach a given mean divergence, and their mode then jumps.

    Args:
        weight: Weight c of the regulariser, or (start, end).
        temperature: Temperature of the relaxation, or (start, end); None for (1, 0.05), or 1 with ``target=False``.
        tau: Smoothing of the base, in (0, 1); the papers' code uses 0.99.
        target: False for the paper's linear form.

    Raises:
        InputError: An argument out of its range.

    Examples:
        >>> from nni_hypens.space import ChoiceLayout, EdgeStructure, random_architectures
        >>> from search_spaces import OneCell
        >>> space = OneCell(channels=2, nodes=2, in_channels=1, operations=["skip_connect", "sep_conv_3x3"])
        >>> structure = EdgeStructure.from_space(space)
        >>> base = random_architectures(structure, 1, seed=0)[0]
        >>> layout = ChoiceLayout(structure.table)
        >>> regularizer = JensenShannon(weight=(0.3, 3.0))
        >>> regularizer.bind(structure, layout, base)
        >>> certain = 100 * layout.one_hot(base)[None]  # logits that give the base
        >>> regularizer(torch.tensor([2.0]), certain, temperature=0.5, generator=None).item() < 0.01
        True
        >>> regularizer(torch.tensor([0.0]), certain, temperature=0.5, generator=None).item() > 1.9
        True
    """

    counts_edges = False

    def __init__(
        self,
        weight: float | Sequence[float] = (0.3, 3.0),
        temperature: float | Sequence[float] | None = None,
        tau: float = 0.99,
        target: bool = True,
    ) -> None:
        self.weight = Annealed(weight, "diversity.weight")
        if temperature is None:
            temperature = (1.0, 0.05) if target else 1.0
        self.temperature = Annealed(temperature, "diversity.temperature", positive=True)
        if not is_number(tau) or not 0 < tau < 1:
            raise InputError("diversity.tau", repr(tau), "a number between 0 and 1")
        if not isinstance(target, bool):
            raise InputError("diversity.target", repr(target), "True or False")
        self.tau, self.target = tau, target
        self._base: torch.Tensor | None = None
        self._layout: ChoiceLayout | None = None
        self._n_edges, self._largest = 0, 0.0

    def bind(self, structure: EdgeStructure, layout: ChoiceLayout, base: Sample) -> None:
        mask = layout.mask.float()
        one_hot = layout.one_hot(base)
        self._base = self.tau * _shares(one_hot) + (1 - self.tau) * _shares(mask)
        self._layout, self._n_edges = layout, structure.n_edges
        away = draw_paths(-one_hot, layout, 1.0, noise=False).chosen  # JSD is convex: its maximum is a hard choice
        farthest = layout.one_hot(structure.table.to_sample(away.tolist()))
        self._largest = float(self._to_base(_shares(farthest)))

    def divergence(self, logits: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
        """Mean Jensen-Shannon divergence of softmax(logits / temperature) to the smoothed base, in nats, ``*`` for
        logits ``* x L x M``; 0..log 2. Labels with n_chosen = k have the relaxed k-hot vector over k."""
        return self._to_base(_shares(relaxed_choice(self._bound().masked(logits), self._bound(), temperature)))

    def position(self, choices: torch.Tensor) -> torch.Tensor:
        """Positions of architectures on the dial, ``n_edges (1 - D / D_max)``: ``*`` for choices ``* x L x M``, hard
        or relaxed. About n_edges for the base, 0 for an architecture that shares no choice with it."""
        self._bound()
        return self._n_edges * (1 - self._to_base(_shares(choices)) / self._largest)

    def __call__(
        self, lam: torch.Tensor, logits: torch.Tensor, temperature: float, generator: torch.Generator | None
    ) -> torch.Tensor:
        lam = lam.to(logits).clamp(0, self._n_edges)
        if not self.target:
            return -((1 - lam / self._n_edges) * self.divergence(logits, temperature)).mean()
        soft = draw_paths(logits, self._bound(), temperature, generator).soft
        return ((self.position(soft) - lam) ** 2).mean() / self._n_edges

    def _bound(self) -> ChoiceLayout:
        if self._layout is None:
            raise RuntimeError("JensenShannon is used before bind(): the base architecture is not known")
        return self._layout

    def _to_base(self, alpha: torch.Tensor) -> torch.Tensor:
        """Mean divergence ``*`` of distributions ``* x L x M`` to the smoothed base."""
        assert self._base is not None
        middle = (alpha + self._base) / 2
        return (_entropy(middle) - (_entropy(alpha) + _entropy(self._base)) / 2).sum(-1).mean(-1)


def _shares(choices: torch.Tensor) -> torch.Tensor:
    """Rows that sum to 1."""
    return choices / choices.sum(-1, keepdim=True)


def _entropy(probabilities: torch.Tensor) -> torch.Tensor:
    """``-p log p``, with 0 at p = 0 and a finite gradient there."""
    return -probabilities * probabilities.clamp_min(1e-12).log()
