"""Search and training on a GPU, measured: one run of at most eight minutes, one file of results.

    python tests/benchmarks/gpu.py [--cifar FILE.npz] [--out FILE.json]     # on a machine with a GPU
    python tests/benchmarks/gpu.py --tiny --out /tmp/gpu.json               # the same code on a CPU, in a minute or two

It uses all 60,000 images of Fashion-MNIST (Debian: ``dataset-fashion-mnist``). CIFAR-10, or a part of it, is an
``.npz`` file with ``x_train``, ``y_train``, ``x_test`` and ``y_test``. The parts, each under its name in
the file of results:

* ``same_loss``: loss and gradient of one batch in float32 (TF32 off) on CPU and GPU, which must agree to 1e-3.
* ``search_step``: wall seconds of a step of EdgeNES, NNI's RandomOneShot (one path, one batch; the floor) and NNI's
  DARTS (all operations, two batches), the mean over steps after the first ones.
* ``search``: a short search, with the seconds and the numbers of each epoch.
* ``training``: seconds of an epoch of one candidate, in float32 and bf16, with either memory format, compiled.
* ``at_once``: seconds for some candidates by local workers, one at a time and several at once on the GPU.

Results are written after each part. A part that would begin after ``BUDGET`` seconds is left out, and named.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from nni.nas.experiment import NasExperiment, NasExperimentConfig
from nni.nas.strategy import DARTS, RandomOneShot

from nni_hypens import EdgeNES, ImageData, image_evaluator
from nni_hypens._nni import quiet_logging, quiet_training
from nni_hypens.search.trainer import LOADERS
from nni_hypens.space import EdgeStructure, random_architectures
from nni_hypens.space.build import fixed_network
from nni_hypens.trials.local import LocalTraining
from nni_hypens.trials.training import TrialSpec
from nni_hypens.utils.files import write_json
from nni_hypens.utils.runtime import machine, versions
from search_spaces import OneCell

OUT = Path(__file__).parent / "results" / "gpu.json"
BUDGET = 390
"""Seconds after which no part begins; the longest takes about a minute on an H100, as far as one can guess."""
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Size:
    """How much is done."""

    channels: int = 16
    batch: int = 256
    steps: int = 60
    skip: int = 10
    search_epochs: int = 5
    candidates: int = 4
    epochs: int = 2


TINY = Size(channels=2, batch=16, steps=3, skip=1, search_epochs=3, candidates=2, epochs=1)


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class StepTimer(pl.Callback):
    """Seconds of the steps of the last epoch after the first ones; it waits for the GPU only at their two ends."""

    def __init__(self, size: Size) -> None:
        self.size, self.step_s = size, float("nan")

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
        if index == self.size.skip:
            synchronize()
            self.begin = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        if index == self.size.steps - 1:
            synchronize()
            self.step_s = (time.perf_counter() - self.begin) / (self.size.steps - self.size.skip)


def space_for(data: ImageData, size: Size) -> OneCell:
    """The one-cell space for a data set."""
    return OneCell(channels=size.channels, in_channels=data.input_spec["channels"], num_classes=data.num_classes)


def search_with(
    strategy: Any, data: ImageData, size: Size, epochs: int, accelerator: str, *callbacks: Any, **limits: Any
) -> Any:
    """Run a one-shot strategy on a data set."""
    evaluator = image_evaluator(data, data.num_classes, epochs, accelerator=accelerator)
    evaluator.trainer.callbacks += callbacks
    for name, value in limits.items():
        setattr(evaluator.trainer, name, value)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        config = NasExperimentConfig("sequential", "raw", "local")
        config.experiment_working_directory = folder
        experiment = NasExperiment(space_for(data, size), evaluator, strategy, config)
        quiet_logging()
        experiment.start()
        experiment.stop()
    for name in LOADERS:  # NNI's strategies leave their loaders on the data module
        vars(data).pop(name, None)
    return strategy


def same_loss(data: ImageData, size: Size, device: str) -> dict[str, Any]:
    """Loss and gradient of a batch on CPU and device, for the architecture of most parameters among a few."""
    space = space_for(data, size)
    sample = random_architectures(EdgeStructure.from_space(space), 1, seed=0)[0]
    torch.manual_seed(0)
    network = fixed_network(space, sample)
    images, labels = next(iter(data.val_dataloader()))
    found = []
    exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    with exact:
        for place in ("cpu", device):
            network.zero_grad()
            network.to(place)
            loss = torch.nn.functional.cross_entropy(network(images.to(place)), labels.to(place))
            loss.backward()
            gradients = [weight.grad.flatten().cpu() for weight in network.parameters() if weight.grad is not None]
            found.append((loss.item(), torch.cat(gradients)))
    (loss, gradient), (other, other_gradient) = found
    result = {
        "cpu": loss,
        "device": other,
        "loss_relative": abs(loss - other) / abs(loss),
        "gradient_relative": float((gradient - other_gradient).norm() / gradient.norm()),
    }
    if max(result["loss_relative"], result["gradient_relative"]) > TOLERANCE:
        raise SystemExit(f"CPU and {device} differ: {result}")
    return result


class WithDataModule(DARTS):
    """NNI's DARTS, for a data module: Lightning refuses None, which NNI gives for the validation loader."""

    def val_dataloader(self, train_dataloader_fn: Callable[[], Any], val_dataloader_fn: Callable[[], Any]) -> Any:
        return []


