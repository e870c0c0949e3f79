"""Regularisers that make the dial mean something, the sampling they share, and linear annealing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch

from nni_hypens.errors import InputError
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.draws import ChoiceLayout, draw_paths, inclusion_probabilities, relaxed_choice
from nni_hypens.utils.checks import is_number


class Annealed:
    """A number that moves linearly from ``start`` to ``end`` over training.

    Args:
        value: A number (constant) or a pair (start, end).
        field: Name used in messages.
        positive: Whether zero is refused.
    """

    def __init__(self, value: float | Sequence[float], field: str, positive: bool = False) -> None:
        ends = tuple(value) if isinstance(value, list | tuple) else (value, value)
        numbers = all(is_number(end) for end in ends)
        if len(ends) != 2 or not numbers or not all(end > 0 or (end == 0 and not positive) for end in ends):
            kind = "above 0" if positive else "of at least 0"
            raise InputError(field, repr(value), f"one number {kind}, or two (start, end)")
        self.start, self.end = float(ends[0]), float(ends[1])

    def at(self, progress: float) -> float:
        """Value at ``progress`` in 0..1."""
        return self.start + (self.end - self.start) * min(max(progress, 0.0), 1.0)


def expected_shared_edges(structure: EdgeStructure, base: Sample, logits: torch.Tensor) -> torch.Tensor:
    """Mean number of edges that architectures drawn from logits share with a base: exact, and differentiable.

    Args:
        structure: Edges of the space.
        base: The base architecture.
        logits: ``* x L x M``, rows in the order of ``structure.table.labels``.

    Returns:
        ``*``, in 0..n_edges.
    """
    layout = ChoiceLayout(structure.table, logits.device)
    return SharedEdgeCounter(structure, layout, base).expected(inclusion_probabilities(logits, layout))


class SharedEdgeCounter:
    """Expected number of edges shared with a base architecture, differentiable in the choice probabilities.

    Exact for hard (one-hot) choices; for probabilities it is the expectation under independent labels (what is chosen
    within one label need not be independent, since no slot holds an edge by two options of one label). Where slots of a
    node are unordered (NNI ``Cell``), the number of slots that hold a base edge is Poisson binomial, and the shared
    count is ``E[min(N, m)] = sum_{t=1..m} P(N >= t)`` for an edge that the base holds m times.
    """

    def __init__(self, structure: EdgeStructure, layout: ChoiceLayout, base: Sample) -> None:
        self.n_edges = structure.n_edges
        rows, multiplicity = _edge_rows(structure, layout, base)
        width = max(len(slots) for slots in rows)
        zero = layout.n_labels * layout.n_options  # index of a probability that is always 0; the next is always 1
        padded = [slots + [(zero, zero)] * (width - len(slots)) for slots in rows]
        self.index = torch.tensor(padded, device=layout.mask.device)  # E x slots x 2
        self.multiplicity = torch.tensor(multiplicity, device=layout.mask.device)  # E

    def expected(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Expected shared edges.

        Args:
            probabilities: ``* x L x M``, the probability that each option is chosen.

        Returns:
            ``*``, in 0..n_edges.
        """
        flat = probabilities.flatten(-2)
        constants = torch.stack([flat.new_zeros(flat.shape[:-1]), flat.new_ones(flat.shape[:-1])], dim=-1)
        slots = torch.cat([flat, constants], dim=-1)[..., self.index].prod(-1)  # * x E x slots
        if slots.shape[-1] == 1:
            return slots.sum((-2, -1))
        counts = [torch.ones_like(slots[..., 0])]  # P(N = n) after each slot
        for slot in slots.unbind(-1):
            shifted = [torch.zeros_like(slot), *counts]
            counts = [
                (1 - slot) * stay + slot * move for stay, move in zip([*counts, shifted[0]], shifted, strict=True)
            ]
        number = torch.arange(len(counts), device=slots.device)
        shared = torch.minimum(number, self.multiplicity[:, None]).to(slots)  # E x (slots + 1)
        return (torch.stack(counts, dim=-1) * shared).sum((-2, -1))


