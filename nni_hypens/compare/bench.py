"""One space, data set and seed on which methods are compared: what is searched or trained there is done once, and kept
with what it cost.

Two methods that train the same architecture with the same seed share the network, and each is charged its whole cost,
as if it had trained it alone. So the costs of a method do not depend on which others are compared with it, and a
comparison that was interrupted goes on where it was.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import nni
import numpy as np
import torch
from nni.nas.evaluator.pytorch import Lightning

from nni_hypens import metrics
from nni_hypens.data.module import ImageData
from nni_hypens.run.plan import Plan
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.build import fixed_network, fresh
from nni_hypens.trials.training import network_seed, predict
from nni_hypens.utils.files import read_arrays, read_json, write_arrays, write_json
from nni_hypens.utils.runtime import torch_threads
from nni_hypens.utils.seeds import seed_everything


@dataclass(frozen=True)
class Network:
    """A trained network, as far as an ensemble is concerned.

    Args:
        sample: Its architecture.
        seed: Seed of its training.
        validation: Probabilities ``N x C`` on validation images.
        test: The same on test images.
        nll: On validation images; infinite where its training diverged.
        cost: Seconds that its training and its predictions on validation images took.
    """

    sample: Sample
    seed: int
    validation: np.ndarray
    test: np.ndarray
    nll: float
    cost: float

    @property
    def finite(self) -> bool:
        """Whether it can be a member: its training has not diverged."""
        return self.nll < float("inf")


@dataclass
class Clock:
    """Seconds of computing: CPU time of this process, or wall time where a GPU does the work."""

    seconds: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Add what the block takes."""
        gpu = torch.cuda.is_available()
        now = time.perf_counter if gpu else time.process_time
        start = now()
        try:
            yield
        finally:
            if gpu:
                torch.cuda.synchronize()
            self.seconds += now() - start


