"""From a trained hypernetwork to architectures: modes, draws at a given ``lam``, and the pool of candidates."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from nni_hypens.errors import InputError
from nni_hypens.search.hypernetwork import Hypernetwork
from nni_hypens.space.architecture import EdgeGroup, EdgeKey, EdgeStructure, Sample
from nni_hypens.space.choices import load_sample
from nni_hypens.space.draws import ChoiceLayout, draw_paths
from nni_hypens.utils.files import write_json
from nni_hypens.utils.tensors import write_tensors

DRAWS_PER_ROUND = 256
MAX_ROUNDS = 400
BARREN_ROUNDS = 10
"""Rounds in a row that find nothing new before the search for more ends."""
BUDGET_TRIES = 200
WARMER = 1.25
"""A round that finds little new raises the sampling temperature by this factor: trained logits can be so sharp that
hundreds of draws hold a dozen different architectures."""


@dataclass(frozen=True)
class Candidate:
    """An architecture drawn from the hypernetwork.

    Args:
        lam: Requested shared edges (None where no dial was asked, as for the base).
        shared_edges: Edges it has in common with the base.
        source: ``base``, ``mode``, ``draw``, or ``repaired`` (a draw, some edges set to or from the base's); ``large``
            for a large random architecture, or how adaptive training proposed it.
        architecture: The NNI sample.
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
        counts_edges: Whether lam is a number of shared edges (SharedEdges), so that a draw at lam must have about that
            many; with JensenShannon the dial is another distance and any draw will do.
        accepts: Which architectures may be sampled (a budget); None for all.
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
        if not isinstance(lam, int | float) or isinstance(lam, bool) or not 0 <= lam <= self.n_edges:
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
        return self._candidate(lam, "mode", self.structure.table.to_sample(draw.chosen.tolist()))

    def dial(self, lams: list[float]) -> list[int]:
        """Shared edges of the mode at each of ``lams``."""
        return [self.mode(lam).shared_edges for lam in lams]

    def sample(self, lam: float, n: int = 1, seed: int = 0, exclude: set[EdgeKey] | None = None) -> list[Candidate]:
        """``n`` different architectures at ``lam``: the mode, then Gumbel draws.

        With ``SharedEdges`` each has a number of shared edges within half an edge of ``lam``. Draws that repeat make
        the sampling temperature rise, and draws with other numbers of shared edges are repaired, a few edges set to or
        from the base's, until enough different ones are found.

        Args:
            lam: Requested shared edges, 0..n_edges.
            n: How many.
            seed: Seed of the draws.
            exclude: Keys of architectures that do not count as new.

        Raises:
            InputError: ``lam`` out of range, or fewer than ``n`` such architectures could be found.
        """
        lam = self.check_lam(lam)
        if not isinstance(n, int) or n < 1:
            raise InputError("n", repr(n), "a whole number of at least 1")
        found: dict[EdgeKey, Candidate] = {}
        seen = set(exclude or ())
        tries = [BUDGET_TRIES + 20 * n]

        def offer(candidate: Candidate) -> None:
            key = self.structure.key(candidate.architecture)
            fits = not self.counts_edges or abs(candidate.shared_edges - lam) <= 0.5
            if key not in seen and fits:
                seen.add(key)
                if self._accept(candidate.architecture, tries):
                    found[key] = candidate

        offer(self.mode(lam))
        generator = torch.Generator().manual_seed(seed)
        logits, temperature, rounds, barren, drawn = self.logits(lam), 1.0, 0, 0, 0
        if self.counts_edges and self._reach(lam) == {self.n_edges}:  # nothing but the base shares every edge
            offer(self._candidate(lam, "repaired", self.base))
            barren = BARREN_ROUNDS
        while len(found) < n and barren < BARREN_ROUNDS and rounds < MAX_ROUNDS and tries[0]:
            before = len(found)
            draws = DRAWS_PER_ROUND if rounds else min(DRAWS_PER_ROUND, 8 * n)
            many = self._draw(logits / temperature, draws, generator)
            others = self._draw(torch.zeros_like(logits), draws, generator)
            for architecture in many:
                offer(self._candidate(lam, "draw", architecture))
            if len(found) < n and self.counts_edges and rounds:
                for architecture, other in zip(many, others, strict=True):
                    offer(self._candidate(lam, "repaired", self._repair(architecture, other, round(lam), generator)))
            new = len(found) - before
            temperature *= WARMER if new < draws / 10 else 1.0
            barren = 0 if new else barren + 1
            rounds, drawn = rounds + 1, drawn + draws
        if len(found) < n:
            within = "" if self.accepts is None else f" within the budget (of {BUDGET_TRIES + 20 * n - tries[0]} tried)"
            raise InputError(
                "n",
                n,
                f"at most {len(found)} at lam={lam:g}: no more different architectures with about {lam:g} of "
                f"{self.n_edges} shared edges{within} turned up in {drawn} draws",
            )
        return list(found.values())[:n]

    def _draw(self, logits: torch.Tensor, draws: int, generator: torch.Generator) -> list[Sample]:
        chosen = draw_paths(logits.expand(draws, -1, -1), self.layout, 1.0, generator).chosen
        return [self.structure.table.to_sample(rows) for rows in chosen.tolist()]

    def _repair(self, architecture: Sample, other: Sample, shared: int, generator: torch.Generator) -> Sample:
        """``architecture`` with slots set to the base's, or to those of ``other``, one by one in random order, where
        that brings the number of edges shared with the base nearer to ``shared``."""
        groups = self.structure.groups
        slots = [(index, slot) for index, group in enumerate(groups) for slot in group.slots]
        counts = [self._shared(group, architecture) for group in groups]
        for place in torch.randperm(len(slots), generator=generator).tolist():
            missing = shared - sum(counts)
            if not missing:
                break
            index, (inputs, ops) = slots[place]
            source = self.base if missing > 0 else other
            changed = {**architecture, **{label: source[label] for label in (inputs, *ops) if label is not None}}
            now = self._shared(groups[index], changed)  # a label belongs to one group
            if abs(missing - (now - counts[index])) < abs(missing):
                architecture, counts[index] = changed, now
        return architecture

    def _shared(self, group: EdgeGroup, architecture: Sample) -> int:
        """Edges of one group that an architecture shares with the base."""
        edges = (Counter(self.structure.group_edges(group, sample)) for sample in (self.base, architecture))
        return (next(edges) & next(edges)).total()

    def _accept(self, architecture: Sample, tries: list[int]) -> bool:
        """Whether the budget holds; ``tries`` is how often it may still be asked, which takes a tenth of a second."""
        if self.accepts is None:
            return True
        if not tries[0]:
            return False
        tries[0] -= 1
        return self.accepts(architecture)

    def pool(
        self, n: int, lam_range: tuple[float, float] | None = None, seed: int = 0, at_least: int | None = None
    ) -> list[Candidate]:
        """The base and ``n - 1`` different candidates with ``lam`` spread evenly over ``lam_range``.

        Args:
            n: How many, with the base.
            lam_range: (low, high) in 0..n_edges; all of it by default.
            seed: Seed of the draws.
            at_least: How few will do where the range does not hold ``n`` (default ``n``).

        Raises:
            InputError: Bad range, or fewer different architectures in it than wanted.
        """
        low, high = lam_range or (0.0, float(self.n_edges))
        if not self.check_lam(low, "lam_range") <= self.check_lam(high, "lam_range"):
            raise InputError("lam_range", f"({low:g}, {high:g})", "its low end first")
        pool = [self._candidate(None, "base", self.base)]
        keys = {self.structure.key(self.base)}
        lams = torch.linspace(high, low, max(n - 1, 1)).tolist()
        enough = n if at_least is None else min(n, at_least)
        misses, spent = 0, set[int]()  # numbers of shared edges of which nothing new is left
        while len(pool) < n:
            if all(self._reach(lam) <= spent for lam in lams):
                # the ends may hold the base alone, or nothing: look from the middle outwards
                whole = map(float, range(math.ceil(low), math.floor(high) + 1))
                lams = sorted(whole, key=lambda lam: abs(lam - (low + high) / 2))
                misses = 1 - len(pool)  # begin with the first of them
                if len(pool) >= enough or all(self._reach(lam) <= spent for lam in lams):
                    break
            lam = lams[(len(pool) - 1 + misses) % len(lams)]
            if self._reach(lam) <= spent:  # to find that out again would take thousands of draws
                misses += 1
                continue
            try:
                new = self.sample(lam, 1, seed=seed + 1000 * len(pool) + misses, exclude=keys)[0]
            except InputError:
                misses += 1  # nothing left at this lam (only the base shares all edges): go to the next one
                spent |= self._reach(lam)
                continue
            pool.append(new)
            keys.add(self.structure.key(new.architecture))
        if len(pool) < enough:
            raise InputError("candidates", n, f"at most {len(pool)}: no more different ones in lam_range")
        return pool

    def _reach(self, lam: float) -> set[int]:
        """Numbers of shared edges that will do at ``lam``; all of them are alike where the dial is no count."""
        if not self.counts_edges:
            return {0}
        return set(range(math.ceil(lam - 0.5), math.floor(lam + 0.5) + 1))

    def _candidate(self, lam: float | None, source: str, architecture: Sample) -> Candidate:
        return Candidate(lam, self.structure.shared_edges(self.base, architecture), source, architecture)

    def save(self, directory: Path) -> None:
        """Write ``base.json`` and ``hypernetwork.safetensors``."""
        network = self.hypernetwork
        tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
        about = {"low": network.low, "high": network.high, "counts_edges": self.counts_edges, "n_edges": self.n_edges}
        write_tensors(directory / "hypernetwork.safetensors", tensors, {"nni_hypens": json.dumps(about)})
        write_json(directory / "base.json", self.base)

    @classmethod
    def load(
        cls, directory: Path, structure: EdgeStructure, accepts: Callable[[Sample], bool] | None = None
    ) -> ArchitectureSampler:
        """Read what :meth:`save` wrote; ``accepts`` is not in it.

        Raises:
            InputError: A file is missing or broken, or belongs to another space.
        """
        base = load_sample(directory / "base.json", structure.table, "search/base.json")
        path = directory / "hypernetwork.safetensors"
        layout = ChoiceLayout(structure.table)
        wanted = (layout.n_labels, layout.n_options)
        try:
            tensors, about = load_file(path), _metadata(path)
            got, n_edges = tuple(tensors["values"].shape[1:]), about["n_edges"]
            if got != wanted or n_edges != structure.n_edges:
                found = f"logits of shape {got} for {n_edges} edges"
                raise InputError(str(path), found, f"{wanted} for {structure.n_edges}: it belongs to another space")
            network = Hypernetwork(*wanted, about["low"], about["high"], n_pivots=tensors["values"].shape[0])
            network.load_state_dict(tensors)
            return cls(structure, network, base, about["counts_edges"], accepts)
        except InputError:
            raise
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise InputError(str(path), type(error).__name__, f"a hypernetwork saved by nni_hypens ({error})") from None


def _metadata(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        found: dict[str, Any] = json.loads((file.metadata() or {})["nni_hypens"])
        return found