def search_step(data: ImageData, size: Size, accelerator: str) -> dict[str, Any]:
    """Seconds of a step by strategy, and ratios."""
    found: dict[str, float] = {}
    strategies: dict[str, tuple[Any, int]] = {
        "random": (RandomOneShot(), 1),
        "warmup": (EdgeNES(warmup_epochs=1, base_epochs=0, base_draws=1), 1),
        "edgenes": (EdgeNES(warmup_epochs=0, base_epochs=1, base_draws=1), 2),
        "darts": (WithDataModule(), 1),
    }
    for name, (strategy, epochs) in strategies.items():
        timer = StepTimer(size)
        # EdgeNES keeps one phase in each epoch, and the last is timed; an epoch of warm-up is followed by another phase
        last = epochs + (name == "warmup")
        only = Only(0) if name == "warmup" else Only(epochs - 1)
        limits = {"limit_train_batches": size.steps} | ({"limit_val_batches": 0} if name == "random" else {})
        search_with(strategy, data, size, last, accelerator, timer, only, **limits)
        found[name] = only.step_s if name == "warmup" else timer.step_s
    return {
        **{f"{name}_s": seconds for name, seconds in found.items()},
        "warmup_vs_random": found["warmup"] / found["random"],
        "edgenes_vs_two_random": found["edgenes"] / (2 * found["random"]),
        "edgenes_vs_darts": found["edgenes"] / found["darts"],
    }


class Only(pl.Callback):
    """Keeps what a `StepTimer` before it in the list has measured in one epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch, self.step_s = epoch, float("nan")

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        timers = [callback for callback in trainer.callbacks if isinstance(callback, StepTimer)]
        if trainer.current_epoch == self.epoch and timers:
            self.step_s = timers[0].step_s


def search(data: ImageData, size: Size, accelerator: str) -> dict[str, Any]:
    """A short search, epoch by epoch."""
    start = time.perf_counter()
    strategy = search_with(EdgeNES(seed=0), data, size, size.search_epochs, accelerator)
    kept = ("phase", "seconds", "loss", "val_loss", "accuracy", "dial_error")
    history = [{name: row[name] for name in kept} for row in strategy.history]
    return {"seconds": time.perf_counter() - start, "images": len(data.labels("train")), "epochs": history}


def training(data: ImageData, size: Size, accelerator: str) -> dict[str, Any]:
    """Seconds of the last epoch of one network, trained in different ways."""
    space = space_for(data, size)
    sample = random_architectures(EdgeStructure.from_space(space), 1, seed=0)[0]
    ways: dict[str, dict[str, Any]] = {
        "32": {"channels_last": False},
        "32, channels last": {"channels_last": True},
        "bf16, channels last": {"channels_last": True, "precision": "bf16-mixed"},
        "bf16, channels last, compiled": {
            "channels_last": True, "precision": "bf16-mixed",
            "compiler": "inductor" if accelerator != "cpu" else "aot_eager",
        },
    }  # fmt: skip
    found = {}
    for name, options in ways.items():
        torch.manual_seed(0)
        network, epochs = fixed_network(space, sample), EpochTimer()
        evaluator = image_evaluator(data, data.num_classes, max(size.epochs, 2), accelerator=accelerator, **options)
        evaluator.trainer.callbacks.append(epochs)
        evaluator.evaluate(network)
        accuracy = float(evaluator.trainer.callback_metrics["val_acc"])
        found[name] = {"epoch_s": epochs.seconds[-1], "first_epoch_s": epochs.seconds[0], "accuracy": accuracy}
    return found


class EpochTimer(pl.Callback):
    """Seconds of the training part of each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, *rest: Any) -> None:
        synchronize()
        self.begin = time.perf_counter()

    def on_validation_start(self, *rest: Any) -> None:
        synchronize()
        self.seconds.append(time.perf_counter() - self.begin)