def _edge_rows(
    structure: EdgeStructure, layout: ChoiceLayout, base: Sample
) -> tuple[list[list[tuple[int, int]]], list[int]]:
    """For each distinct edge of the base: the (input, operation) probability indices of every slot that could hold
    it."""
    table, width = structure.table, layout.n_options
    offset = {label: row * width for row, label in enumerate(table.labels)}
    one = layout.n_labels * width + 1
    rows, multiplicity = [], []
    for group in structure.groups:
        group_edges = EdgeStructure(table, [group]).edges(base)
        own = [edge for edge in group_edges if edge[0] == group.name]
        for edge in dict.fromkeys(own):
            _, source, value = edge
            slots = []
            for inputs, ops in group.slots:
                if inputs is None:
                    if value in table.options[ops[0]]:
                        slots.append((one, offset[ops[0]] + table.options[ops[0]].index(value)))
                    continue
                assert source is not None
                n_inputs = len(table.options[inputs])
                label = ops[source] if len(ops) > 1 or n_inputs == 1 else ops[0]
                if source >= n_inputs or value not in table.options[label]:
                    continue
                slots.append((offset[inputs] + source, offset[label] + table.options[label].index(value)))
            rows.append(slots)
            multiplicity.append(own.count(edge))
    return rows, multiplicity


@runtime_checkable
class Diversity(Protocol):
    """A regulariser R(lam, base, alpha(lam)) on the common scale 0..n_edges of the dial."""

    weight: Annealed
    temperature: Annealed
    counts_edges: bool

    def bind(self, structure: EdgeStructure, layout: ChoiceLayout, base: Sample) -> None:
        """Fix the base architecture before the first call."""

    def __call__(
        self, lam: torch.Tensor, logits: torch.Tensor, temperature: float, generator: torch.Generator | None
    ) -> torch.Tensor:
        """Value of the regulariser, a scalar: the mean over the batch of ``lam`` (``B``) and ``logits`` (``B x L x
        M``)."""


class SharedEdges:
    """``((lam - E[s(base, GS_t(alpha(lam)))]) / n_edges)^2`` times ``n_edges``: lam edges in common with the base.

    The 2024 EdgeNES paper has the squared error itself. Ours is divided by n_edges so that an error of a quarter of
    the dial costs a space of 16 edges four times what it costs one of 4 and no more, and one default weight serves
    both.

    Args:
        weight: Weight c of the regulariser, or (start, end), linear over the epochs of the hypernetwork.
        temperature: Temperature t of the Gumbel-softmax, or (start, end).
    """

    counts_edges = True

    def __init__(
        self, weight: float | Sequence[float] = (0.3, 3.0), temperature: float | Sequence[float] = (1.0, 0.05)
    ) -> None:
        self.weight = Annealed(weight, "diversity.weight")
        self.temperature = Annealed(temperature, "diversity.temperature", positive=True)
        self._counter: SharedEdgeCounter | None = None
        self._layout: ChoiceLayout | None = None

    def bind(self, structure: EdgeStructure, layout: ChoiceLayout, base: Sample) -> None:
        self._counter = SharedEdgeCounter(structure, layout, base)
        self._layout = layout

    def __call__(
        self, lam: torch.Tensor, logits: torch.Tensor, temperature: float, generator: torch.Generator | None
    ) -> torch.Tensor:
        if self._counter is None or self._layout is None:
            raise RuntimeError("SharedEdges is used before bind(): the base architecture is not known")
        soft = draw_paths(logits, self._layout, temperature, generator).soft
        error = lam.to(soft) - self._counter.expected(soft)
        return (error**2).mean() / self._counter.n_edges


class JensenShannon:
    """``(D / D_max - (1 - lam / n_edges))^2`` times ``n_edges``: lam asks for a share of the largest divergence.

    D is the mean over labels of the Jensen-Shannon divergence between the base, smoothed to tau onehot + (1 - tau) /
    |O|, and a Gumbel-softmax sample at lam; D_max is what an architecture has that chooses nothing of the base's.
    lam = n_edges asks for no divergence (the base), 0 for D_max, on the scale of :class:`SharedEdges`, so that a user
    can exchange the two. Labels of inputs that are not chosen count as well, as in the paper.

    The 2023 EdgeNES paper has ``- lam' D`` instead, with D of the softmax itself. A weight knows only extremes: any
    push that matters drives D to its maximum, and without a push nothing leads to the base. Measured on digits (one
    seed), that form shared no edge with the base at any lam on OneCell, and 2 of 16 at every lam on hub DARTS. It is
    kept as ``target=False``, with ``- (1 - lam / n_edges) D``. Samples take the place of the softmax because undecided
    logits meet a mean divergence as well, and their mode then jumps.

    Args:
        weight: Weight c of the regulariser, or (start, end).
        temperature: Temperature of the relaxation, or (start, end); None for (1, 0.05), or 1 with ``target=False``.
        tau: Smoothing of the base, in (0, 1); the papers' code has 0.99.
        target: False for the paper's linear form.

    Raises:
        InputError: An argument out of its range.
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
        """Where architectures are on the dial: ``n_edges (1 - D / D_max)``, ``*`` for zeros and ones ``* x L x M`` (or
        their relaxation). About n_edges for the base, 0 for an architecture without any of its choices."""
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
