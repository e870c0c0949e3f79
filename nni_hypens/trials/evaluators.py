"""The command line's evaluator: image classification with AdamW and a schedule, on NNI's Lightning evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nni
import pytorch_lightning as pl
import torch
from nni.nas.evaluator.pytorch import ClassificationModule, Lightning, Trainer
from pytorch_lightning.accelerators import CUDAAccelerator
from pytorch_lightning.callbacks import EarlyStopping
from torch import nn
from torch.nn.functional import cross_entropy

from nni_hypens._nni import without_adverts
from nni_hypens.errors import InputError
from nni_hypens.trials.names import SCHEDULES


@nni.trace
class ImageClassification(ClassificationModule):  # type: ignore[misc]
    """NNI's ``ClassificationModule`` (cross-entropy, accuracy) with AdamW, a schedule, and the usual regularisation.

    Validation loss is always the plain cross-entropy of unmixed images, the NLL.

    Args:
        num_classes: Classes C, at least 2.
        learning_rate: Initial learning rate of ``cosine``, highest of ``one_cycle``.
        weight_decay: Decoupled weight decay.
        epochs: Length of the schedule, in epochs.
        schedule: ``cosine`` (Loshchilov and Hutter 2017, no restarts, ends at a hundredth of the rate) or
            ``one_cycle`` (Smith and Topin 2018, a step per batch).
        label_smoothing: Share of the target that all classes get (Szegedy et al. 2016), 0..1.
        mixup: Parameter of the beta distribution of mixup (Zhang et al. 2018); 0 for none.
        auxiliary_weight: Weight of the loss of an auxiliary head (Szegedy et al. 2015; 0.4 in DARTS). The network must
            have ``auxiliary_source()``, which returns a module and the channels C of its last output
            ``B x C x H x W``. The head belongs to training and is not part of the network. 0 for none.
        channels_last: Whether 4-d weights, and with them the images in between, have their channels last in memory,
            which convolutions on recent GPUs prefer; None for GPUs only. Files have the usual order.
        compiler: Backend of ``torch.compile`` for the network in training, such as ``inductor``; None for none.

    A network with ``set_drop_path_prob`` and ``drop_path_prob`` gets a probability that grows from zero, as in DARTS.
    A network that has several members may give, in training, logits ``MB x C`` for a batch of B: those of the first
    member for all images, then those of the second, and so on. The loss is the mean over the members.
    """

    auxiliary_head: nn.Module

    def __init__(
        self,
        num_classes: int,
        learning_rate: float,
        weight_decay: float,
        epochs: int,
        schedule: str = "cosine",
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        auxiliary_weight: float = 0.0,
        channels_last: bool | None = None,
        compiler: str | None = None,
    ) -> None:
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, num_classes=num_classes)
        self.num_classes, self.epochs, self.schedule = num_classes, epochs, schedule
        self.label_smoothing, self.mixup, self.auxiliary_weight = label_smoothing, mixup, auxiliary_weight
        for metric in self.metrics.values():  # the data are checked before; each look at labels waits for the GPU
            metric.validate_args = False
        self.auxiliary_head = nn.Identity()
        self._auxiliary_logits: torch.Tensor | None = None
        self.channels_last, self.compiler = channels_last, compiler
        self._compiled: tuple[Any, ...] = ()  # in a tuple it is no part of this module, and changes no names of weights

    def on_fit_start(self) -> None:
        super().on_fit_start()
        network: Any = self.model
        if self.device.type == "cuda" if self.channels_last is None else self.channels_last:
            network.to(memory_format=torch.channels_last)
        if self.compiler is not None:
            self._compiled = (torch.compile(network, backend=self.compiler),)

    def on_fit_end(self) -> None:
        self._compiled = ()
        super().on_fit_end()

    def forward(self, x: torch.Tensor) -> Any:
        network: Any = self.model
        return (self._compiled or (network,))[0](x)

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        if not self.auxiliary_weight:
            return
        if not hasattr(model, "auxiliary_source"):
            raise InputError(
                "auxiliary_weight", self.auxiliary_weight, f"0: {type(model).__name__} has no auxiliary_source()"
            )
        source, channels = model.auxiliary_source()
        self.auxiliary_head = nn.Sequential(
            nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, self.num_classes)
        )
        source.register_forward_hook(self._look_at)

    def _look_at(self, source: nn.Module, inputs: Any, output: Any) -> None:
        if self.training:
            features = output if isinstance(output, torch.Tensor) else output[-1]  # DARTS's cells return two states
            head: Any = self.auxiliary_head
            self._auxiliary_logits = head(features)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        images, labels = batch
        targets = labels
        if self.mixup:
            from torchvision.transforms import v2  # imported here: a trial's start should stay fast

            flat = images.reshape(len(images), 1, 1, -1)  # torchvision mixes images only
            mixed, targets = v2.MixUp(alpha=self.mixup, num_classes=self.num_classes)(flat, labels)
            images = mixed.reshape(images.shape)
        logits = self(images)
        members = len(logits) // len(labels)
        if members > 1:
            targets, labels = torch.cat([targets] * members), torch.cat([labels] * members)
        loss = cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        if self._auxiliary_logits is not None:
            auxiliary = cross_entropy(self._auxiliary_logits, targets, label_smoothing=self.label_smoothing)
            loss = loss + self.auxiliary_weight * auxiliary
            self._auxiliary_logits = None
        self.log("train_loss", loss)  # not prog_bar, for which Lightning looks at the number in each step
        for name, metric in self.metrics.items():
            self.log(f"train_{name}", metric(logits, labels))
        return loss

    def on_train_epoch_start(self) -> None:
        drop = getattr(self.model, "drop_path_prob", 0.0)
        if drop and hasattr(self.model, "set_drop_path_prob"):
            self.model.set_drop_path_prob(drop * self.current_epoch / self.epochs)

    def configure_optimizers(self) -> Any:
        rate, decay = self.hparams["learning_rate"], self.hparams["weight_decay"]
        optimizer = torch.optim.AdamW(self.parameters(), lr=rate, weight_decay=decay)
        if self.schedule == "one_cycle":
            steps = self.trainer.estimated_stepping_batches
            one_cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, int(steps))
            return [optimizer], [{"scheduler": one_cycle, "interval": "step"}]
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs, eta_min=rate / 100)
        return [optimizer], [schedule]


@nni.trace
class KeepBest(EarlyStopping):
    """Lightning's ``EarlyStopping`` on validation NLL, which also gives the network its weights of the best epoch.

    Args:
        patience: Epochs without a lower NLL after which training ends.
    """

    def __init__(self, patience: int) -> None:
        super().__init__("val_loss", patience=patience, mode="min", check_on_train_epoch_end=False)
        self.best_weights: dict[str, torch.Tensor] = {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        before = self.best_score.clone()
        super().on_validation_end(trainer, pl_module)
        if not torch.equal(self.best_score.cpu(), before.cpu()):
            network: Any = pl_module.model
            self.best_weights = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        network: Any = pl_module.model
        if self.best_weights:
            network.load_state_dict(self.best_weights)


def gpus_of(evaluator: Any, chosen: Sequence[int] | None) -> tuple[int, ...]:
    """Numbers of the GPUs that trials of an evaluator may use; empty if it computes on the processor.

    Args:
        evaluator: Trains one candidate.
        chosen: The GPUs that the user selected; None for all that torch sees.

    Raises:
        InputError: GPUs are selected, and the evaluator does not use one, although nobody asked for the processor.
    """
    accelerator = getattr(getattr(evaluator, "trainer", None), "accelerator", None)
    if not isinstance(accelerator, CUDAAccelerator):
        asked = getattr(getattr(evaluator, "trainer", None), "trace_kwargs", {}).get("accelerator")
        if chosen is not None and asked != "cpu":
            expected = "none without a GPU: `nni-hypens doctor` says what torch sees, and --accelerator what is used"
            raise InputError("devices", ",".join(map(str, chosen)), expected)
        return ()
    return tuple(range(torch.cuda.device_count()) if chosen is None else chosen)


def keeps_best(evaluator: Any) -> bool:
    """Whether an evaluator gives a network the weights of its best epoch instead of the last."""
    callbacks = getattr(getattr(evaluator, "trainer", None), "callbacks", ())
    return any(isinstance(callback, KeepBest) for callback in callbacks)


def resolved_precision(precision: str, accelerator: str) -> str:
    """The precision that ``auto`` means for an accelerator of this machine; others are what they are."""
    if precision != "auto":
        return precision
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    return "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"


def image_evaluator(
    data: pl.LightningDataModule,
    num_classes: int,
    epochs: int,
    learning_rate: float = 0.01,
    weight_decay: float = 1e-3,
    *,
    early_stopping: int | None = None,
    accelerator: str = "auto",
    precision: str = "32-true",
    **options: Any,
) -> Lightning:
    """A quiet NNI evaluator that trains for ``epochs`` on a data module. It serialises to a few lines of JSON.

    Args:
        data: Data module wrapped by ``nni.trace``.
        num_classes: Classes C, at least 2.
        epochs: Epochs, at least 1.
        learning_rate: Initial learning rate of AdamW.
        weight_decay: Decoupled weight decay.
        early_stopping: Epochs without a lower validation NLL after which training ends, and the weights of the best
            epoch are kept; None to train to the end.
        accelerator: Of Lightning's trainer.
        precision: Of Lightning's trainer, or ``auto``: ``bf16-mixed`` on a GPU that computes in it, else ``32-true``.
        **options: ``schedule``, ``label_smoothing``, ``mixup``, ``auxiliary_weight``, ``channels_last`` and
            ``compiler`` of `ImageClassification`.

    Raises:
        InputError: A GPU is asked for, and torch sees none; or an unknown schedule.
    """
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise InputError("accelerator", accelerator, "auto or cpu: torch sees no GPU here (see `nni-hypens doctor`)")
    if options.get("schedule", SCHEDULES[0]) not in SCHEDULES:
        raise InputError("schedule", repr(options["schedule"]), f"one of {', '.join(SCHEDULES)}")
    with without_adverts():
        trainer = Trainer(
            max_epochs=epochs,
            accelerator=accelerator,
            devices=1,
            precision=resolved_precision(precision, accelerator),
            callbacks=None if early_stopping is None else [KeepBest(early_stopping)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
    module = ImageClassification(num_classes, learning_rate, weight_decay, epochs, **options)
    return Lightning(module, trainer, datamodule=data)