class Workbench:
    """Trains and searches for the methods of a comparison; everything is kept in a folder.

    Args:
        plan: Space, data, evaluators and seed; its ``evaluator`` trains a network, its ``search_evaluator`` a supernet.
        folder: Where results are kept. It belongs to this plan alone.
        nni_evaluator: What trains the supernet of NNI's own strategies, where that is not the plan's
            ``search_evaluator``.
        evaluators: Factor -> what trains a network for so many times the epochs of the plan's ``evaluator``; needed by
            :meth:`longer` alone.
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
        """A workbench with the same searches, on which networks are trained for ``factor`` times as many epochs.

        Raises:
            ValueError: It has no ``evaluators``, or is one of longer trainings itself.
        """
        if self.evaluators is None:
            raise ValueError("evaluators: got None; expected what trains a network for longer")
        bench = copy(self)
        bench.plan = replace(self.plan, evaluator=self.evaluators(factor))
        bench.evaluators = None
        bench._networks = f"networks-{factor}x"
        return bench

    @property
    def seed(self) -> int:
        """Seed of the plan."""
        return self.plan.settings.seed

    @cached_property
    def validation_labels(self) -> np.ndarray:
        """Labels ``N`` of the validation images."""
        return self.plan.data.labels("validation")

    @cached_property
    def test_labels(self) -> np.ndarray:
        """Labels ``N`` of the test images."""
        return self.plan.data.labels("test")

    def network(self, sample: Sample, replica: int = 0) -> Network:
        """The architecture, trained; trained now if it has not been yet.

        Args:
            sample: An architecture of the space.
            replica: Which of its networks; each has a seed of its own, and so has each seed of the plan.
        """
        key = self.structure.key(sample)
        seed = network_seed(self.plan.settings.seed, key, replica)
        text = f"{key} {seed}"
        path = self.folder / self._networks / hashlib.sha256(text.encode()).hexdigest()[:20]
        arrays, about = path.with_suffix(".npz"), path.with_suffix(".json")
        if not about.exists():
            validation, test, cost = self._train(sample, seed)
            finite = bool(np.isfinite(validation).all())
            nll = metrics.nll(validation, self.validation_labels) if finite else None
            write_arrays(arrays, {"validation": validation, "test": test})
            write_json(about, {"architecture": sample, "seed": seed, "nll": nll, "cost": cost})
        record = read_json(about)
        validation, test = read_arrays(arrays, "validation", "test")
        nll = float("inf") if record["nll"] is None else record["nll"]
        return Network(sample, seed, validation, test, nll, record["cost"])

    def trained(self) -> Iterator[tuple[Sample, float]]:
        """Architecture and validation NLL of every network there is, infinite where its training diverged."""
        for path in sorted((self.folder / self._networks).glob("*.json")):
            record = read_json(path)
            yield record["architecture"], float("inf") if record["nll"] is None else record["nll"]

    def _train(self, sample: Sample, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
        data, clock = self.plan.data, Clock()
        cast(ImageData, data).prepare()
        test_images = data.test_dataloader()  # reading files is no part of the training
        with torch_threads(self.plan.settings.threads):
            with clock.running():
                seed_everything(seed)
                model = fixed_network(self.plan.space, sample)
                evaluator = nni.load(nni.dump(self.plan.evaluator))  # a trainer serves once
                evaluator.datamodule = data
                evaluator.evaluate(model)
                validation, _ = predict(model, data.val_dataloader())
            test, _ = predict(model, test_images)  # what reports is no cost of a method
        return validation, test, clock.seconds

    @contextmanager
    def charged(self, name: str, clock: Clock) -> Iterator[None]:
        """Add what the block takes to a clock: the first time what it takes, later what it took then.

        Args:
            name: Name of what is done, the same for the same work.
            clock: Gets the seconds.
        """
        path, own = self.folder / "charges" / f"{name}.json", Clock()
        with own.running():
            yield
        if not path.exists():
            write_json(path, own.seconds)
        clock.seconds += read_json(path)

    def search(self, name: str, seed: int, prepare: Callable[[], Callable[[Any, Any], Any]]) -> tuple[Any, float]:
        """The result of a search by a strategy of NNI, and its seconds; it is run when there is none yet.

        Args:
            name: Name of the search, without its seed.
            seed: Of the supernet's first weights, and of all that is drawn later.
            prepare: Gives the search, a function of a fresh space and a fresh search evaluator whose result is plain
                data for JSON; what ``prepare`` itself takes is not charged.
        """
        path = self.folder / "searches" / f"{name}.json"
        if not path.exists():
            evaluator, clock = nni.load(nni.dump(self.nni_evaluator)), Clock()
            run = prepare()
            evaluator.datamodule.prepare()  # a copy of the data: NNI's strategies replace loaders on it
            with torch_threads(self.plan.settings.threads), clock.running():
                seed_everything(seed)
                result = run(fresh(self.plan.space), evaluator)
            write_json(path, {"result": result, "cost": clock.seconds})
        record = read_json(path)
        return record["result"], record["cost"]


MANY = 400
"""More networks than any budget here pays for."""


@dataclass
class Trained:
    """What a method has trained.

    Args:
        networks: In the order of training.
        search_s: Seconds of search and ranking.
        choose: Whether members are chosen among the networks; else the first ones are the members.
        supernet: Name of the search whose supernet the method has, where it has one.
        selection: How they are chosen on validation data, a method of :func:`nni_hypens.selection.select`; None for the
            best of all choices, or of those that beam search looks at where there are too many.
    """

    networks: list[Network]
    search_s: float = 0.0
    choose: bool = True
    supernet: str | None = None
    selection: str | None = None


Recipe = Callable[[Workbench, int, float], Trained]
Next = tuple[Sample, int]


@dataclass(frozen=True)
class Method:
    """A method of a comparison.

    Args:
        title: For tables.
        recipe: What it does.
        about: One sentence.
        fills: Whether it spends the budget; else it has a cost of its own.
    """

    title: str
    recipe: Recipe
    about: str
    fills: bool = True


def fill(bench: Workbench, members: int, budget: float, trainings: Iterator[Next]) -> list[Network]:
    """Train one after the other while the next is expected to fit into the budget.

    At least ``members`` networks that do not diverge are trained, unless most do: after three times as many the budget
    alone counts.
    """
    networks: list[Network] = []
    spent = 0.0
    while True:
        enough = sum(network.finite for network in networks) >= members or len(networks) >= 3 * members
        if enough and spent + spent / max(len(networks), 1) > budget:
            return networks
        following = next(trainings, None)
        if following is None:
            return networks
        networks.append(bench.network(*following))
        spent += networks[-1].cost


def replicas(sample: Sample, first: int = 0) -> Iterator[Next]:
    """One architecture, again and again."""
    return ((sample, replica) for replica in range(first, MANY))
