"""How a Python run describes its arguments: without addresses, and the same before and after a search."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nni
import numpy as np
import pytest
import torch
from nni.nas.evaluator import Evaluator
from nni.nas.evaluator.pytorch import ClassificationModule, Lightning, Trainer
from nni.nas.oneshot.pytorch.profiler import ExpectationProfilerPenalty
from nni.nas.profiler.pytorch.flops import FlopsProfiler, NumParamsProfiler
from pytorch_lightning import LightningDataModule
from pytorch_lightning.callbacks import EarlyStopping
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, default_collate

from nni_hypens import EdgeNES, EdgeStructure
from nni_hypens.data.described import DescribedData
from nni_hypens.run.identity import PICKLED, as_written, described_object, described_part
from nni_hypens.run.plan import DIVERSITIES
from nni_hypens.search import JensenShannon, SharedEdgeCounter, SharedEdges
from nni_hypens.search.hooks import all_hooks
from nni_hypens.search.penalty import Penalty
from nni_hypens.search.regularizers import Annealed
from nni_hypens.space import ChoiceLayout, random_architectures
from nni_hypens.trials.parts import describe_part
from search_spaces import OneCell


class Tolerant:
    """A user's regulariser as in docs/guides/extending.md, whose `bind` sets public attributes."""

    counts_edges = True

    def __init__(self, weight: float = 1.0, slack: float = 0.5) -> None:
        self.weight, self.temperature = Annealed(weight, "weight"), Annealed(1.0, "temperature")
        self.half = slack / 2

    def bind(self, structure: Any, layout: Any, base: Any) -> None:
        self.counter = SharedEdgeCounter(structure, layout, base)
        self._remember(layout)

    def _remember(self, layout: Any) -> None:
        self.layout = layout

    def __call__(self, lam: Any, logits: Any, temperature: float, generator: Any) -> torch.Tensor:
        self.calls = getattr(self, "calls", 0) + 1
        return logits.sum()


class Slotted:
    __slots__ = ("power",)

    def __init__(self, power: float) -> None:
        self.power = power


class Learned(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.inner = width, nn.Linear(width, 2)
        self.register_buffer("scale", torch.ones(width))


class Holder:
    def __init__(self, *held: Any) -> None:
        self.held, self.me = held, self


def worst(mean: np.ndarray, labels: np.ndarray) -> float:
    return float((mean.argmax(1) != labels).mean())


def weighted(weight: float) -> Callable[[float], float]:
    return lambda value: value * weight


def bound(diversity: Any) -> Any:
    structure = EdgeStructure.from_space(OneCell(channels=2, in_channels=1))
    diversity.bind(structure, ChoiceLayout(structure.table), random_architectures(structure, 1, seed=0)[0])
    return diversity


def profilers() -> list[Any]:
    space = OneCell(channels=2, in_channels=1)
    return [kind(space, torch.zeros(1, 1, 8, 8)) for kind in (FlopsProfiler, NumParamsProfiler)]


@nni.trace
class Own(ClassificationModule):
    pass


class Pictures(LightningDataModule):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def setup(self, stage: str | None = None) -> None:
        self.images = TensorDataset(torch.zeros(self.size, 1, 8, 8), torch.arange(self.size) % 3)

    def train_dataloader(self) -> Any:
        return DataLoader(self.images, batch_size=4)

    val_dataloader = test_dataloader = train_dataloader


def loader(labels: int = 3, **options: Any) -> Any:
    return DataLoader(TensorDataset(torch.zeros(6, 1, 8, 8), torch.arange(6) % labels), batch_size=4, **options)


def loaders(**options: Any) -> dict[str, Any]:
    return {name: loader(**options) for name in ("train", "validation", "test")}


class Untraced(ClassificationModule):
    """So large that NNI does not pickle it."""

    def __init__(self, rate: float) -> None:
        super().__init__(num_classes=3)
        self.rate = rate
        self.register_buffer("table", torch.zeros(20_000))


class Rule(Evaluator):  # type: ignore[misc]
    def __init__(self, rate: float) -> None:
        self.rate = rate

    def evaluate(self, model: Any) -> None:
        pass


def evaluator(patience: int = 3, own: bool = False, epochs: int = 3) -> Any:
    kind = Own if own else ClassificationModule
    callbacks = [EarlyStopping("val_loss", patience=patience)]
    return Lightning(kind(num_classes=3), Trainer(max_epochs=epochs, callbacks=callbacks))


def untraced(rate: float = 0.1, epochs: int = 3) -> Any:
    return Lightning(Untraced(rate), Trainer(max_epochs=epochs))


def parts() -> dict[str, Any]:
    """Evaluators and data whose text from NNI holds pickles, and those for which NNI has no text."""
    return {
        "loaders": DescribedData(loaders(shuffle=True, collate_fn=lambda batch: default_collate(batch))),
        "module": DescribedData(Pictures(6)),
        "callback": evaluator(),
        "own": evaluator(own=True),
        "untraced": untraced(),
        "rule": Rule(0.1),
    }


def everything() -> dict[str, Any]:
    """One of each kind of argument, made anew."""
    flops, params = profilers()
    strategy = EdgeNES()
    strategy.mutate_model(OneCell(channels=2, in_channels=1))
    return {
        **{name: make() for name, make in DIVERSITIES.items()},
        **{f"bound {name}": bound(make()) for name, make in DIVERSITIES.items()},
        "user": Tolerant(),
        "used": bound(Tolerant()),
        "slotted": Slotted(2.0),
        "module": Learned(3),
        "held": Holder(Slotted(1.0), object(), weighted(2.0), torch.Generator(), {1, "a"}),
        "strategies": [EdgeNES(), strategy],
        "penalties": [
            {"profiler": flops, "baseline": 1e4},
            ExpectationProfilerPenalty(params, 1e4),
            Penalty({"profiler": params, "baseline": 2.0}),
        ],
        "profilers": [flops, params],
        "hooks": all_hooks(),
        "functions": [worst, weighted(3.0), lambda x: [y for y in x if y in {"a", "b", "c"}], len, np.exp, torch.relu],
        "partial": functools.partial(worst, labels=np.arange(3)),
        "method": Slotted(2.0).__repr__,
        "bound method": Tolerant().bind,
        "plain": [np.float32(0.5), (1, 2), {"b", "a"}, Path("x"), float("nan"), np.arange(3), torch.ones(2), b"x"],
        "classes": [Slotted, nn.Linear, np, ("a", None, True)],
    }


# ---- no addresses ---------------------------------------------------------------------------------------------------


def test_no_argument_is_described_by_an_address() -> None:
    for name, value in everything().items():
        found = described_object(value)
        assert "0x" not in json.dumps(found), (name, found)
        assert as_written({"x": found}) == {"x": found}, name  # as config.yaml holds it


SCRIPT = """
import json
from nni_hypens.run.identity import described_object
from tests.run.test_identity import everything, parts

print(json.dumps({name: described_object(value) for name, value in {**everything(), **parts()}.items()}))
"""


def test_another_process_describes_its_arguments_the_same() -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout.strip().splitlines()[-1])
    for name, value in {**everything(), **parts()}.items():
        assert json.loads(json.dumps(described_object(value))) == theirs[name], name


