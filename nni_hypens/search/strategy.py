"""EdgeNES: the one-shot strategy that searches a hypernetwork of architectures around one base."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import nni.nas.strategy  # noqa: F401  # before nni.nas.oneshot: see nni_hypens/_nni.py
import torch
import torch.nn as nn
from nni.nas.nn.pytorch import ModelSpace
from nni.nas.oneshot.pytorch.profiler import ExpectationProfilerPenalty
from nni.nas.space import RawFormatModelSpace
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.rank_zero import rank_zero_only  # type: ignore[attr-defined]

from nni_hypens.errors import InputError
from nni_hypens.search.hooks import all_hooks, check_space, run_hook
from nni_hypens.search.inherit import Inheritance, InheritedModel
from nni_hypens.search.module import EdgeNESModule
from nni_hypens.search.path_weights import WEIGHTS_KEY, PathWeights
from nni_hypens.search.penalty import Penalty
from nni_hypens.search.regularizers import Diversity
from nni_hypens.search.sampler import ArchitectureSampler, Candidate
from nni_hypens.search.settings import SearchKeywords, SearchSettings
from nni_hypens.search.shared_edges import SharedEdges
from nni_hypens.search.supermodules import WeightedPolicy
from nni_hypens.search.supernet import Supernet
from nni_hypens.search.trainer import LightningSearch
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.build import fresh
from nni_hypens.space.choices import load_sample
from nni_hypens.space.cost import Budget, budget_for, check_limits
from nni_hypens.space.coverage import covering_architectures
from nni_hypens.utils.checks import brief
from nni_hypens.utils.seeds import Purpose, derive_seed
from nni_hypens.utils.tensors import load_weights, write_tensors

if TYPE_CHECKING:
    from typing_extensions import Unpack


class EdgeNES(LightningSearch):
    """Search one hypernetwork that gives an architecture for each number of edges shared with a base.

    Babkin, Bakhteev et al., "Differentiable algorithm for searching ensembles of deep learning models with diversity
    control" (2023, 2024). EdgeNES differs in the interpolation (theirs jumps at the pivots), samples one path per step
    instead of running every operation, and warms up on uniform paths before architecture steps.

    ``lam`` is the requested number of shared edges. The range of ``lam`` is called the dial.

    Args:
        base: The base architecture: an NNI sample, the path of a JSON file, or None to search it first in the same run.
        diversity: The regulariser: `SharedEdges` (default), `JensenShannon`, or your own `Diversity`.
        penalty: As for NNI's DARTS: an ``ExpectationProfilerPenalty``, or a dict of its arguments. Each architecture
            step adds it to the loss, for the expected cost under the hypernetwork's probabilities at lam.
        max_params: Largest number of parameters of the base and of every sampled architecture.
        max_flops: Largest number of FLOPs for one image, where a multiply-add counts as two.
        input_shape: Shape of one example, such as (channels, height, width), for ``max_flops``.
        supernet: Initial weights of the supernet, a safetensors file written by `save_supernet`.
        checkpoint_dir: Folder for a checkpoint after each epoch. A search that finds a checkpoint there continues from
            it, with the same result as a search that was never interrupted.
        log_probs: Whether to log ``prob/...``, the probability of each option, after each epoch. None to log if the
            trainer has a logger.
        mutation_hooks: Extra hooks, as for any one-shot strategy of NNI.

    Keyword Args:
        pivots: Pivots K of the hypernetwork, at least 2; 5 by default.
        epsilon: The search draws lam from U[-epsilon, n_edges + epsilon]; 0.2 by default.
        architecture_lr: Adam's learning rate for the logits and the hypernetwork; 0.03 by default.
        path_temperature: Temperature of the straight-through weights, or (start, end) over each phase; (1.0, 0.3) by
            default.
        warmup_epochs: Epochs of uniform sampling; a fifth of ``max_epochs`` by default.
        base_epochs: Epochs of the base search if ``base`` is None; three tenths of ``max_epochs`` by default. With 0
            the base is chosen among uniform draws only.
        base_draws: Architectures compared on the supernet when the base is chosen; 32 by default.
        regularizer_samples: Values of lam that the regulariser is averaged over in each step; 64 by default.
        regularizer_steps: Steps of the hypernetwork on the regulariser only, after each architecture step; 4 by
            default. They need no images. With 0, a space of 16 edges needs several times as many epochs before its
            dial works.
        gradient_clip_val: Maximum norm of the gradient of the weights, or None for no clipping; 5.0 by default.
        seed: Seed of all random draws; 0 by default.
        paths: Paths that are run and averaged in each half of a step: a whole number (1 by default), or ``"all"`` for
            the mixture of every option of every choice, as in DARTS and the papers' code (for comparison; warm-up runs
            one path).
        lam: Search only at this number of shared edges, 0..n_edges; the result is ``sampler.mode(lam)``. None, the
            default, for the whole dial.

    Lightning can distribute the search (``devices``, ``strategy="ddp_find_unused_parameters_true"``); lam and paths
    are the same on every rank. ``precision`` may be 32, 64 or bf16-mixed.

    Raises:
        InputError: An argument out of its range.
        TypeError: An unknown argument.

    Examples:
        >>> from search_spaces import OneCell
        >>> strategy = EdgeNES(diversity=SharedEdges(weight=(0.3, 3.0)), paths=2, seed=1)
        >>> supernet = strategy.mutate_model(OneCell(channels=2, in_channels=1))
        >>> strategy.n_edges
        4

        A search is an NNI experiment; afterwards the strategy gives as many architectures as you want::

            NasExperiment(OneCell(channels=16), Classification(...), strategy).run()
            strategy.sample(lam=2.0, n=4)
    """

    def __init__(
        self,
        base: Sample | str | Path | None = None,
        diversity: Diversity | None = None,
        *,
        penalty: dict[str, Any] | ExpectationProfilerPenalty | None = None,
        max_params: float | None = None,
        max_flops: float | None = None,
        input_shape: Sequence[int] | None = None,
        supernet: str | Path | None = None,
        checkpoint_dir: str | Path | None = None,
        log_probs: bool | None = None,
        mutation_hooks: list[Callable[..., Any]] | None = None,
        **settings: Unpack[SearchKeywords],
    ) -> None:
        super().__init__(checkpoint_dir, log_probs, mutation_hooks)
        self.settings = SearchSettings.from_keywords(settings)
        if diversity is not None and (isinstance(diversity, type) or not isinstance(diversity, Diversity)):
            raise InputError("diversity", repr(diversity), "an instance such as SharedEdges() or JensenShannon()")
        check_limits(max_params, max_flops, input_shape)
        self.base = base
        self.diversity = diversity or SharedEdges()
        self.penalty = None if penalty is None else Penalty(penalty)
        self.limits: dict[str, Any] = {"max_params": max_params, "max_flops": max_flops, "input_shape": input_shape}
        self.supernet_file = None if supernet is None else Path(supernet)
        self.budget: Budget | None = None
        self._path_weights = PathWeights()
        self._structure: EdgeStructure | None = None
        self._supernet: Supernet | None = None
        self._inheritance: Inheritance | None = None
        self._covering: list[Sample] = []

    def extra_repr(self) -> str:
        """What NNI puts in brackets: the regulariser, what differs from the defaults, and edges once they are known."""
        default = SearchSettings()
        parts = {} if self.base is None else {"base": brief(self.base)}
        parts["diversity"] = type(self.diversity).__name__
        for entry in fields(SearchSettings):
            value = getattr(self.settings, entry.name)
            if entry.init and value != getattr(default, entry.name):
                parts[entry.name] = repr(value)
        parts |= {name: repr(value) for name, value in self.limits.items() if value is not None}
        if self._structure is not None:
            parts["n_edges"] = str(self.n_edges)
        return ", ".join(f"{name}={text}" for name, text in parts.items())

    # ---- NNI's hooks --------------------------------------------------------------------------------------------

    def default_mutation_hooks(self) -> list[Callable[..., Any]]:
        """Hooks that replace every primitive by its path-sampling module with straight-through weights."""
        return all_hooks()

    def run_hook(self, hook: Callable[..., Any], name: str, module: nn.Module, memo: dict[str, Any]) -> Any:
        memo[WEIGHTS_KEY] = self._path_weights
        return run_hook(hook, name, module, memo, {"mixed_op_sampling": WeightedPolicy})

    def mutate_model(self, model: ModelSpace) -> ModelSpace:
        """Turn the space into the supernet, in place, after reading its edges."""
        if not isinstance(model, ModelSpace):
            raise InputError("space", type(model).__name__, "an nni.nas.nn.pytorch.ModelSpace")
        check_space(model)
        self._structure = EdgeStructure.from_space(model)
        if isinstance(self.base, str | Path):
            self.base = load_sample(self.base, self._structure.table)
        elif self.base is not None:
            self.base = self._structure.table.validate(self.base)
        self._inheritance = Inheritance(model)
        self._covering = covering_architectures(model, self._structure.table)
        self.budget = budget_for(model, **self.limits)
        self._check_base()
        if self.settings.lam is not None and self.settings.lam > self._structure.n_edges:
            expected = f"a number in 0..{self._structure.n_edges}, the edges of this space, or None"
            raise InputError("lam", repr(self.settings.lam), expected)
        with torch.random.fork_rng(devices=[]):  # NNI builds cells again, with new weights
            torch.manual_seed(derive_seed(self.settings.seed, Purpose.MUTATED_WEIGHTS))
            mutated = super().mutate_model(model)
        self._supernet = Supernet(mutated, self._structure.table, self._path_weights)
        self._inheritance.supernet = mutated
        if self.supernet_file is not None:
            load_weights(mutated, self.supernet_file, "supernet")
        return mutated

    def _check_base(self) -> None:
        """Refuse a given base that exceeds the budget, because every pool contains the base."""
        assert not isinstance(self.base, str | Path)
        excess = None if self.base is None or self.budget is None else self.budget.excess(self.base)
        if excess is not None:
            name, cost, limit = excess
            raise InputError("base", f"an architecture of {cost:,} with {name}={limit:,}", "one within the budget")

    def configure_oneshot_module(self, training_module: LightningModule) -> EdgeNESModule:
        assert self._supernet is not None and self._structure is not None  # NNI mutates the model first
        return EdgeNESModule(
            training_module,
            self._supernet,
            self._structure,
            self.diversity,
            self.settings,
            cast("Sample | None", self.base),
            penalty=self.penalty,
            accepts=self.budget,
            covering=self._covering,
        )

    def list_models(self, sort: bool = True, limit: int | None = 1) -> Iterator[RawFormatModelSpace]:
        """``limit`` different architectures: the base, then candidates from most to fewest requested shared edges.

        Their ``executable_model()`` is a stand-alone network with the supernet's weights.
        """
        for candidate in self.pool(limit or 1):
            assert self._inheritance is not None
            frozen = self.model_space.freeze(candidate.architecture)
            yield InheritedModel(frozen.model_space, frozen.evaluator, candidate.architecture, self._inheritance)

    def save_supernet(self, path: str | Path) -> None:
        """Write the supernet's weights, which a later run can start from (``EdgeNES(supernet=path)``).

        Args:
            path: A safetensors file, written atomically. In a distributed search rank zero writes it.
        """
        if rank_zero_only.rank:  # type: ignore[attr-defined]
            return
        weights = self.trained_supernet.model.state_dict()
        write_tensors(Path(path), {name: value.cpu().contiguous() for name, value in weights.items()})

    # ---- after the search ---------------------------------------------------------------------------------------

    @property
    def structure(self) -> EdgeStructure:
        """Edges of the space, available once the strategy has seen it."""
        if self._structure is None:
            raise RuntimeError("the strategy has not seen a model space yet: run the experiment first")
        return self._structure

    @property
    def n_edges(self) -> int:
        """Number of edges of an architecture, the upper end of the dial."""
        return self.structure.n_edges

    @property
    def base_architecture(self) -> Sample:
        """The given or searched base."""
        return self.sampler.base

    @property
    def history(self) -> list[dict[str, Any]]:
        """One row per epoch of the search."""
        rows: list[dict[str, Any]] = self.oneshot_module.history
        return rows

    @property
    def sampler(self) -> ArchitectureSampler:
        """The trained hypernetwork as a source of architectures."""
        sampler: ArchitectureSampler = self.oneshot_module.sampler()
        return sampler

    @property
    def trained_supernet(self) -> Supernet:
        """The supernet with its weights."""
        if self._supernet is None:
            raise RuntimeError("the strategy has not seen a model space yet: run the experiment first")
        return self._supernet

    def inherited(self, sample: Sample) -> nn.Module:
        """The stand-alone network of an architecture, with the supernet's weights and buffers on its path.

        Args:
            sample: An architecture of the space, as `sample` gives it.

        Raises:
            InputError: Not an architecture of this space, or its network has layers that the supernet lacks.
        """
        if self._inheritance is None:
            raise RuntimeError("the strategy has not seen a model space yet: run the experiment first")
        return self._inheritance.network(self.structure.table.validate(sample, "sample"))

    def sample(self, lam: float, n: int = 1, seed: int = 0) -> list[Sample]:
        """``n`` different architectures that share about ``lam`` edges with the base (within half an edge).

        Args:
            lam: Requested shared edges, 0..n_edges.
            n: Number of architectures.
            seed: Seed of the draws.

        Raises:
            InputError: lam out of range, or fewer than ``n`` such architectures exist.
        """
        return [candidate.architecture for candidate in self.sampler.sample(lam, n, seed)]

    def pool(self, n: int, lam_range: tuple[float, float] | None = None, seed: int | None = None) -> list[Candidate]:
        """The base and ``n - 1`` different candidates, lam spread over ``lam_range`` (all of it by default)."""
        return self.sampler.pool(n, lam_range, self.settings.seed if seed is None else seed)


def trained_strategy(space: ModelSpace, folder: Path, arguments: Mapping[str, Any]) -> EdgeNES:
    """A strategy whose supernet has the weights of a finished search.

    Args:
        space: The space of the search.
        folder: The ``search`` folder of its run.
        arguments: Those of the search's strategy; its mutation hooks decide what the supernet is.
    """
    hooks = {name: value for name, value in arguments.items() if name == "mutation_hooks"}
    strategy = EdgeNES(supernet=folder / "supernet.safetensors", **hooks)
    strategy.mutate_model(fresh(space))
    return strategy