def at_once(data: ImageData, size: Size, accelerator: str) -> dict[str, Any]:
    """Seconds for the same candidates by one worker, and by one for each, which share the GPU."""
    space = space_for(data, size)
    samples = random_architectures(EdgeStructure.from_space(space), size.candidates, seed=1)
    found: dict[str, Any] = {}
    for workers in (1, size.candidates):
        specs = [TrialSpec(f"c{number:02}", sample, None, 0, number) for number, sample in enumerate(samples)]
        evaluator = image_evaluator(data, data.num_classes, size.epochs, accelerator=accelerator)
        with tempfile.TemporaryDirectory() as name:
            folder, start = Path(name), time.perf_counter()
            gpus = [0] if accelerator != "cpu" else []
            local = LocalTraining(space, specs, evaluator, data, folder, folder / "logs", workers, gpus=gpus)
            local.run()
            if local.failed:
                raise SystemExit(f"candidates failed: {local.failed}")
            seconds = time.perf_counter() - start
            trained = sum(
                float(json.loads((folder / spec.id / "metrics.json").read_text())["seconds"]) for spec in specs
            )
        found[f"{workers} at once"] = {"seconds": seconds, "training_seconds": trained}
    alone, together = (row["seconds"] for row in found.values())
    return {**found, "times_as_fast": alone / together}


def parts_of(name: str, data: ImageData, size: Size, accelerator: str) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """(data set, part, what measures it), the quick and important ones first."""
    device = "cpu" if accelerator == "cpu" else "cuda"
    yield name, "same_loss", lambda: same_loss(data, size, device)
    yield name, "search_step", lambda: search_step(data, size, accelerator)
    yield name, "training", lambda: training(data, size, accelerator)
    yield name, "at_once", lambda: at_once(data, size, accelerator)
    yield name, "search", lambda: search(data, size, accelerator)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cifar", type=Path, help="CIFAR-10 or a part of it as .npz: x_train, y_train, x_test, y_test")
    parser.add_argument("--tiny", action="store_true", help="run all code on a CPU with digits; measures nothing")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    if not arguments.tiny and not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU here: --tiny runs the same code on a CPU")
    if arguments.tiny and arguments.out == OUT:
        raise SystemExit("--tiny measures nothing: --out FILE.json somewhere else")
    quiet_training()
    with tempfile.TemporaryDirectory() as folder:
        measure_all(arguments, Path(folder))


def measure_all(arguments: argparse.Namespace, folder: Path) -> None:
    """Measure all parts on all data sets; the folder is for a copy of the images of ``--cifar``."""
    size, accelerator = (TINY, "cpu") if arguments.tiny else (Size(), "gpu")
    options: dict[str, Any] = {"batch_size": size.batch}
    if arguments.tiny:
        torch.set_num_threads(1)
        options |= {"train_size": 96, "validation_size": 64, "test_size": 32}
    name = "digits" if arguments.tiny else "fashion_mnist"
    sets = {name: ImageData(name, **options)}
    if arguments.cifar is not None:
        with np.load(arguments.cifar) as content:  # a part of CIFAR-10 may say more, such as which images it has
            arrays = {name: content[name] for name in ("x_train", "y_train", "x_test", "y_test")}
        np.savez(folder / "cifar10.npz", **arrays)
        sets["cifar10"] = ImageData(str(folder / "cifar10.npz"), **options)
    start, results = time.perf_counter(), dict[str, Any]()
    about = {"tiny": arguments.tiny, "machine": machine(), "versions": versions()}
    for name, data in sets.items():
        for _, part, measure in parts_of(name, data, size, accelerator):
            begun = time.perf_counter()
            late = begun - start > BUDGET
            results.setdefault(name, {})[part] = "left out: no time" if late else measure()
            print(f"{name} {part}: {time.perf_counter() - begun:.1f} s", file=sys.stderr, flush=True)
            write_json(arguments.out, {**about, "seconds": time.perf_counter() - start, "results": results})


if __name__ == "__main__":
    main()
