"""Random draws of architectures, uniform or from logits, and the layout of choices that the draws share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.choices import ChoiceTable
from nni_hypens.utils.seeds import Purpose, derive_seed
from nni_hypens.utils.transfer import sent


def random_architectures(structure: EdgeStructure, n: int, seed: int) -> list[Sample]:
    """Up to ``n`` different architectures, each choice drawn uniformly; fewer if the space holds fewer.

    Examples:
        >>> from search_spaces import OneCell
        >>> space = OneCell(channels=2, nodes=2, in_channels=1, operations=["skip_connect", "sep_conv_3x3"])
        >>> structure = EdgeStructure.from_space(space)
        >>> samples = random_architectures(structure, 3, seed=0)
        >>> len({structure.key(sample) for sample in samples})
        3
    """
    layout = ChoiceLayout(structure.table)
    generator = torch.Generator().manual_seed(derive_seed(seed, Purpose.RANDOM_ARCHITECTURES))
    found: dict[object, Sample] = {}
    for _ in range(10):
        logits = torch.zeros(n, layout.n_labels, layout.n_options)
        for rows in draw_paths(logits, layout, 1.0, generator).chosen.tolist():
            sample = structure.table.to_sample(rows)
            found.setdefault(structure.key(sample), sample)
        if len(found) >= n:
            break
    return list(found.values())[:n]


def by_size(samples: Sequence[Sample], traits: Callable[[Sample], Sequence[float]]) -> list[Sample]:
    """Architectures sorted by the product of their traits, largest first."""
    return sorted(samples, key=lambda sample: -float(np.sum(np.log(traits(sample)))))


def neighbours(structure: EdgeStructure, sample: Sample) -> list[Sample]:
    """Every architecture that differs from ``sample`` in one option of one choice and is a different network.

    Examples:
        >>> from search_spaces import OneCell
        >>> space = OneCell(channels=2, nodes=2, in_channels=1, operations=["skip_connect", "sep_conv_3x3"])
        >>> structure = EdgeStructure.from_space(space)
        >>> sample = random_architectures(structure, 1, seed=0)[0]
        >>> {structure.shared_edges(sample, other) for other in neighbours(structure, sample)}
        {1}
    """
    table, sample_key = structure.table, structure.key(sample)
    found: dict[object, Sample] = {}
    for label, options in table.options.items():
        chosen = table.to_indices(sample)[label]
        for position in range(len(chosen)):
            for option in range(len(options)):
                if option in chosen:
                    continue
                changed = sorted([*chosen[:position], option, *chosen[position + 1 :]])
                values = [options[index] for index in changed]
                other = {**sample, label: values if label in table.multiple else values[0]}
                key = structure.key(other)
                if key != sample_key:
                    found.setdefault(key, other)
    return list(found.values())


class ChoiceLayout:
    """Tensors that describe a `ChoiceTable`: which of the ``L x M`` logits exist, and how many are chosen per label.

    Examples:
        >>> options = {"op": ("conv", "pool"), "input": (0, 1, 2)}
        >>> table = ChoiceTable(options, n_chosen={"op": 1, "input": 2}, multiple=frozenset({"input"}))
        >>> layout = ChoiceLayout(table)
        >>> layout.mask
        tensor([[ True,  True, False],
                [ True,  True,  True]])
        >>> layout.one_hot({"op": "pool", "input": [0, 2]})
        tensor([[0., 1., 0.],
                [1., 0., 1.]])
    """

    def __init__(self, table: ChoiceTable, device: torch.device | str = "cpu") -> None:
        self.table = table
        lengths = torch.tensor([len(values) for values in table.options.values()])
        self.n_labels = len(lengths)
        self.n_options = int(lengths.max())
        self.mask = (torch.arange(self.n_options)[None, :] < lengths[:, None]).to(device)  # L x M
        n_chosen = torch.tensor(list(table.n_chosen.values()))
        self.max_chosen = int(n_chosen.max())
        self.n_chosen = n_chosen.to(device)  # L
        self.full = (n_chosen == lengths).to(device)  # L: every option is always chosen

    def one_hot(self, sample: Sample) -> torch.Tensor:
        """A sample as zeros and ones ``L x M``; the row of a label with n_chosen = k holds k ones."""
        result = torch.zeros(self.n_labels, self.n_options, device=self.mask.device)
        for row, indices in enumerate(self.table.to_indices(sample).values()):
            result[row, indices] = 1.0
        return result

    def masked(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits with minus infinity at options that a label does not have."""
        return logits.masked_fill(~self.mask, -torch.inf)


class PathDraw(NamedTuple):
    """Architectures drawn from logits: ``chosen * x L x k`` indices and their relaxation ``soft * x L x M``.

    Examples:
        >>> PathDraw(chosen=torch.tensor([[1]]), soft=torch.tensor([[0.2, 0.8]])).chosen
        tensor([[1]])
    """

    chosen: torch.Tensor
    soft: torch.Tensor


def gumbel(shape: Sequence[int], generator: torch.Generator | None, like: torch.Tensor) -> torch.Tensor:
    """Standard Gumbel noise of a shape, drawn on the CPU so that all devices and ranks get the same noise."""
    uniform = torch.rand(tuple(shape), generator=generator).clamp_(1e-9, 1 - 1e-7)
    return sent(-torch.log(-torch.log(uniform)), like.device, like.dtype)


