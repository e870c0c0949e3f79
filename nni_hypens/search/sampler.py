"""Draw architectures from a trained hypernetwork: the mode (the most probable) and different draws at ``lam``."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError

from nni_hypens.errors import InputError
from nni_hypens.search.hypernetwork import Hypernetwork
from nni_hypens.search.pool import draw_pool
from nni_hypens.search.repair import repair
from nni_hypens.space.architecture import EdgeKey, EdgeStructure, Sample
from nni_hypens.space.choices import load_sample
from nni_hypens.space.draws import ChoiceLayout, draw_paths
from nni_hypens.utils.checks import is_number, is_whole
from nni_hypens.utils.files import json_text, write_json
from nni_hypens.utils.seeds import Purpose, derive_seed
from nni_hypens.utils.tensors import read_metadata, read_tensors, write_tensors

DRAWS_PER_ROUND = 256
MAX_ROUNDS = 400
BARREN_ROUNDS = 10
"""Fewest rounds in a row without a new architecture after which sampling ends."""
BARREN_DRAWS = 6
"""Fewest draws in these rounds, for each architecture already collected. ``d`` draws miss one of N equally likely
architectures with probability ``exp(-d / N)``."""
BUDGET_TRIES = 200
"""Architectures whose cost may be checked in one call, besides 20 for each architecture requested."""
WARMER = 1.25
"""A round with few new architectures raises the sampling temperature by this factor: trained logits can be so sharp
that hundreds of draws hold only a dozen different architectures."""


@dataclass(frozen=True)
class Candidate:
    """An architecture drawn from the hypernetwork.

    Args:
        lam: Requested shared edges; None for an architecture that was not drawn at a lam, such as the base.
        shared_edges: Edges in common with the base.
        source: ``base``, ``mode``, ``draw``, or ``repaired`` (a draw in which some edges were changed to match or to
            differ from the base); ``large`` for a large random architecture, or how adaptive training proposed it.
        architecture: The NNI sample.

    Examples:
        >>> Candidate(lam=2.0, shared_edges=2, source="draw", architecture={"op": "conv"}).shared_edges
        2
    """

    lam: float | None
    shared_edges: int
    source: str
    architecture: Sample


class ArchitectureSampler:
    """Architectures of a trained hypernetwork around its base.

    Args:
        structure: Edges of the space.
        hypernetwork: Trained map from lam to logits.
        base: The base architecture.
        counts_edges: Whether lam is a number of shared edges, as with `SharedEdges`. Each draw must then have this
            number within half an edge. With `JensenShannon` lam is another distance, and any draw is accepted.
        accepts: Whether an architecture may be sampled (a `Budget`); None for all.

    Examples:
        >>> from nni_hypens.space import ChoiceLayout, EdgeStructure, random_architectures
        >>> from search_spaces import OneCell
        >>> space = OneCell(channels=2, nodes=2, in_channels=1, operations=["skip_connect", "sep_conv_3x3"])
        >>> structure = EdgeStructure.from_space(space)
        >>> base = random_architectures(structure, 1, seed=0)[0]
        >>> layout = ChoiceLayout(structure.table)
        >>> hypernetwork = Hypernetwork(layout.n_labels, layout.n_options, low=0.0, high=structure.n_edges)
        >>> sampler = ArchitectureSampler(structure, hypernetwork, base)
        >>> [candidate.shared_edges for candidate in sampler.sample(lam=1, n=3)]
        [1, 1, 1]
        >>> [candidate.source for candidate in sampler.pool(1)]
        ['base']
    """

    def __init__(
        self,
        structure: EdgeStructure,
        hypernetwork: Hypernetwork,
        base: Sample,
        counts_edges: bool = True,
        accepts: Callable[[Sample], bool] | None = None,
    ) -> None:
        self.structure = structure
        self.layout = ChoiceLayout(structure.table)
        self.hypernetwork = hypernetwork
        self.base = base
        self.counts_edges = counts_edges
        self.accepts = accepts

    @property
    def n_edges(self) -> int:
        """Number of edges of an architecture."""
        return self.structure.n_edges

    def check_lam(self, lam: float, field: str = "lam") -> float:
        """``lam`` as a float.

        Raises:
            InputError: Outside 0..n_edges.
        """
        if not is_number(lam) or not 0 <= lam <= self.n_edges:
            raise InputError(field, repr(lam), f"a number in 0..{self.n_edges}, the edges of this space")
        return float(lam)

    @torch.no_grad()
    def logits(self, lam: float) -> torch.Tensor:
        """Logits ``L x M`` at lam."""
        logits: torch.Tensor = self.hypernetwork(torch.tensor(float(lam))).cpu()
        return logits

    def mode(self, lam: float) -> Candidate:
        """The most probable architecture at ``lam``."""
        draw = draw_paths(self.logits(self.check_lam(lam)), self.layout, 1.0, noise=False)
        return self.candidate(lam, "mode", self.structure.table.to_sample(draw.chosen.tolist()))

    def dial(self, lams: list[float]) -> list[int]:
        """Shared edges of the mode at each of ``lams``."""
        return [self.mode(lam).shared_edges for lam in lams]

    def sample(self, lam: float, n: int = 1, seed: int = 0, exclude: set[EdgeKey] | None = None) -> list[Candidate]:
        """``n`` different architectures at ``lam``: the mode, then Gumbel draws.

        With ``SharedEdges`` each has a number of shared edges within half an edge of ``lam``. If few draws are new, the
        sampling temperature rises, and draws with other numbers of shared edges are repaired: some of their edges are
        changed to match or to differ from the base.

        Args:
            lam: Requested shared edges, 0..n_edges.
            n: Number of architectures.
            seed: Seed of the draws.
            exclude: Keys of architectures that do not count as new.

        Raises:
            InputError: ``lam`` out of range, or fewer than ``n`` such architectures were found.
        """
        lam = self.check_lam(lam)
        if not is_whole(n, 1):
            raise InputError("n", repr(n), "a whole number of at least 1")
        collected = _Collected(self, lam, n, exclude or set(), BUDGET_TRIES + 20 * n)
        collected.offer("mode", self.mode(lam).architecture)
        if self.counts_edges and self.reach(lam) == {self.n_edges}:  # only the base shares every edge
            collected.offer("repaired", self.base)
            drawn = 0
        else:
            generator = torch.Generator().manual_seed(derive_seed(seed, Purpose.DRAWS_AT_LAM))
            drawn = self._draw_until(collected, n, generator)
        candidates = list(collected.found.values())
        if not collected.enough:
            within = "" if self.accepts is None else f" within the budget (of {collected.asked} tried)"
            raise InputError(
                "n",
                n,
                f"at most {len(candidates)} at lam={lam:g}: {drawn} draws gave no more different architectures with "
                f"about {lam:g} of {self.n_edges} shared edges{within}",
            )
        return candidates

    def _draw_until(self, collected: _Collected, n: int, generator: torch.Generator) -> int:
        """Draw until ``n`` architectures are collected or new ones are too rare. Return the number of draws."""
        logits, temperature, rounds, barren, drawn = self.logits(collected.lam), 1.0, 0, 0, 0
        patience: float = BARREN_ROUNDS
        while not collected.enough and barren < patience and rounds < MAX_ROUNDS and collected.tries:
            before = len(collected.found)
            draws = DRAWS_PER_ROUND if rounds else min(DRAWS_PER_ROUND, 8 * n)
            drawn_rows = self._draw(logits / temperature, draws, generator)
            uniform_rows = self._draw(torch.zeros_like(logits), draws, generator)
            to_sample = self.structure.table.to_sample
            for rows in drawn_rows:
                if collected.enough:
                    break
                collected.offer("draw", to_sample(rows))
            if self.counts_edges and rounds:
                shared = round(collected.lam)
                for rows, other in zip(drawn_rows, uniform_rows, strict=True):
                    if collected.enough:
                        break
                    pair = to_sample(rows), to_sample(other)
                    collected.offer("repaired", repair(self.structure, self.base, *pair, shared, generator))
            new = len(collected.found) - before
            temperature *= WARMER if new < draws / 10 else 1.0
            barren = 0 if new else barren + 1
            patience = max(BARREN_ROUNDS, BARREN_DRAWS * len(collected.found) / DRAWS_PER_ROUND)
            rounds, drawn = rounds + 1, drawn + draws
        return drawn

    def _draw(self, logits: torch.Tensor, draws: int, generator: torch.Generator) -> list[list[list[int]]]:
        """The chosen options of each label, for each of ``draws`` architectures."""
        chosen = draw_paths(logits.expand(draws, -1, -1), self.layout, 1.0, generator).chosen
        rows: list[list[list[int]]] = chosen.tolist()
        return rows

    def pool(
        self, n: int, lam_range: tuple[float, float] | None = None, seed: int = 0, at_least: int | None = None
    ) -> list[Candidate]:
        """The base and ``n - 1`` different candidates with ``lam`` spread evenly over ``lam_range``.

        Args:
            n: Number of candidates, with the base.
            lam_range: (low, high) in 0..n_edges; the whole dial by default.
            seed: Seed of the draws.
            at_least: Fewest candidates to accept if the range has fewer than ``n``; ``n`` by default.

        Raises:
            InputError: Bad range, or too few different architectures in it.
        """
        return draw_pool(self, n, lam_range, seed, at_least)

    def reach(self, lam: float) -> set[int]:
        """Numbers of shared edges that an architecture at ``lam`` may have; {0} if the dial does not count edges."""
        if not self.counts_edges:
            return {0}
        return set(range(math.ceil(lam - 0.5), math.floor(lam + 0.5) + 1))

    def candidate(self, lam: float | None, source: str, architecture: Sample) -> Candidate:
        """Make a candidate: an architecture and its number of edges shared with the base."""
        return Candidate(lam, self.structure.shared_edges(self.base, architecture), source, architecture)

    def save(self, directory: Path) -> None:
        """Write ``base.json`` and ``hypernetwork.safetensors``."""
        network = self.hypernetwork
        tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
        about = {"low": network.low, "high": network.high, "counts_edges": self.counts_edges, "n_edges": self.n_edges}
        write_tensors(directory / "hypernetwork.safetensors", tensors, {"nni_hypens": json_text(about)})
        write_json(directory / "base.json", self.base)

    @classmethod
    def load(
        cls, directory: Path, structure: EdgeStructure, accepts: Callable[[Sample], bool] | None = None
    ) -> ArchitectureSampler:
        """Read the files that `save` wrote. ``accepts`` is not stored.

        Raises:
            InputError: A file is missing or broken, or belongs to another space.
        """
        base = load_sample(directory / "base.json", structure.table, "search/base.json")
        path = directory / "hypernetwork.safetensors"
        layout = ChoiceLayout(structure.table)
        wanted = (layout.n_labels, layout.n_options)
        try:
            tensors, about = read_tensors(path), read_metadata(path, "nni_hypens")
            got, n_edges = tuple(tensors["values"].shape[1:]), about["n_edges"]
            if got != wanted or n_edges != structure.n_edges:
                stored = f"logits of shape {got} for {n_edges} edges"
                raise InputError(str(path), stored, f"{wanted} for {structure.n_edges}: it belongs to another space")
            network = Hypernetwork(*wanted, about["low"], about["high"], n_pivots=tensors["values"].shape[0])
            network.load_state_dict(tensors)
            return cls(structure, network, base, about["counts_edges"], accepts)
        except InputError:
            raise
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise InputError(str(path), type(error).__name__, f"a hypernetwork saved by nni_hypens ({error})") from None


class _Collected:
    """Different architectures collected at one lam, within the budget.

    Args:
        sampler: The sampler that draws them.
        lam: Requested shared edges.
        wanted: How many are enough.
        exclude: Keys of architectures that do not count as new; not copied, as a pool asks for each of its many
            architectures with the keys of all before.
        tries: How many architectures may be checked against the budget; a check takes about a tenth of a second.
    """

    def __init__(
        self, sampler: ArchitectureSampler, lam: float, wanted: int, exclude: Collection[EdgeKey], tries: int
    ) -> None:
        self.sampler, self.lam, self.wanted, self.exclude, self.tries = sampler, lam, wanted, exclude, tries
        self.asked = 0
        self.seen: set[EdgeKey] = set()
        self.found: dict[EdgeKey, Candidate] = {}

    @property
    def enough(self) -> bool:
        """Whether there are as many as wanted."""
        return len(self.found) >= self.wanted

    def offer(self, source: str, architecture: Sample) -> None:
        """Keep the architecture if it is new, has about ``lam`` shared edges and is within the budget."""
        candidate = self.sampler.candidate(self.lam, source, architecture)
        if self.sampler.counts_edges and abs(candidate.shared_edges - self.lam) > 0.5:
            return
        key = self.sampler.structure.key(architecture)
        if key not in self.seen and key not in self.exclude:
            self.seen.add(key)
            if self._within_budget(architecture):
                self.found[key] = candidate

    def _within_budget(self, architecture: Sample) -> bool:
        if self.sampler.accepts is None:
            return True
        if not self.tries:
            return False
        self.tries -= 1
        self.asked += 1
        return self.sampler.accepts(architecture)
