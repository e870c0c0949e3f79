"""The Lightning module of the search: alternating first-order bilevel steps on sampled paths.

A path is one architecture inside the supernet. ``lam`` is the requested number of edges in common with the base; the
range of ``lam`` is called the dial. One ``Trainer.fit`` runs three phases:

* ``warmup``: train the weights on uniformly drawn paths. Architecture gradients on untrained weights collapse to
  pooling and skip connections.
* ``base`` (only if no base is given): bilevel steps on one table of logits. Then the most probable architecture, draws
  from the logits and uniform draws are compared on the supernet. The base is the one with the lowest validation loss.
* ``hypernetwork``: bilevel steps on the hypernetwork ``alpha(lam)``, which gives the logits at ``lam``:
  ``min_a E_lam [L_val(w, alpha(lam)) + c R(lam, base, alpha(lam))]`` with the weights ``w`` of the supernet, the
  parameters ``a`` of the hypernetwork, and the regulariser ``R`` with its weight ``c``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import nni.nas.strategy  # noqa: F401  # before nni.nas.oneshot: see nni_hypens/_nni.py
import pytorch_lightning as pl
import torch
from nni.nas.oneshot.pytorch.base_lightning import BaseOneShotLightningModule
from torch import nn

from nni_hypens._nni import restart_epoch_data
from nni_hypens.search.ahead import LogitsAhead
from nni_hypens.search.base_choice import BASE_BATCHES, Silenced, best_by_loss, draw_base_candidates, loss_of, path_loss
from nni_hypens.search.batches import LeftOver, accuracy_of, join_single
from nni_hypens.search.finite import check_finite, check_means
from nni_hypens.search.first_look import first_look
from nni_hypens.search.hypernetwork import Hypernetwork
from nni_hypens.search.penalty import Penalty
from nni_hypens.search.regularizers import Diversity
from nni_hypens.search.sampler import ArchitectureSampler
from nni_hypens.search.schedule import BASE, HISTORY_COLUMNS, HYPERNETWORK, WARMUP, Schedule
from nni_hypens.search.settings import SearchSettings
from nni_hypens.search.supernet import Supernet
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.draws import ChoiceLayout, PathDraw, draw_paths
from nni_hypens.utils.seeds import Purpose, derive_seed, seed_generators
from nni_hypens.utils.transfer import sent


class EdgeNESModule(BaseOneShotLightningModule):  # type: ignore[misc]
    """Search module that `EdgeNES` wraps around the user's Lightning module.

    Args:
        training_module: The user's module; its ``training_step`` gives the loss of both levels.
        supernet: The mutated space.
        structure: Edges of the space.
        diversity: The regulariser.
        settings: Hyperparameters of the search.
        base: The base architecture, or None to search it.
        penalty: NNI's penalty on the expected FLOPs, parameters or another cost of alpha(lam), added to the loss of
            each architecture step.
        accepts: Whether an architecture may be the base or a candidate; None accepts all.
        covering: Architectures that have every option of every choice; each is tried before the first epoch.
    """

    def __init__(
        self,
        training_module: pl.LightningModule,
        supernet: Supernet,
        structure: EdgeStructure,
        diversity: Diversity,
        settings: SearchSettings,
        base: Sample | None = None,
        penalty: Penalty | None = None,
        accepts: Callable[[Sample], bool] | None = None,
        covering: Sequence[Sample] = (),
    ) -> None:
        super().__init__(training_module)
        self.covering = covering
        self.accepts = accepts
        self.penalty = penalty
        self.supernet, self.structure, self.diversity, self.settings = supernet, structure, diversity, settings
        self.layout = self._layout_there = ChoiceLayout(structure.table)
        self.base = base
        self.base_given = base is not None
        self.schedule: Schedule | None = None
        self.val_batches: Callable[[], Any] | None = None
        self.history: list[dict[str, Any]] = []
        self.base_ranking: list[dict[str, Any]] = []
        generator = torch.Generator().manual_seed(derive_seed(settings.seed, Purpose.ARCHITECTURE_LOGITS))
        shape = (self.layout.n_labels, self.layout.n_options)
        self.base_logits = nn.Parameter(1e-3 * torch.randn(shape, generator=generator))
        self.hypernetwork = Hypernetwork(
            *shape, -settings.epsilon, structure.n_edges + settings.epsilon, settings.pivots, generator=generator
        )
        if settings.lam is not None:  # at a single lam the positions of the pivots need no training
            self.hypernetwork.gaps.requires_grad_(False)
        self.listeners: list[Callable[[EdgeNESModule], None]] = []  # called after each epoch
        self._sums: dict[str, list[torch.Tensor]] = {}
        self._output: torch.Tensor | None = None
        self._left_over = LeftOver()
        self._ahead = LogitsAhead(self._both_logits)
        self._epoch_start = 0.0

    # ---- set-up -------------------------------------------------------------------------------------------------

    def configure_architecture_optimizers(self) -> torch.optim.Optimizer:
        parameters = [self.base_logits, *self.hypernetwork.parameters()]
        return torch.optim.Adam(parameters, self.settings.architecture_lr, betas=(0.5, 0.999))

    def on_fit_start(self) -> Any:
        self.schedule = Schedule.plan(
            self.trainer.max_epochs, self.settings.warmup_epochs, self.settings.base_epochs, self.base_given
        )
        self._weights = [parameter for parameter in self.training_module.parameters() if parameter.requires_grad]
        self._probe = self.training_module.model.register_forward_hook(self._remember_output)
        return super().on_fit_start()

    def on_train_start(self) -> Any:
        first_look(self, self.covering)
        return super().on_train_start()

    def on_fit_end(self) -> None:
        # do not call the user's on_fit_end: it would report a final metric to NNI, but a search has no single result
        self._probe.remove()

    def _remember_output(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        self._output = output.detach() if isinstance(output, torch.Tensor) else None

    def _generator(self, purpose: Purpose, *index: int) -> torch.Generator:
        """Random generator of one step, seeded by (seed, epoch, batch): not in checkpoints, equal on all ranks."""
        return torch.Generator().manual_seed(derive_seed(self.settings.seed, purpose, self.current_epoch, *index))

    def seed_epoch(self, epoch: int) -> None:
        """Seed torch, numpy and python by (seed, epoch), so that an epoch is the same whether or not the run was
        resumed."""
        seed_generators(derive_seed(self.settings.seed, Purpose.SEARCH_EPOCH, epoch))

    # ---- epochs -------------------------------------------------------------------------------------------------

    def on_train_epoch_start(self) -> Any:
        epoch = self.current_epoch
        self._epoch_start = time.perf_counter()
        self._sums = {}
        self.seed_epoch(epoch)
        assert self.schedule is not None
        if self.schedule.phase(epoch) == HYPERNETWORK:
            if self.base is None:
                self.base = self._choose_base()
            self.diversity.bind(self.structure, self._device_layout(), self.base)
            self.seed_epoch(epoch)
        restart_epoch_data(self.trainer)
        return super().on_train_epoch_start()

    def on_train_epoch_end(self) -> Any:
        means = {name: self._over_ranks(torch.stack(values).mean()).item() for name, values in self._sums.items()}
        assert self.schedule is not None
        phase = self.schedule.phase(self.current_epoch)
        progress = self.schedule.progress(self.current_epoch)
        searching = phase == HYPERNETWORK
        row = {
            "epoch": self.current_epoch,
            "step": self.global_step,
            "phase": phase,
            "weight": self.diversity.weight.at(progress) if searching else None,
            "temperature": self.settings.temperature.at(progress) if phase != WARMUP else None,
            "dial_error": self.dial_error() if searching and self.diversity.counts_edges else None,
            "seconds": time.perf_counter() - self._epoch_start,
            **{name: means.get(name) for name in ("loss", "accuracy", "val_loss", "regularizer")},
        }
        self.history.append({column: row[column] for column in HISTORY_COLUMNS})
        check_means(means, self.current_epoch)
        shown = ("loss", "accuracy", "val_loss", "regularizer", "weight", "temperature", "dial_error")
        curves = {f"search/{name}": float(row[name]) for name in shown if row[name] is not None}
        self.log_dict(curves | {name: value for name, value in means.items() if name.startswith("penalty/")})
        for listener in self.listeners:
            listener(self)
        return super().on_train_epoch_end()

    def dial_error(self, steps: int = 4) -> float:
        """Mean absolute difference between lam and the shared edges of the most probable architecture at lam.

        The mean is over lam = 0..n_edges in steps of 1/``steps``, or at the single lam of the search.
        """
        lams = torch.arange(0, self.structure.n_edges * steps + 1) / steps
        if self.settings.lam is not None:
            lams = torch.tensor([float(self.settings.lam)])
        shared = self.sampler().dial(lams.tolist())
        return float((lams - torch.tensor(shared)).abs().mean())

    def sampler(self) -> ArchitectureSampler:
        """Sampler for the current hypernetwork."""
        if self.base is None:
            raise RuntimeError("the base architecture is not known yet: run the search first")
        return ArchitectureSampler(
            self.structure, self.hypernetwork, self.base, self.diversity.counts_edges, self.accepts
        )

    # ---- steps --------------------------------------------------------------------------------------------------

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, torch.Tensor] | None:
        assert self.schedule is not None
        phase = self.schedule.phase(self.current_epoch)
        progress = self.schedule.progress(self.current_epoch)
        ahead = phase != WARMUP and self.device.type != "cpu"
        first, second = self._ahead.get(phase, self.current_epoch, batch_idx) if ahead else (None, None)
        if phase != WARMUP and not self._left_over("val", batch["val"]):
            self._architecture_step(batch["val"], batch_idx, phase, progress, first)
        if ahead:  # before the weight step, so that they arrive while the accelerator is busy with it
            self._ahead.send(phase, self.current_epoch, batch_idx + 1)
        if self._left_over("train", batch["train"]):
            self.advance_lr_schedulers(batch_idx)
            return None
        with torch.no_grad():
            if second is None:
                second, _ = self._logits(phase, self._generator(Purpose.WEIGHT_STEP_LAM, batch_idx))
            generator = self._generator(Purpose.WEIGHT_STEP_PATHS, batch_idx)
            draw = self._draw(second, self.layout, self.settings.temperature.at(progress), generator)
        loss = self._loss(batch["train"], 2 * batch_idx + 1, draw, phase, gradient=False)
        self.advance_optimization(loss, batch_idx, self.settings.gradient_clip_val)
        self.advance_lr_schedulers(batch_idx)
        self._note("loss", loss)
        if batch_idx == 0:
            check_finite(self._sums, self.current_epoch)
        return {"loss": loss.detach()}

    def _logits(self, phase: str, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits ``L x M`` of this step, and their lam if they come from the hypernetwork."""
        if phase == WARMUP:
            return torch.zeros(self.base_logits.shape, dtype=self.base_logits.dtype), None  # where they are used
        if phase == BASE:
            return self.base_logits, None
        lam = sent(self._draw_lam(generator, 1), self.device)
        return self.hypernetwork(lam)[0], lam

    def _both_logits(self, phase: str, batch_idx: int) -> torch.Tensor:
        """Logits ``2 x L x M`` of both draws of a step."""
        purposes = (Purpose.ARCHITECTURE_STEP_LAM, Purpose.WEIGHT_STEP_LAM)
        return torch.stack([self._logits(phase, self._generator(purpose, batch_idx))[0] for purpose in purposes])

    def _draw_lam(self, generator: torch.Generator, n: int) -> torch.Tensor:
        """Draw lam ~ U[-eps, n_edges + eps], or give the single lam of the search.

        Without eps the two ends of the dial are never learnt (2024 paper, appendix A).
        """
        if self.settings.lam is not None:
            return torch.full((n,), float(self.settings.lam))
        low, high = self.hypernetwork.low, self.hypernetwork.high
        return low + (high - low) * torch.rand(n, generator=generator)

    def _architecture_step(
        self, batch: Any, batch_idx: int, phase: str, progress: float, known: torch.Tensor | None = None
    ) -> None:
        """One step of the logits; ``known`` are their values on the host, if they are on an accelerator."""
        optimizer = self.architecture_optimizers()
        temperature = self.settings.temperature.at(progress)
        logits, _ = self._logits(phase, self._generator(Purpose.ARCHITECTURE_STEP_LAM, batch_idx))
        step = (Purpose.ARCHITECTURE_STEP_PATHS, batch_idx)
        draw = self._draw(logits, self._device_layout(), temperature, self._generator(*step))
        if known is not None:  # the same noise, and so the same paths
            draw = PathDraw(self._draw(known, self.layout, temperature, self._generator(*step)).chosen, draw.soft)
        for weight in self._weights:  # no gradients of the weights: they would be a third of this step's cost
            weight.requires_grad_(False)
        try:
            loss = self._loss(batch, 2 * batch_idx, draw, phase, gradient=True)
            self._note("val_loss", loss)
            if (accuracy := accuracy_of(self._output, batch)) is not None:
                self._note("accuracy", accuracy)
            if phase == HYPERNETWORK:
                regularizer = self._regularizer(batch_idx, progress)
                self._note("regularizer", regularizer)
                loss = loss + self.diversity.weight.at(progress) * regularizer
            if self.penalty is not None:
                loss = self._penalized(loss, logits)
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        finally:
            for weight in self._weights:
                weight.requires_grad_(True)
            self.supernet.weights.clear()
        if phase == HYPERNETWORK:
            self._regularizer_steps(optimizer, batch_idx, progress)

    def _draw(
        self, logits: torch.Tensor, layout: ChoiceLayout, temperature: float, generator: torch.Generator
    ) -> PathDraw:
        """Draw the ``k`` paths of this step, or one relaxed choice for a mixture."""
        k = self.settings.paths if isinstance(self.settings.paths, int) else 1
        return draw_paths(logits.expand(k, -1, -1), layout, temperature, generator)

    def _loss(self, batch: Any, index: int, draw: PathDraw, phase: str, gradient: bool) -> torch.Tensor:
        """The user's loss on a batch: the mean over the drawn paths, or the loss of the mixture (not in warm-up).

        ``index`` is the batch index that the user's ``training_step`` gets: even for validation, odd for training.
        """
        if self.settings.paths == "all" and phase != WARMUP:
            self.supernet.set_mixture(sent(draw.soft[0], self.device))
            return loss_of(self.training_module.training_step(batch, index))
        losses = []
        for chosen, soft in zip(draw.chosen, draw.soft, strict=True):
            self.supernet.set_draw(PathDraw(chosen, soft), gradient)
            losses.append(loss_of(self.training_module.training_step(batch, index)))
        return torch.stack(losses).mean() if len(losses) > 1 else losses[0]

    def _penalized(self, loss: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """The loss with NNI's penalty on the expected cost under alpha(lam)."""
        probabilities = self._device_layout().masked(logits).softmax(-1)
        options = self.structure.table.options
        by_label = {label: row[: len(options[label])] for label, row in zip(options, probabilities, strict=True)}
        assert self.penalty is not None
        loss, details = self.penalty(loss, by_label)
        for name, value in details.items():
            self._note(f"penalty/{name}", value)
        return loss

    def _over_ranks(self, value: torch.Tensor) -> torch.Tensor:
        """Mean over the processes of a distributed search, so that all of them make the same decision."""
        mean: torch.Tensor = self.trainer.strategy.reduce(value.to(self.device), reduce_op="mean")
        return mean

    def _regularizer_steps(self, optimizer: Any, batch_idx: int, progress: float) -> None:
        """Steps of the hypernetwork on R only, which need no images.

        A few hundred joint steps are too few to learn a dial of 16 edges. These steps bypass Lightning, so that it
        counts only steps on data.
        """
        inner = getattr(optimizer, "optimizer", optimizer)
        for step in range(1, self.settings.regularizer_steps + 1):  # step 0 is the joint step
            inner.zero_grad()
            (self.diversity.weight.at(progress) * self._regularizer(batch_idx, progress, step)).backward()  # type: ignore[no-untyped-call]
            inner.step()

    def _regularizer(self, batch_idx: int, progress: float, step: int = 0) -> torch.Tensor:
        """R averaged over many values of lam.

        It needs no images: a hundred values cost less than one step on images, and their mean varies far less than one.
        """
        generator = self._generator(Purpose.REGULARIZER, batch_idx, step)
        lam = sent(self._draw_lam(generator, self.settings.regularizer_samples), self.device)
        temperature = self.diversity.temperature.at(progress)
        return self.diversity(lam, self.hypernetwork(lam), temperature, generator)

    def _device_layout(self) -> ChoiceLayout:
        if self._layout_there.mask.device != self.device:  # the weight step draws on the CPU with self.layout
            self._layout_there = ChoiceLayout(self.structure.table, self.device)
        return self._layout_there

    def _note(self, name: str, value: torch.Tensor) -> None:
        """Keep a number of this step until the end of the epoch, so that no step waits for the device."""
        self._sums.setdefault(name, []).append(value.detach())

    # ---- the base -----------------------------------------------------------------------------------------------

    def _choose_base(self) -> Sample:
        """Choose the candidate with the lowest validation loss on the supernet.

        The candidates are the most probable architecture, draws and uniform draws. `base_ranking` keeps all losses for
        the report.
        """
        generator = self._generator(Purpose.BASE_CHOICE)
        assert self.schedule is not None
        searched = self.schedule.hypernetwork > self.schedule.base
        logits = self.base_logits.detach().cpu() if searched else None
        samples = draw_base_candidates(self.structure, self.settings.base_draws, generator, logits, self.accepts)
        batches = list(join_single(self.validation_batches(BASE_BATCHES)))

        def measure(sample: Sample) -> float:
            loss = self._over_ranks(path_loss(self.training_module, self.supernet, sample, batches)).item()
            self.base_ranking.append({"architecture": self.structure.describe(sample), "loss": loss})
            return loss

        with Silenced(self.training_module):
            best, _ = best_by_loss(samples, measure)
        return best

    def validation_batches(self, most: int) -> list[Any]:
        """Up to so many batches of the validation loader, as a step gets them."""
        if self.val_batches is None:
            raise RuntimeError("no validation data: EdgeNES sets val_batches before the search")
        batches = []
        for batch in self.val_batches():
            converted = self.trainer.precision_plugin.convert_input(batch)
            batches.append(self.transfer_batch_to_device(converted, self.device, 0))
            if len(batches) >= most:
                break
        return batches

    # ---- checkpoints --------------------------------------------------------------------------------------------

    def get_extra_state(self) -> torch.Tensor:
        """The state that is not a tensor, as a tensor of JSON bytes.

        So it is part of every checkpoint, and the processes of a distributed search send it back.
        """
        state = {"base": self.base, "history": self.history, "base_ranking": self.base_ranking}
        return torch.frombuffer(bytearray(json.dumps(state).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: torch.Tensor) -> None:
        content = json.loads(bytes(state.cpu().tolist()).decode())
        self.base, self.history, self.base_ranking = content["base"], content["history"], content["base_ranking"]
        if self.base is not None:  # JSON turns tuples into lists
            self.base = self.structure.table.validate(self.base)
