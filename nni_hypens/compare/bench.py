"""The workbench: one space, data set and seed on which methods are compared.

Every search and training is done once and kept with its cost. Two methods that train the same architecture with the
same seed share the network, and each is charged its whole cost, as if it had trained it alone. So the cost of a method
does not depend on which others are compared with it, and an interrupted comparison continues where it stopped.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from nni.nas.evaluator.pytorch import Lightning
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from torch import nn

from nni_hypens import metrics
from nni_hypens.compare.packed import EveryMember, by_member
from nni_hypens.data.module import ImageData
from nni_hypens.ensemble.calibration import calibrated_alone
from nni_hypens.run.plan import Plan
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.build import fixed_network, fresh
from nni_hypens.space.cost import NetworkSize
from nni_hypens.space.draws import neighbours, random_architectures
from nni_hypens.space.flow import SynapticFlow
from nni_hypens.trials.parts import rebuilt
from nni_hypens.trials.training import further_seed, network_seed, predict
from nni_hypens.utils.files import read_json, read_object, write_json
from nni_hypens.utils.npz import read_arrays, write_arrays
from nni_hypens.utils.runtime import torch_threads
from nni_hypens.utils.seeds import Purpose, derive_seed, seed_everything
from nni_hypens.utils.tensors import read_tensors, write_tensors

Result = tuple[np.ndarray, np.ndarray, float]
"""Probabilities `N x C` of validation and test images, and the seconds of the training."""
TIMED_STEPS = 7
"""Steps by whose median a training is timed ahead."""


@dataclass(frozen=True)
class Network:
    """A trained network, reduced to what an ensemble needs.

    Args:
        sample: Its architecture.
        seed: Seed of its training.
        validation: Probabilities `N x C` of validation images.
        test: The same of test images.
        nll: Of validation images with its own temperature; infinite if its training diverged.
        cost: Seconds of its training and of predicting validation images.
        alone: `N x C` probabilities of validation images with its own temperature, which selection compares; None if
            its training diverged.
        peer: What it is, if it is no network of the space; its `sample` is empty then.
        place: Name of its files in a workbench, or its row in a pool.
    """

    sample: Sample
    seed: int
    validation: np.ndarray
    test: np.ndarray
    nll: float
    cost: float
    alone: np.ndarray | None = None
    peer: str = ""
    place: str = ""

    @property
    def finite(self) -> bool:
        """Whether it can be a member, that is, its training has not diverged."""
        return self.nll < float("inf")


@dataclass
class Clock:
    """Seconds of computing: CPU time of this process, or wall time if there is a GPU."""

    seconds: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Add the seconds that the block takes."""
        start = self.now()
        try:
            yield
        finally:
            self.seconds += self.now() - start

    @staticmethod
    def now() -> float:
        """Seconds since any moment, once a GPU has done what it was given."""
        if not torch.cuda.is_available():
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