# ---- what is equal --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [SharedEdges, JensenShannon, Tolerant])
def test_a_bound_regulariser_is_described_as_a_fresh_one(make: Callable[[], Any]) -> None:
    used = bound(make())
    if make is Tolerant:
        used(None, torch.zeros(2), 1.0, None)
    assert described_object(used) == described_object(make()) and "weight" in str(described_object(used))


def test_tuples_and_numpy_numbers_are_what_yaml_makes_of_them() -> None:
    ours = {"args": {"width": (np.int64(16), 24), "rate": np.float64(0.1)}, "names": ("a", "b")}
    assert as_written(ours) == {"args": {"width": [16, 24], "rate": 0.1}, "names": ["a", "b"]}


# ---- what differs ---------------------------------------------------------------------------------------------------


def test_other_arguments_are_described_otherwise() -> None:
    flops, params = profilers()
    other = FlopsProfiler(OneCell(channels=4, in_channels=1), torch.zeros(1, 1, 8, 8))
    for one, two in (
        (SharedEdges(), SharedEdges(weight=2.0)),
        (JensenShannon(), JensenShannon(tau=0.9)),
        (JensenShannon(), JensenShannon(target=False)),
        (Tolerant(), Tolerant(weight=2.0)),
        (Tolerant(), Tolerant(slack=0.1)),
        (Slotted(1.0), Slotted(2.0)),
        (Learned(2), Learned(3)),
        (weighted(1.0), weighted(2.0)),
        (lambda x: x, lambda x: -x),
        (lambda x, y=1: x, lambda x, y=2: x),
        (functools.partial(worst, labels=1), functools.partial(worst, labels=2)),
        (Slotted(1.0).__init__, Slotted(2.0).__init__),
        (flops, params),
        (flops, other),
        (np.arange(3), np.arange(4)),
        (torch.ones(2), torch.zeros(2)),
        ({"a": 1}, {"a": 2}),
        (list(range(9000)), list(range(9001))),
    ):
        assert described_object(one) != described_object(two), (one, two)
    assert described_object(worst) == "tests.run.test_identity:worst"
    assert described_object(list(range(9000))).keys() == {"class", "hash"}  # config.yaml stays small


# ---- evaluators and data --------------------------------------------------------------------------------------------


def test_evaluators_and_data_with_pickles_are_described_without_them() -> None:
    for name, part in parts().items():
        text = described_part(part)
        assert "0x" not in text and not any(mark in text for mark in PICKLED), (name, text)
    for one, two in (
        (evaluator(), evaluator(patience=4)),
        (evaluator(), evaluator(epochs=4)),
        (evaluator(), evaluator(own=True)),
        (untraced(), untraced(rate=0.2)),
        (untraced(), untraced(epochs=2)),
        (Rule(0.1), Rule(0.2)),
        (DescribedData(loaders()), DescribedData(loaders(labels=2))),
        (DescribedData(loaders()), DescribedData(loaders(shuffle=True))),
        (DescribedData(Pictures(6)), DescribedData(Pictures(9))),
    ):
        assert described_part(one) != described_part(two)


def test_other_arguments_of_what_nni_did_not_trace_are_another_run() -> None:
    """It was only "not traced" for all of them, so that a call got the results of another."""
    assert describe_part(untraced()) is None and described_part(untraced()) == described_part(untraced())


def test_used_data_are_described_as_fresh_ones() -> None:
    for make in (lambda: DescribedData(Pictures(6)), lambda: DescribedData(loaders())):
        used = make()
        assert used.labels("test").tolist() == [0, 1, 2, 0, 1, 2]
        assert described_part(used) == described_part(make())
