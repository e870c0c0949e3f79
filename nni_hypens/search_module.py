"""The Lightning module of the search: alternating first-order bilevel steps on sampled paths.

Three phases follow one another inside one ``Trainer.fit``:

* ``warmup``: paths drawn uniformly, weights only. Architecture gradients on untrained weights collapse to pooling and
  skip.
* ``base`` (only where no base is given): bilevel steps on one table of logits; at its end the base is the architecture
  with the lowest validation loss on the supernet among the mode, draws from the logits and uniform draws.
* ``hypernetwork``: bilevel steps on the hypernetwork, ``min_a E_lam [L_val(w, alpha(lam)) + c R(lam, base,
  alpha(lam))]``.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torchmetrics
from nni.nas.oneshot.pytorch.base_lightning import BaseOneShotLightningModule
from torch import nn

from nni_hypens._compat import restart_epoch_data
from nni_hypens.architecture import EdgeStructure, Sample
from nni_hypens.diversity import Annealed, ChoiceLayout, Diversity, draw_paths
from nni_hypens.errors import InputError
from nni_hypens.hypernetwork import Hypernetwork
from nni_hypens.sampling import ArchitectureSampler, best_by_loss
from nni_hypens.supernet import Supernet, batch_statistics

WARMUP, BASE, HYPERNETWORK = "warmup", "base", "hypernetwork"
HISTORY_COLUMNS = (
    "epoch",
    "step",
    "phase",
    "loss",
    "accuracy",
    "val_loss",
    "regularizer",
    "weight",
    "temperature",
    "dial_error",
    "seconds",
)


@dataclass
class SearchSettings:
    """Numbers of the search; see :class:`nni_hypens.search.EdgeNES` for their meaning."""

    pivots: int = 5
    epsilon: float = 0.2
    architecture_lr: float = 0.03
    path_temperature: Annealed = field(default_factory=lambda: Annealed((1.0, 0.3), "path_temperature", positive=True))
    warmup_epochs: int | None = None
    base_epochs: int | None = None
    base_draws: int = 32
    base_batches: int = 8
    regularizer_samples: int = 64
    regularizer_steps: int = 4
    gradient_clip_val: float | None = 5.0
    seed: int = 0


@dataclass(frozen=True)
class Schedule:
    """First epoch of each phase: warm-up from 0, base search from ``base``, hypernetwork from ``hypernetwork``, to
    ``end``."""

    base: int
    hypernetwork: int
    end: int

    @classmethod
    def plan(cls, end: int, warmup: int | None, base: int | None, base_given: bool) -> Schedule:
        """Phases for ``end`` epochs. By default a fifth warms up and three tenths search the base.

        Raises:
            InputError: No epoch is left for the hypernetwork.
        """
        if end is None or end < 1:
            raise InputError("max_epochs", end, "a whole number of epochs in the evaluator's trainer")
        warmup = max(1, round(0.2 * end)) if warmup is None else warmup
        base = 0 if base_given else (max(1, round(0.3 * end)) if base is None else base)
        if warmup + base >= end:
            raise InputError(
                "warmup_epochs + base_epochs",
                f"{warmup} + {base} of max_epochs={end}",
                "fewer than max_epochs, so that the hypernetwork is trained as well",
            )
        return cls(warmup, warmup + base, end)

    def phase(self, epoch: int) -> str:
        """Phase of an epoch."""
        return WARMUP if epoch < self.base else BASE if epoch < self.hypernetwork else HYPERNETWORK

    def progress(self, epoch: float) -> float:
        """How far into its phase an epoch is, 0..1."""
        start, end = {
            WARMUP: (0, self.base),
            BASE: (self.base, self.hypernetwork),
            HYPERNETWORK: (self.hypernetwork, self.end),
        }[self.phase(int(epoch))]
        return (epoch - start) / max(end - start - 1, 1)


class EdgeNESModule(BaseOneShotLightningModule):
    """Search module that :class:`nni_hypens.search.EdgeNES` wraps around the user's Lightning module.

    Args:
        training_module: The user's module; its ``training_step`` gives the loss of both levels.
        supernet: The mutated space.
        structure: Its edges.
        diversity: The regulariser.
        settings: Numbers of the search.
        base: The base architecture, or None to search it.
    """

    def __init__(
        self,
        training_module: pl.LightningModule,
        supernet: Supernet,
        structure: EdgeStructure,
        diversity: Diversity,
        settings: SearchSettings,
        base: Sample | None = None,
    ) -> None:
        super().__init__(training_module)
        self.supernet, self.structure, self.diversity, self.settings = supernet, structure, diversity, settings
        self.layout = ChoiceLayout(structure.table)
        self.base = base
        self.base_given = base is not None
        self.schedule: Schedule | None = None
        self.val_batches: Callable[[], Any] | None = None
        self.history: list[dict[str, Any]] = []
        self.base_ranking: list[dict[str, Any]] = []
        generator = torch.Generator().manual_seed(settings.seed)
        shape = (self.layout.n_labels, self.layout.n_options)
        self.base_logits = nn.Parameter(1e-3 * torch.randn(shape, generator=generator))
        self.hypernetwork = Hypernetwork(
            *shape, -settings.epsilon, structure.n_edges + settings.epsilon, settings.pivots, generator=generator
        )
        self._sums: dict[str, list[torch.Tensor]] = {}
        self._output: torch.Tensor | None = None
        self._epoch_start = 0.0

    # ---- set-up -------------------------------------------------------------------------------------------------

    def configure_architecture_optimizers(self) -> torch.optim.Optimizer:
        parameters = [self.base_logits, *self.hypernetwork.parameters()]
        return torch.optim.Adam(parameters, self.settings.architecture_lr, betas=(0.5, 0.999))

    def on_fit_start(self) -> None:
        trainer = self.trainer
        if trainer.world_size != 1:
            raise InputError("devices", f"{trainer.world_size} processes", "one process")
        self.schedule = Schedule.plan(
            trainer.max_epochs, self.settings.warmup_epochs, self.settings.base_epochs, self.base_given
        )
        self._weights = [parameter for parameter in self.training_module.parameters() if parameter.requires_grad]
        self._probe = self.training_module.model.register_forward_hook(self._remember_output)
        return super().on_fit_start()

    def on_fit_end(self) -> None:
        # the user's module would report a final metric to NNI here, but a search has no single result
        self._probe.remove()

    def _remember_output(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        self._output = output.detach() if isinstance(output, torch.Tensor) else None

    def _generator(self, batch_idx: int, stream: int) -> torch.Generator:
        """Randomness of one step as a function of (seed, epoch, batch): nothing to save, and the same on every rank."""
        words = np.random.SeedSequence([self.settings.seed, self.current_epoch, batch_idx, stream]).generate_state(2)
        return torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)

    def seed_epoch(self, epoch: int) -> None:
        """Seed torch, numpy and python by (seed, epoch), so that an epoch is the same whether or not the run was
        resumed."""
        state = int(np.random.SeedSequence([self.settings.seed, epoch]).generate_state(1)[0])
        torch.manual_seed(state)
        np.random.seed(state)
        random.seed(state)

    # ---- epochs -------------------------------------------------------------------------------------------------

    def on_train_epoch_start(self) -> None:
        epoch = self.current_epoch
        self._epoch_start = time.perf_counter()
        self._sums = {}
        self.seed_epoch(epoch)
        if self.schedule.phase(epoch) == HYPERNETWORK:
            if self.base is None:
                self.base = self._choose_base()
            self.diversity.bind(self.structure, self._device_layout(), self.base)
            self.seed_epoch(epoch)
        restart_epoch_data(self.trainer)
        return super().on_train_epoch_start()

    def on_train_epoch_end(self) -> None:
        means = {name: torch.stack(values).mean().item() for name, values in self._sums.items()}
        phase = self.schedule.phase(self.current_epoch)
        progress = self.schedule.progress(self.current_epoch)
        searching = phase == HYPERNETWORK
        row = {
            "epoch": self.current_epoch,
            "step": self.global_step,
            "phase": phase,
            "weight": self.diversity.weight.at(progress) if searching else None,
            "temperature": self.settings.path_temperature.at(progress) if phase != WARMUP else None,
            "dial_error": self.dial_error() if searching and self.diversity.counts_edges else None,
            "seconds": time.perf_counter() - self._epoch_start,
            **{name: means.get(name) for name in ("loss", "accuracy", "val_loss", "regularizer")},
        }
        self.history.append({column: row[column] for column in HISTORY_COLUMNS})
        if row["loss"] != row["loss"] or (row["val_loss"] is not None and row["val_loss"] != row["val_loss"]):
            raise InputError(
                "loss", f"NaN in epoch {self.current_epoch} of the search", "a finite loss; lower the learning rate"
            )
        shown = ("loss", "accuracy", "val_loss", "regularizer", "weight", "temperature", "dial_error")
        self.log_dict({f"search/{name}": float(row[name]) for name in shown if row[name] is not None})
        return super().on_train_epoch_end()

    def dial_error(self, steps: int = 4) -> float:
        """Mean absolute difference between lam and the shared edges of the mode, over lam = 0..n_edges by
        1/``steps``."""
        lams = torch.arange(0, self.structure.n_edges * steps + 1) / steps
        found = self.sampler().dial(lams.tolist())
        return float((lams - torch.tensor(found)).abs().mean())

    def sampler(self) -> ArchitectureSampler:
        """Sampler over the hypernetwork as it is now."""
        if self.base is None:
            raise RuntimeError("the base architecture is not known yet: run the search first")
        return ArchitectureSampler(self.structure, self.hypernetwork, self.base, self.diversity.counts_edges)

    def _device_layout(self) -> ChoiceLayout:
        return ChoiceLayout(self.structure.table, self.device)

    # ---- steps --------------------------------------------------------------------------------------------------

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, torch.Tensor]:
        phase = self.schedule.phase(self.current_epoch)
        progress = self.schedule.progress(self.current_epoch)
        if phase != WARMUP:
            self._architecture_step(batch["val"], batch_idx, phase, progress)
        with torch.no_grad():
            logits, _ = self._logits(phase, self._generator(batch_idx, 0))
            draw = draw_paths(logits.cpu(), self.layout, 1.0, self._generator(batch_idx, 1))
        self.supernet.set_draw(draw, gradient=False)
        loss = _loss_of(self.training_module.training_step(batch["train"], 2 * batch_idx + 1))
        self.advance_optimization(loss, batch_idx, self.settings.gradient_clip_val)
        self.advance_lr_schedulers(batch_idx)
        self._note("loss", loss)
        return {"loss": loss.detach()}

    def _logits(self, phase: str, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits ``L x M`` of this step, and the lam they are for."""
        if phase == WARMUP:
            return torch.zeros_like(self.base_logits), None
        if phase == BASE:
            return self.base_logits, None
        lam = self._draw_lam(generator, 1).to(self.device)
        return self.hypernetwork(lam)[0], lam

    def _draw_lam(self, generator: torch.Generator, n: int) -> torch.Tensor:
        """lam ~ U[-eps, n_edges + eps]: without eps the two ends are never learnt (2024 paper, appendix A)."""
        return self.hypernetwork.low + (self.hypernetwork.high - self.hypernetwork.low) * torch.rand(
            n, generator=generator
        )

    def _architecture_step(self, batch: Any, batch_idx: int, phase: str, progress: float) -> None:
        optimizer = self.architecture_optimizers()
        temperature = self.settings.path_temperature.at(progress)
        logits, _ = self._logits(phase, self._generator(batch_idx, 2))
        draw = draw_paths(logits, self._device_layout_cached(), temperature, self._generator(batch_idx, 3))
        self.supernet.set_draw(draw, gradient=True)
        for weight in self._weights:  # the weights stay: their gradients would be a third of this step's cost
            weight.requires_grad_(False)
        try:
            loss = _loss_of(self.training_module.training_step(batch, 2 * batch_idx))
            self._note("val_loss", loss)
            if self._output is not None and isinstance(batch, list | tuple) and len(batch) == 2:
                labels = batch[1]
                if self._output.dim() == 2 and isinstance(labels, torch.Tensor) and labels.dim() == 1:
                    self._note("accuracy", (self._output.argmax(1) == labels).float().mean())
            if phase == HYPERNETWORK:
                regularizer = self._regularizer(batch_idx, progress)
                self._note("regularizer", regularizer)
                loss = loss + self.diversity.weight.at(progress) * regularizer
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        finally:
            for weight in self._weights:
                weight.requires_grad_(True)
            self.supernet.weights.clear()
        if phase == HYPERNETWORK:
            self._regularizer_steps(optimizer, batch_idx, progress)

    def _regularizer_steps(self, optimizer: Any, batch_idx: int, progress: float) -> None:
        """Steps of the hypernetwork on R alone: a few hundred joint steps are too few for a dial of 16 edges, and these
        need no image. They go past Lightning, whose count of steps is of those that see data."""
        inner = getattr(optimizer, "optimizer", optimizer)
        for step in range(self.settings.regularizer_steps):
            inner.zero_grad()
            (self.diversity.weight.at(progress) * self._regularizer(batch_idx, progress, 6 + step)).backward()
            inner.step()

    def _regularizer(self, batch_idx: int, progress: float, stream: int = 4) -> torch.Tensor:
        """R averaged over many lam at once: it needs no image, so a hundred cost less than one step and vary far
        less."""
        generator = self._generator(batch_idx, stream)
        lam = self._draw_lam(generator, self.settings.regularizer_samples).to(self.device)
        temperature = self.diversity.temperature.at(progress)
        return self.diversity(lam, self.hypernetwork(lam), temperature, generator)

    def _device_layout_cached(self) -> ChoiceLayout:
        if self.layout.mask.device != self.device:
            self.layout = self._device_layout()
        return self.layout

    def _note(self, name: str, value: torch.Tensor) -> None:
        """Keep a number of this step; read only at the end of the epoch, so that no step waits for the device."""
        self._sums.setdefault(name, []).append(value.detach())

    # ---- the base -----------------------------------------------------------------------------------------------

    def _choose_base(self) -> Sample:
        """The best of mode, draws and uniform draws by validation loss on the supernet; all losses are kept for the
        report."""
        generator = self._generator(0, 5)
        table, layout = self.structure.table, self.layout
        logits = self.base_logits.detach().cpu()
        searched = self.schedule.hypernetwork > self.schedule.base
        half = max(self.settings.base_draws // 2, 1)
        rows = [draw_paths(logits, layout, 1.0, noise=False).chosen] if searched else []
        if searched:
            rows += list(draw_paths(logits.expand(half, -1, -1), layout, 1.0, generator).chosen)
        uniform = torch.zeros_like(logits).expand(self.settings.base_draws - len(rows) + 1, -1, -1)
        rows += list(draw_paths(uniform, layout, 1.0, generator).chosen)
        samples = {self.structure.key(sample): sample for sample in (table.to_sample(row.tolist()) for row in rows)}
        batches = self._validation_batches()
        with self._silent_module():
            best, _ = best_by_loss(list(samples.values()), lambda sample: self._path_loss(sample, batches))
        return best

    def _validation_batches(self) -> Sequence[Any]:
        if self.val_batches is None:
            raise RuntimeError("no validation data: EdgeNES sets val_batches before the search")
        batches = []
        for batch in self.val_batches():
            batches.append(self.transfer_batch_to_device(batch, self.device, 0))
            if len(batches) >= self.settings.base_batches:
                break
        return batches

    @torch.no_grad()
    def _path_loss(self, sample: Sample, batches: Sequence[Any]) -> float:
        """Mean validation loss of one path with inherited weights, BatchNorm by batch."""
        self.supernet.set_path(sample)
        with batch_statistics(self.training_module):
            losses = [_loss_of(self.training_module.training_step(batch, 0)) for batch in batches]
        loss = torch.stack(losses).mean().item()
        self.base_ranking.append({"architecture": self.structure.describe(sample), "loss": loss})
        return loss

    def _silent_module(self) -> Any:
        return _Silenced(self.training_module)

    # ---- checkpoints --------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["nni_hypens"] = {"base": self.base, "history": self.history, "base_ranking": self.base_ranking}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["nni_hypens"]
        self.base, self.history, self.base_ranking = state["base"], list(state["history"]), list(state["base_ranking"])


class _Silenced:
    """While open, the user's module logs nothing; afterwards its metrics are as new."""

    def __init__(self, module: pl.LightningModule) -> None:
        self.module = module

    def __enter__(self) -> None:
        self.log = self.module.log
        self.module.log = lambda *args, **kwargs: None

    def __exit__(self, *error: Any) -> None:
        self.module.log = self.log
        for metric in self.module.modules():
            if isinstance(metric, torchmetrics.Metric):
                metric.reset()


def _loss_of(output: Any) -> torch.Tensor:
    """The loss in what ``training_step`` returned."""
    return output["loss"] if isinstance(output, dict) else output
