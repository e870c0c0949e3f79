"""The regulariser of the 2024 paper: the number of edges shared with the base, and its expectation."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nni_hypens.search.regularizers import Annealed
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.draws import ChoiceLayout, draw_paths, inclusion_probabilities


def expected_shared_edges(structure: EdgeStructure, base: Sample, logits: torch.Tensor) -> torch.Tensor:
    """Mean number of edges that architectures drawn from logits share with a base; exact and differentiable.

    Args:
        structure: Edges of the space.
        base: The base architecture.
        logits: ``* x L x M``, rows in the order of ``structure.table.labels``.

    Returns:
        ``*``, in 0..n_edges.

    Examples:
        >>> from nni_hypens.space import ChoiceLayout, EdgeStructure, random_architectures
        >>> from search_spaces import OneCell
        >>> space = OneCell(channels=2, nodes=2, in_channels=1, operations=["skip_connect", "sep_conv_3x3"])
        >>> structure = EdgeStructure.from_space(space)
        >>> base = random_architectures(structure, 1, seed=0)[0]
        >>> layout = ChoiceLayout(structure.table)
        >>> expected_shared_edges(structure, base, torch.zeros(layout.n_labels, layout.n_options))
        tensor(0.7500)
        >>> expected_shared_edges(structure, base, 100 * layout.one_hot(base))
        tensor(2.)
    """
    layout = ChoiceLayout(structure.table, logits.device)
    return SharedEdgeCounter(structure, layout, base).expected(inclusion_probabilities(logits, layout))


class SharedEdgeCounter:
    """Expected number of edges shared with a base architecture, differentiable in the choice probabilities.

    Exact for hard (one-hot) choices. For probabilities it is the expectation under independent labels; choices within
    one label need not be independent, since no slot holds an edge by two options of one label. If slots of a node are
    unordered (NNI ``Cell``), the number of slots that hold a base edge is Poisson binomial, and the shared count is
    ``E[min(N, m)] = sum_{t=1..m} P(N >= t)`` for an edge that the base holds m times.

    Examples:
        >>> from nni_hypens.space import ChoiceLayout, EdgeStructure, random_architectures
        >>> from search_spaces import OneCell
        >>> space = OneCell(channels=2, nodes=2, in_channels=1, operations=["skip_connect", "sep_conv_3x3"])
        >>> structure = EdgeStructure.from_space(space)
        >>> base = random_architectures(structure, 1, seed=0)[0]
        >>> layout = ChoiceLayout(structure.table)
        >>> SharedEdgeCounter(structure, layout, base).expected(layout.one_hot(base))
        tensor(2.)
    """

    def __init__(self, structure: EdgeStructure, layout: ChoiceLayout, base: Sample) -> None:
        self.n_edges = structure.n_edges
        rows, multiplicity = _edge_rows(structure, layout, base)
        width = max(len(slots) for slots in rows)
        zero = layout.n_labels * layout.n_options  # index of a probability that is always 0; the next one is always 1
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
    always = layout.n_labels * width + 1  # index of a probability that is always 1
    rows, multiplicity = [], []
    for group in structure.groups:
        group_edges = EdgeStructure(table, [group]).edges(base)
        base_edges = [edge for edge in group_edges if edge[0] == group.name]
        for edge in dict.fromkeys(base_edges):
            _, source, value = edge
            slots = []
            for inputs, ops in group.slots:
                if (inputs is None) != (source is None):  # an edge without an input is never one with an input
                    continue
                if inputs is None:
                    if value in table.options[ops[0]]:
                        slots.append((always, offset[ops[0]] + table.options[ops[0]].index(value)))
                    continue
                assert source is not None
                n_inputs = len(table.options[inputs])
                label = ops[source] if len(ops) > 1 or n_inputs == 1 else ops[0]
                if source >= n_inputs or value not in table.options[label]:
                    continue
                slots.append((offset[inputs] + source, offset[label] + table.options[label].index(value)))
            rows.append(slots)
            multiplicity.append(base_edges.count(edge))
    return rows, multiplicity


class SharedEdges:
    """``((lam - E[s(base, GS_t(alpha(lam)))]) / n_edges)^2`` times ``n_edges``: lam edges in common with the base.

    The 2024 EdgeNES paper has the squared error itself. We divide it by n_edges: an error of a quarter of the dial then
    costs four times as much in a space of 16 edges as in a space of 4, not 16 times, and one default weight works for
    both.

    Args:
        weight: Weight c of the regulariser, or (start, end), linear over the epochs of the hypernetwork.
        temperature: Temperature t of the Gumbel-softmax, or (start, end).

    Examples:
        >>> from nni_hypens.space import ChoiceLayout, EdgeStructure, random_architectures
        >>> from search_spaces import OneCell
        >>> space = OneCell(channels=2, nodes=2, in_channels=1, operations=["skip_connect", "sep_conv_3x3"])
        >>> structure = EdgeStructure.from_space(space)
        >>> base = random_architectures(structure, 1, seed=0)[0]
        >>> layout = ChoiceLayout(structure.table)
        >>> regularizer = SharedEdges(weight=(0.3, 3.0))
        >>> regularizer.bind(structure, layout, base)
        >>> certain = 100 * layout.one_hot(base)[None]  # logits that give the base
        >>> regularizer(torch.tensor([2.0]), certain, temperature=0.5, generator=None).item() < 0.01
        True
        >>> regularizer(torch.tensor([0.0]), certain, temperature=0.5, generator=None).item() > 1.9
        True
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