class _StepTimes(Callback):
    """Notes when an epoch begins, and when each of its steps ends."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.times.append(Clock.now())

    def on_train_batch_end(self, *rest: Any) -> None:
        self.times.append(Clock.now())


class Workbench:
    """Trains and searches for the methods of a comparison; everything is kept in a folder.

    Args:
        plan: Space, data, evaluators and seed; its `evaluator` trains a network, its `search_evaluator` a supernet.
        folder: Where results are kept; for this plan only.
        nni_evaluator: Trains the supernet of NNI's own strategies; None for the plan's `search_evaluator`.
        evaluators: Factor -> evaluator that trains a network for that many times the epochs of the plan's `evaluator`.
            Needed by `longer` only.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        nni_evaluator: Lightning | None = None,
        evaluators: Callable[[int], Lightning] | None = None,
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.nni_evaluator = plan.search_evaluator if nni_evaluator is None else nni_evaluator
        self.evaluators = evaluators
        self.structure = EdgeStructure.from_space(plan.space)
        self._networks = "networks"

    def longer(self, factor: int) -> Workbench:
        """Return a workbench with the same searches that trains networks for `factor` times as many epochs.

        Raises:
            ValueError: It has no `evaluators`, or is the result of `longer` itself.
        """
        if self.evaluators is None:
            raise ValueError("evaluators: got None; expected a function that returns an evaluator for more epochs")
        bench = copy(self)
        bench.plan = replace(self.plan, evaluator=self.evaluators(factor))
        bench.evaluators = None
        bench._networks = f"networks-{factor}x"
        return bench

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.plan.settings.seed

    @property
    def architectures(self) -> None:
        """None: every architecture of the space can be trained."""
        return None

    def random(self, n: int, seed: int) -> list[Sample]:
        """Up to `n` different architectures, drawn uniformly."""
        return random_architectures(self.structure, n, seed)

    def neighbours(self, sample: Sample, trained: Sequence[Sample]) -> list[Sample]:
        """Architectures that differ from `sample` in one choice, whatever was trained."""
        return neighbours(self.structure, sample)

    def traits(self) -> NetworkSize:
        """Measures networks of the space."""
        return NetworkSize(self.plan.train_space, self.plan.input_shape)

    def flow(self) -> SynapticFlow:
        """Measures the synaptic flow of untrained networks of the space."""
        return SynapticFlow(self.plan.train_space, self.plan.input_shape)

    def offers(self, sample: Sample, replica: int) -> bool:
        """Whether `network` can return this network: always."""
        return True

    @cached_property
    def validation_labels(self) -> np.ndarray:
        """Labels `N` of the validation images."""
        return self.plan.data.labels("validation")

    @cached_property
    def test_labels(self) -> np.ndarray:
        """Labels `N` of the test images."""
        return self.plan.data.labels("test")

    def network(self, sample: Sample, replica: int = 0, may_go_on: bool = False) -> Network:
        """Return a trained network of an architecture; train it if that has not been done yet.

        Args:
            sample: An architecture of the space.
            replica: Which of its networks, from 0; each has another seed.
            may_go_on: Matters on a pool only.
        """
        key = self.structure.key(sample)
        seed = network_seed(self.plan.settings.seed, key, replica)
        return self._network(f"{key} {seed}", sample, seed)

    def offers_further(self, network: Network) -> bool:
        """Whether the weights of a network are there; earlier versions did not keep them."""
        return bool(network.place) and self._weights(network.place).exists()

    def further(self, network: Network) -> Network:
        """Return a network after one more schedule, as a run trains a candidate further; train it if that has not been
        done yet."""
        seed = further_seed(network.seed)
        return self._network(f"{network.place} {seed}", network.sample, seed, self._weights(network.place))

    def _network(self, text: str, sample: Sample, seed: int, begin: Path | None = None) -> Network:
        """The network of a text, which names it; with the weights of a file to begin with, or with new ones."""
        path = self.folder / self._networks / hashlib.sha256(text.encode()).hexdigest()[:20]
        if not path.with_suffix(".json").exists():
            result = self._train(sample, seed, begin, self._weights(path.name))
            parent = {} if begin is None else {"parent": begin.stem}
            self._keep(path, {"architecture": sample, "seed": seed, **parent}, result)
        return self._kept(path, sample)

    def _weights(self, place: str) -> Path:
        return self.folder / self._networks / f"{place}.safetensors"

    def peer(
        self, name: str, build: Callable[[], nn.Module], replica: int = 0, cycles: int = 1, members: int = 1
    ) -> list[Network]:
        """Return networks that are not of the space, trained like those of the space; train what is missing.

        Args:
            name: What they are; the same name for the same `build`.
            build: Makes the network, with new weights.
            replica: Which training, from 0; each has another seed.
            cycles: The training of a network is repeated so many times, each time from the weights of the last.
            members: Of a `PackedNetwork`, whose members are trained together.

        Returns:
            The network at the end of each cycle with the cost of its cycle, or every member with its share of the cost.
        """
        seed = derive_seed(self.seed, Purpose.PEER, name, replica)
        folder = self.folder / f"{self._networks}-peers"
        paths = [folder / f"{name}-{replica}-{number}" for number in range(cycles * members)]
        if not paths[-1].with_suffix(".json").exists():
            for path, result in zip(paths, self._train_cycles(build, seed, cycles, members), strict=True):
                if not path.with_suffix(".json").exists():  # of a training with fewer cycles: the same
                    self._keep(path, {"peer": name, "seed": seed}, result)
        return [self._kept(path, {}, name) for path in paths]

    def _keep(self, path: Path, about: dict[str, Any], result: Result) -> None:
        validation, test, cost = result
        finite = bool(np.isfinite(validation).all())
        nll = metrics.nll(validation, self.validation_labels) if finite else None
        write_arrays(path.with_suffix(".npz"), {"validation": validation, "test": test})
        write_json(path.with_suffix(".json"), {**about, "nll": nll, "cost": cost})

    def _kept(self, path: Path, sample: Sample, peer: str = "") -> Network:
        record = read_object(path.with_suffix(".json"))
        validation, test = read_arrays(path.with_suffix(".npz"), "validation", "test")
        seed, cost = record["seed"], record["cost"]
        if record["nll"] is None:
            return Network(sample, seed, validation, test, math.inf, cost, peer=peer, place=path.name)
        (alone,) = calibrated_alone(validation[None], self.validation_labels)
        nll = metrics.nll(alone, self.validation_labels)
        return Network(sample, seed, validation, test, nll, cost, alone, peer, path.name)

    def trained(self) -> Iterator[tuple[Sample, float]]:
        """Architecture and validation NLL of every network with new weights so far; infinite if the training diverged.

        Networks that went on are left out, because they were trained for longer.
        """
        for path in sorted((self.folder / self._networks).glob("*.json")):
            record = read_object(path)
            if "parent" not in record:
                yield record["architecture"], float("inf") if record["nll"] is None else record["nll"]

    def _train(self, sample: Sample, seed: int, begin: Path | None, keep: Path) -> Result:
        """Train a network that begins with the weights of one file, or with new ones, and keep them in another."""

        def build() -> nn.Module:
            network = fixed_network(self.plan.train_space, sample)
            if begin is not None:
                network.load_state_dict(read_tensors(begin))
            return network

        return self._train_cycles(build, seed, keep=keep)[0]

    def _train_cycles(
        self, build: Callable[[], nn.Module], seed: int, cycles: int = 1, members: int = 1, keep: Path | None = None
    ) -> list[Result]:
        """Train a network again and again; keep its weights in a file, if one is named."""
        data = self.plan.data
        results: list[Result] = []
        cast(ImageData, data).prepare()
        test_images = data.test_dataloader()  # reading files is not part of the training
        with torch_threads(self.plan.settings.threads):
            clock = Clock()
            with clock.running():
                seed_everything(seed)
                model = build()
                seen = EveryMember(model) if members > 1 else model
            for _ in range(cycles):
                with clock.running():
                    evaluator = rebuilt(self.plan.evaluator)  # a trainer can be used once
                    evaluator.datamodule = data
                    evaluator.evaluate(model)
                    validation, _ = predict(seen, data.val_dataloader())
                test, _ = predict(seen, test_images)  # only for the report, so not a cost of the method
                both = [by_member(validation), by_member(test)] if members > 1 else [[validation], [test]]
                results.extend((*one, clock.seconds / members) for one in zip(*both, strict=True))
                clock = Clock()
        if keep is not None:
            write_tensors(keep, {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()})
        return results

    def training_seconds(self, build: Callable[[], nn.Module]) -> float:
        """Seconds that the training of a network would take, by its first steps.

        Args:
            build: Makes the network, with new weights.
        """
        evaluator = rebuilt(self.plan.evaluator)
        epochs = int(evaluator.trainer.max_epochs)
        evaluator.trainer.trace_kwargs.update(max_epochs=1, limit_train_batches=TIMED_STEPS, limit_val_batches=1)
        evaluator, steps, data = rebuilt(evaluator), _StepTimes(), cast(ImageData, self.plan.data)
        evaluator.datamodule = data
        evaluator.trainer.callbacks.append(steps)
        with torch_threads(self.plan.settings.threads):
            seed_everything(self.seed)
            evaluator.evaluate(build())
        # a validation batch takes the forward third of a step
        batches = len(data.train_dataloader()) + len(data.val_dataloader()) / 3
        return float(np.median(np.diff(steps.times))) * batches * epochs

    @contextmanager
    def charged(self, name: str, clock: Clock) -> Iterator[None]:
        """Add the seconds of the block to a clock. When the same work is repeated, those of the first time are added.

        Args:
            name: Name of the work, the same for the same work.
            clock: Gets the seconds.
        """
        path, watch = self.folder / "charges" / f"{name}.json", Clock()
        with watch.running():
            yield
        if not path.exists():
            write_json(path, watch.seconds)
        clock.seconds += read_json(path)

    def search(self, name: str, seed: int, prepare: Callable[[], Callable[[Any, Any], Any]]) -> tuple[Any, float]:
        """Return the result of a search by a strategy of NNI, and its seconds; run it if that has not been done yet.

        Args:
            name: Name of the search.
            seed: Seed of the supernet's first weights and of everything drawn later.
            prepare: Returns the search: a function of a fresh space and a fresh search evaluator whose result can be
                written as JSON. The time of `prepare` itself is not charged.
        """
        path = self.folder / "searches" / f"{name}.json"
        if not path.exists():
            evaluator, clock = rebuilt(self.nni_evaluator), Clock()
            run = prepare()
            evaluator.datamodule.prepare()  # a copy of the data, because NNI's strategies replace its loaders
            with torch_threads(self.plan.settings.threads), clock.running():
                seed_everything(seed)
                result = run(fresh(self.plan.space), evaluator)
            write_json(path, {"result": result, "cost": clock.seconds})
        record = read_object(path)
        return record["result"], record["cost"]