def draw_paths(
    logits: torch.Tensor,
    layout: ChoiceLayout,
    temperature: float,
    generator: torch.Generator | None = None,
    noise: bool = True,
) -> PathDraw:
    """Sample architectures by Gumbel top-k, with the Gumbel-softmax relaxation (Jang et al. 2017) of the same draw.

    Args:
        logits: ``* x L x M``.
        layout: Shapes of the choices.
        temperature: Temperature of the relaxation, above 0. The hard choice does not depend on it.
        generator: Source of the noise (CPU).
        noise: False for the mode: the most probable choice of each label.

    Examples:
        >>> options = {"op": ("conv", "pool"), "input": (0, 1, 2)}
        >>> table = ChoiceTable(options, n_chosen={"op": 1, "input": 2}, multiple=frozenset({"input"}))
        >>> layout = ChoiceLayout(table)
        >>> draw = draw_paths(torch.tensor([[0.0, 1.0, 0.0], [3.0, 1.0, 2.0]]), layout, temperature=1.0, noise=False)
        >>> table.to_sample(draw.chosen.tolist())
        {'op': 'pool', 'input': [0, 2]}
        >>> draw.soft.shape
        torch.Size([2, 3])
    """
    logits = layout.masked(logits)
    if noise:
        logits = logits + gumbel(logits.shape, generator, logits)
    chosen = logits.detach().topk(layout.max_chosen, dim=-1).indices
    return PathDraw(chosen, relaxed_choice(logits, layout, temperature))


def relaxed_choice(logits: torch.Tensor, layout: ChoiceLayout, temperature: float) -> torch.Tensor:
    """Softmax of ``logits / temperature``; for n_chosen = k a relaxed k-hot one (Xie & Ermon 2019), ``* x L x M``."""
    scaled = logits / temperature
    soft = F.softmax(scaled, dim=-1)
    if layout.max_chosen == 1:
        return soft
    total, more = soft, layout.n_chosen
    for step in range(1, layout.max_chosen):
        scaled = scaled + torch.log1p(-soft.clamp(max=1 - 1e-6)) / temperature
        soft = F.softmax(scaled, dim=-1)
        total = total + soft * (more > step)[:, None]
    return torch.where(layout.full[:, None], layout.mask.to(total), total.clamp(max=1.0))


def inclusion_probabilities(logits: torch.Tensor, layout: ChoiceLayout) -> torch.Tensor:
    """Probability that each option is among those that `draw_paths` chooses, differentiable in the logits.

    For n_chosen = 1 this is the softmax. For n_chosen = k, Gumbel top-k draws without replacement (Plackett-Luce; Kool
    et al. 2019): option i is chosen if fewer than k others ring before it in a race of exponential clocks with rates
    exp(logit), so ``P(i) = int p_i exp(-p_i t) P(fewer than k clocks j != i by t) dt``. In log t the integrand is
    analytic and decays on both sides, so the trapezoid rule is exact to about 1e-12.

    Args:
        logits: ``* x L x M``.
        layout: Shapes of the choices.

    Returns:
        ``* x L x M``; rows sum to n_chosen, options that do not exist have 0.

    Examples:
        >>> options = {"op": ("conv", "pool"), "input": (0, 1, 2)}
        >>> table = ChoiceTable(options, n_chosen={"op": 1, "input": 2}, multiple=frozenset({"input"}))
        >>> layout = ChoiceLayout(table)
        >>> inclusion_probabilities(torch.zeros(2, 3), layout)
        tensor([[0.5000, 0.5000, 0.0000],
                [0.6667, 0.6667, 0.6667]])
    """
    soft = F.softmax(layout.masked(logits), dim=-1)
    several = ((layout.n_chosen > 1) & ~layout.full).nonzero().flatten()
    result = torch.where(layout.full[:, None], layout.mask.to(soft), soft)
    if not len(several):
        return result
    race = _race(logits[..., several, :].double(), layout.mask[several], layout.n_chosen[several])
    return result.index_copy(-2, several, race.to(soft))


def _race(logits: torch.Tensor, mask: torch.Tensor, n_chosen: torch.Tensor) -> torch.Tensor:
    """Inclusion probabilities ``* x L x M`` by quadrature over the logarithm of time."""
    logits = torch.where(mask, logits, logits.amax(-1, keepdim=True))
    ordered, order = logits.sort(dim=-1)
    # a gap of 40 decides the race to 1e-17; without a limit, sharp logits would need an endless grid
    gaps = F.pad(ordered.diff(dim=-1).clamp(max=40.0), (1, 0)).cumsum(-1)
    speed = torch.zeros_like(logits).scatter(-1, order, gaps - gaps[..., -1:])  # log rates, the fastest 0
    step = 0.3
    times = torch.arange(-36.0, 5.0 - speed.detach().min().item(), step, dtype=logits.dtype, device=logits.device)
    rate = (speed[..., None] + times).exp() * mask[..., None]  # * x L x M x T, in units of d log t
    rung = -torch.expm1(-rate)
    most = int(n_chosen.max())
    index = torch.arange(logits.shape[-1], device=logits.device)
    counts = [torch.ones_like(rate), *(torch.zeros_like(rate) for _ in range(most - 1))]  # P(n of the others by t)
    for other in range(logits.shape[-1]):
        ring = rung[..., other : other + 1, :] * (index != other)[:, None]
        moved = [torch.zeros_like(rate), *counts[:-1]]
        counts = [(1 - ring) * stay + ring * move for stay, move in zip(counts, moved, strict=True)]
    free = torch.stack(counts, dim=-1).cumsum(-1)  # P(at most n of the others by t)
    fewer = (free * F.one_hot(n_chosen - 1, most)[:, None, None, :]).sum(-1)  # P(fewer than k of the others by t)
    return step * (rate * torch.exp(-rate) * fewer).sum(-1)
