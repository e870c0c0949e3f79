"""EdgeNES: the one-shot strategy that searches a hypernetwork of architectures around one base."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from nni.nas.evaluator.pytorch import Lightning
from nni.nas.nn.pytorch import ModelSpace
from nni.nas.oneshot.pytorch.strategy import OneShotStrategy
from nni.nas.oneshot.pytorch.supermodule.sampling import MixedOpPathSamplingPolicy
from nni.nas.space import RawFormatModelSpace
from pytorch_lightning import LightningModule

from nni_hypens.architecture import EdgeStructure, Sample, load_sample
from nni_hypens.diversity import Annealed, Diversity, SharedEdges, is_number
from nni_hypens.errors import InputError
from nni_hypens.sampling import ArchitectureSampler, Candidate
from nni_hypens.search_module import EdgeNESModule, SearchSettings
from nni_hypens.supernet import WEIGHTS_KEY, PathWeights, Supernet, mutation_hooks

_LOADERS = ("train_dataloader", "val_dataloader")


class EdgeNES(OneShotStrategy):
    """Search one hypernetwork that gives an architecture for each number of edges shared with a base.

    Babkin, Bakhteev et al., "Differentiable algorithm for searching ensembles of deep learning models with diversity
    control" (2023, 2024). We depart from it in the interpolation (theirs jumps at the pivots), in sampling one path per
    step instead of running every operation, and in warming up by uniform paths before architecture steps.

    Args:
        base: The base architecture: None to search it first in the same run, an NNI sample, or the path of a JSON file.
        diversity: The regulariser, :class:`SharedEdges` (default) or :class:`JensenShannon`.
        pivots: Pivots K of the hypernetwork, at least 2.
        epsilon: lam is drawn from U[-epsilon, n_edges + epsilon] in the search.
        architecture_lr: Learning rate of Adam for logits and hypernetwork.
        path_temperature: Temperature of the straight-through weights, or (start, end) over each phase.
        warmup_epochs: Epochs of uniform sampling; None for a fifth of ``max_epochs``.
        base_epochs: Epochs of the base search where ``base`` is None; None for three tenths of ``max_epochs``. With 0
            the base is chosen among uniform draws alone.
        base_draws: Architectures compared on the supernet when the base is chosen.
        regularizer_samples: Values of lam that the regulariser is averaged over in each step.
        regularizer_steps: Steps of the hypernetwork on the regulariser alone after each architecture step. They need
            no image; with 0 a space of 16 edges needs several times as many epochs until its dial obeys.
        gradient_clip_val: Norm to which the gradient of the weights is clipped; None for no clipping.
        seed: Seed of everything that is drawn.
        mutation_hooks: Extra hooks, as for any one-shot strategy of NNI.

    Raises:
        InputError: An argument out of its range.
    """

    def __init__(
        self,
        base: Sample | str | Path | None = None,
        diversity: Diversity | None = None,
        *,
        pivots: int = 5,
        epsilon: float = 0.2,
        architecture_lr: float = 0.03,
        path_temperature: float | Sequence[float] = (1.0, 0.3),
        warmup_epochs: int | None = None,
        base_epochs: int | None = None,
        base_draws: int = 32,
        regularizer_samples: int = 64,
        regularizer_steps: int = 4,
        gradient_clip_val: float | None = 5.0,
        seed: int = 0,
        mutation_hooks: list[Callable[..., Any]] | None = None,
    ) -> None:
        super().__init__(mutation_hooks=mutation_hooks)
        for name, value, least in (
            ("pivots", pivots, 2),
            ("base_draws", base_draws, 1),
            ("seed", seed, 0),
            ("regularizer_samples", regularizer_samples, 1),
            ("regularizer_steps", regularizer_steps, 0),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(name, repr(value), f"a whole number of at least {least}")
        for name, value in (("warmup_epochs", warmup_epochs), ("base_epochs", base_epochs)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
                raise InputError(name, repr(value), "a whole number of at least 0, or None")
        for name, value in (("epsilon", epsilon), ("architecture_lr", architecture_lr)):
            if not is_number(value) or value <= 0:
                raise InputError(name, repr(value), "a number above 0")
        if gradient_clip_val is not None and (not is_number(gradient_clip_val) or gradient_clip_val <= 0):
            raise InputError("gradient_clip_val", repr(gradient_clip_val), "a number above 0, or None")
        self.base = base
        self.diversity = diversity or SharedEdges()
        self.settings = SearchSettings(
            pivots,
            epsilon,
            architecture_lr,
            Annealed(path_temperature, "path_temperature", positive=True),
            warmup_epochs,
            base_epochs,
            base_draws,
            regularizer_samples=regularizer_samples,
            regularizer_steps=regularizer_steps,
            gradient_clip_val=gradient_clip_val,
            seed=seed,
        )
        self._path_weights = PathWeights()
        self._structure: EdgeStructure | None = None
        self._supernet: Supernet | None = None
        self._val_batches: Callable[[], Any] | None = None
        self._patched: dict[str, Any] = {}

    # ---- NNI's hooks --------------------------------------------------------------------------------------------

    def default_mutation_hooks(self) -> list[Callable[..., Any]]:
        """Every primitive becomes its path-sampling module with straight-through weights."""
        return mutation_hooks()

    def run_hook(self, hook: Callable[..., Any], name: str, module: nn.Module, memo: dict[str, Any]) -> Any:
        memo[WEIGHTS_KEY] = self._path_weights
        return hook(module, name, memo, {"mixed_op_sampling": MixedOpPathSamplingPolicy})

    def mutate_model(self, model: ModelSpace) -> ModelSpace:
        """Turn the space into the supernet, in place; its edges are read before."""
        if not isinstance(model, ModelSpace):
            raise InputError("space", type(model).__name__, "an nni.nas.nn.pytorch.ModelSpace")
        self._structure = EdgeStructure.from_space(model)
        if isinstance(self.base, str | Path):
            self.base = load_sample(self.base, self._structure.table)
        elif self.base is not None:
            self.base = self._structure.table.validate(self.base)
        with torch.random.fork_rng(devices=[]):  # NNI builds cells anew, with new weights
            torch.manual_seed(self.settings.seed)
            mutated = super().mutate_model(model)
        self._supernet = Supernet(mutated, self._structure.table, self._path_weights)
        return mutated

    def configure_oneshot_module(self, training_module: LightningModule) -> EdgeNESModule:
        assert self._supernet is not None and self._structure is not None  # NNI mutates the model first
        return EdgeNESModule(training_module, self._supernet, self._structure, self.diversity, self.settings, self.base)

    def mutate_evaluator(self, evaluator: Lightning) -> Lightning:
        """Wrap the user's evaluator; it must be one of NNI's Lightning evaluators, with validation data."""
        if not isinstance(evaluator, Lightning):
            raise InputError("evaluator", type(evaluator).__name__, "an nni.nas.evaluator.pytorch.Lightning evaluator")
        if evaluator.datamodule is not None:
            self._patched = {name: vars(evaluator.datamodule).get(name) for name in _LOADERS}
        mutated = super().mutate_evaluator(evaluator)
        mutated.module.val_batches = self._validation_batches
        return mutated

    def _run(self) -> None:
        """Run the search; then the user's data module gets back the loaders that NNI replaced on it."""
        try:
            super()._run()
        finally:
            datamodule = self._mutated_model_space.evaluator.datamodule
            for name, own in self._patched.items():
                if own is None:
                    delattr(datamodule, name)
                else:
                    setattr(datamodule, name, own)
            self._patched = {}

    def _validation_batches(self) -> Any:
        """The user's validation loader; with a data module Lightning asks for it only when the search begins."""
        if self._val_batches is None:
            raise RuntimeError("no validation data: Lightning has not asked for the data loaders yet")
        return self._val_batches()

    def train_dataloader(self, train_dataloader_fn: Callable[[], Any], val_dataloader_fn: Callable[[], Any]) -> Any:
        """Batches ``{"train", "val"}``, as NNI's DARTS has them."""
        self._val_batches = val_dataloader_fn
        return {"train": train_dataloader_fn(), "val": val_dataloader_fn()}

    def val_dataloader(self, train_dataloader_fn: Callable[[], Any], val_dataloader_fn: Callable[[], Any]) -> Any:
        """None: validation data serves the architecture steps."""
        return None

    def list_models(self, sort: bool = True, limit: int | None = 1) -> Iterator[RawFormatModelSpace]:
        """``limit`` different architectures: the base, then candidates from most to fewest shared edges requested."""
        for candidate in self.pool(limit or 1):
            yield self.model_space.freeze(candidate.architecture)

    # ---- after the search ---------------------------------------------------------------------------------------

    @property
    def structure(self) -> EdgeStructure:
        """Edges of the space (available once the strategy has seen it)."""
        if self._structure is None:
            raise RuntimeError("the strategy has not seen a model space yet: run the experiment first")
        return self._structure

    @property
    def n_edges(self) -> int:
        """Number of edges of an architecture, the upper end of the dial."""
        return self.structure.n_edges

    @property
    def base_architecture(self) -> Sample:
        """The base, as given or as searched."""
        return self.sampler.base

    @property
    def history(self) -> list[dict[str, Any]]:
        """One row per epoch of the search."""
        return self.oneshot_module.history

    @property
    def sampler(self) -> ArchitectureSampler:
        """The trained hypernetwork as a source of architectures."""
        return self.oneshot_module.sampler()

    @property
    def trained_supernet(self) -> Supernet:
        """The supernet with its weights."""
        if self._supernet is None:
            raise RuntimeError("the strategy has not seen a model space yet: run the experiment first")
        return self._supernet

    def sample(self, lam: float, n: int = 1, seed: int = 0) -> list[Sample]:
        """``n`` different architectures that share about ``lam`` edges with the base (within half an edge).

        Args:
            lam: Requested shared edges, 0..n_edges.
            n: How many.
            seed: Seed of the draws.

        Raises:
            InputError: lam out of range, or more asked for than exist.
        """
        return [candidate.architecture for candidate in self.sampler.sample(lam, n, seed)]

    def pool(self, n: int, lam_range: tuple[float, float] | None = None, seed: int | None = None) -> list[Candidate]:
        """The base and ``n - 1`` different candidates, lam spread over ``lam_range`` (all of it by default)."""
        return self.sampler.pool(n, lam_range, self.settings.seed if seed is None else seed)
